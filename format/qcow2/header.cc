#include "format/qcow2/header.h"

#include "format/base/error.h"

#include <algorithm>
#include <cstring>

namespace coppice::qcow2 {
namespace {

constexpr Bytes first_read = 4_KiB; // holds the header of almost every image, whatever its cluster size
constexpr std::uint32_t longest_name = 1023;
constexpr std::size_t longest_format_name = 15;
constexpr std::size_t longest_path = 4095; // what any call of the kernel takes
constexpr Bytes largest_refcount_table = 8_MiB;
constexpr std::uint32_t most_snapshots = 65536;
constexpr std::uint32_t most_bitmaps = 65535;
constexpr Bytes largest_bitmap_directory = 64_MiB;

/// The start of the file, of which more is read only when it turns out to be needed.
class FirstCluster {
public:
    FirstCluster(std::span<const std::byte> bytes, const BlockDevice* device, Bytes file_size)
        : bytes_{bytes.begin(), bytes.end()}, device_{device}, file_size_{file_size} {}

    /// What lies behind the end of the file reads as zeros. `end` is not behind the first cluster.
    std::span<const std::byte> get(std::uint64_t offset, std::uint64_t length, Bytes cluster_size) {
        if (offset + length > bytes_.size()) {
            const std::size_t known = bytes_.size();
            bytes_.resize(cluster_size.count());
            if (device_ != nullptr) device_->read_padded(Bytes{known}, std::span{bytes_}.subspan(known));
        }
        return std::span{bytes_}.subspan(offset, length);
    }
    std::span<const std::byte> bytes() const { return bytes_; }
    Bytes file_size() const { return file_size_; }

private:
    std::vector<std::byte> bytes_;
    const BlockDevice* device_;
    Bytes file_size_;
};

std::string hex(std::uint64_t value) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (int shift = 60; shift >= 0; shift -= 4) {
        const auto digit = (value >> shift) & 15;
        if (digit != 0 || !text.empty() || shift == 0) text += digits[digit];
    }
    return "0x" + text;
}

class Parser {
public:
    Parser(FirstCluster& source, const std::string& image) : source_{source}, image_{image} {}

    Header parse() {
        read_fixed_fields();
        check_features();
        check_tables();
        read_name();
        read_extensions();
        read_data_file();
        check_bitmaps();
        return std::move(header_);
    }

private:
    [[noreturn]] void corrupt(std::uint64_t offset, const std::string& expectation) const {
        throw CorruptImage{image_, Bytes{offset}, expectation};
    }
    [[noreturn]] void unsupported(const std::string& reason) const { throw Unsupported{image_, reason}; }

    void read_fixed_fields() {
        const auto bytes = source_.bytes();
        if (bytes.size() < 4)
            throw CorruptImage{image_, "a QCOW2 image is longer than " + std::to_string(bytes.size()) + " bytes"};
        disk::Header raw{};
        std::memcpy(&raw, bytes.data(), std::min(sizeof raw, bytes.size()));
        if (raw.magic.value() != disk::magic) corrupt(0, "the magic of a QCOW2 image");
        if (bytes.size() < disk::version2_length) throw CorruptImage{image_, "the file ends inside the header"};
        header_.version = raw.version.value();
        if (header_.version != 2 && header_.version != 3)
            unsupported("QCOW version " + std::to_string(header_.version));
        if (raw.cluster_bits.value() < 9 || raw.cluster_bits.value() > 21)
            corrupt(20, "cluster_bits from 9 to 21, not " + std::to_string(raw.cluster_bits.value()));
        header_.cluster_bits = raw.cluster_bits.value();
        header_.size = Bytes{raw.size.value()};
        header_.l1_size = raw.l1_size.value();
        header_.l1_table_offset = Bytes{raw.l1_table_offset.value()};
        header_.refcount_table_offset = Bytes{raw.refcount_table_offset.value()};
        header_.refcount_table_clusters = raw.refcount_table_clusters.value();
        header_.nb_snapshots = raw.nb_snapshots.value();
        header_.snapshots_offset = Bytes{raw.snapshots_offset.value()};
        header_.backing_file_offset = Bytes{raw.backing_file_offset.value()};
        name_length_ = raw.backing_file_size.value();
        crypt_method_ = raw.crypt_method.value();
        if (header_.version >= 3) read_version3_fields(raw);
    }

    void read_version3_fields(const disk::Header& raw) {
        if (source_.bytes().size() < offsetof(disk::Header, compression_type))
            throw CorruptImage{image_, "the file ends inside the header"};
        header_.incompatible_features = raw.incompatible_features.value();
        header_.compatible_features = raw.compatible_features.value();
        header_.autoclear_features = raw.autoclear_features.value();
        if (raw.refcount_order.value() > 6)
            corrupt(96, "refcount_order of at most 6, not " + std::to_string(raw.refcount_order.value()));
        header_.refcount_order = raw.refcount_order.value();
        header_.header_length = raw.header_length.value();
        if (header_.header_length < 104 || header_.header_length % 8 != 0 ||
            header_.header_length > header_.cluster_size().count())
            corrupt(100, "a header length from 104 to one cluster, a multiple of 8, not " +
                             std::to_string(header_.header_length));
        if (header_.header_length > offsetof(disk::Header, compression_type))
            header_.compression_type = raw.compression_type;
    }

    void check_features() const {
        if (const auto unknown = header_.incompatible_features & ~disk::incompatible_known; unknown != 0)
            unsupported("unknown incompatible feature bits " + hex(unknown));
        if (crypt_method_ == 1) unsupported("encrypted (AES)");
        if (crypt_method_ == 2) unsupported("encrypted (LUKS)");
        if (crypt_method_ != 0) unsupported("unknown encryption method " + std::to_string(crypt_method_));
        if ((header_.incompatible_features & disk::incompatible_data_file) == 0 &&
            (header_.autoclear_features & disk::autoclear_raw_data_file) != 0)
            corrupt(88, "the raw external data bit only together with an external data file");
        const bool other_compression = (header_.incompatible_features & disk::incompatible_compression) != 0;
        if (header_.compression_type > 1)
            unsupported("unknown compression type " + std::to_string(header_.compression_type));
        if (other_compression != (header_.compression_type != 0))
            corrupt(104, "a compression type that agrees with the feature bit");
        if (header_.extended_l2() && header_.cluster_bits < 14)
            corrupt(20, "clusters of at least 16 KiB for extended L2 entries");
    }

    /// Whether [offset, offset + length) lies in the file, whose last cluster may be cut short.
    bool inside_file(Bytes offset, Bytes length) const {
        const Bytes limit = round_up(source_.file_size(), header_.cluster_size());
        return offset <= limit && length <= limit - offset;
    }

    void check_table(std::uint64_t field, Bytes offset, Bytes length, const std::string& what) const {
        if (!is_aligned(offset, header_.cluster_size())) corrupt(field, what + " at a multiple of the cluster size");
        if (!inside_file(offset, length)) corrupt(field, what + " inside the file");
    }

    void check_tables() const {
        if (header_.l1_size > most_l1_entries) corrupt(36, "an L1 table of at most 32 MiB");
        if (header_.l1_size < header_.l1_entries_needed())
            corrupt(36, "an L1 table of at least " + std::to_string(header_.l1_entries_needed()) +
                            " entries for the size of the disk, not " + std::to_string(header_.l1_size));
        if (header_.l1_size != 0) check_table(40, header_.l1_table_offset, Bytes{header_.l1_size} * 8, "the L1 table");

        const Bytes clusters = header_.cluster_size() * header_.refcount_table_clusters;
        if (clusters == 0_B || clusters > largest_refcount_table)
            corrupt(56, "a refcount table of at least one cluster and at most 8 MiB");
        check_table(48, header_.refcount_table_offset, clusters, "the refcount table");

        if (header_.nb_snapshots > most_snapshots) corrupt(60, "at most 65536 internal snapshots");
        if (header_.nb_snapshots != 0) {
            // Every entry takes at least 40 bytes.
            check_table(64, header_.snapshots_offset, Bytes{header_.nb_snapshots} * 40, "the snapshot table");
        }
    }

    void read_name() {
        const std::uint64_t offset = header_.backing_file_offset.count();
        const std::uint64_t cluster = header_.cluster_size().count();
        if (offset == 0) return;
        if (offset > cluster) corrupt(8, "the name of the backing file inside the first cluster");
        if (name_length_ == 0) return;
        if (name_length_ > longest_name) corrupt(16, "a name of the backing file of at most 1023 bytes");
        if (offset + name_length_ > cluster) corrupt(8, "the name of the backing file inside the first cluster");
        if (offset < header_.header_length) corrupt(8, "the name of the backing file behind the header");
        const auto bytes = source_.get(offset, name_length_, header_.cluster_size());
        std::string name(bytes.size(), '\0');
        std::memcpy(name.data(), bytes.data(), bytes.size());
        if (name.find('\0') != std::string::npos) corrupt(offset, "a name of the backing file without NUL");
        header_.backing_file = std::move(name);
    }

    void read_extensions() {
        const std::uint64_t end =
            header_.backing_file_offset == 0_B ? header_.cluster_size().count() : header_.backing_file_offset.count();
        std::uint64_t at = header_.header_length;
        while (at < end && end - at >= sizeof(disk::ExtensionHeader)) {
            disk::ExtensionHeader head;
            std::memcpy(&head, source_.get(at, sizeof head, header_.cluster_size()).data(), sizeof head);
            if (head.type.value() == disk::extension_end) {
                at += sizeof head;
                break;
            }
            const std::uint64_t length = head.length.value();
            const std::uint64_t room = end - at - sizeof head;
            if (length > room) corrupt(at, "a header extension that ends inside the header area");
            const auto data = source_.get(at + sizeof head, length, header_.cluster_size());
            add_extension({head.type.value(), Bytes{at}, {data.begin(), data.end()}});
            at += sizeof head + std::min((length + 7) / 8 * 8, room);
        }
        header_.extensions_end = Bytes{std::max<std::uint64_t>(at, header_.header_length)};
    }

    void add_extension(Extension extension) {
        const std::uint64_t offset = extension.offset.count();
        if (extension.type == disk::extension_backing_format && extension.data.size() > longest_format_name)
            corrupt(offset, "a backing format of at most 15 bytes");
        if (extension.type == disk::extension_encryption) unsupported("encrypted (header extension)");
        const Extension* same = header_.extension(extension.type);
        if (same != nullptr && same->data != extension.data)
            corrupt(offset, "no two header extensions of type " + hex(extension.type) + " that disagree");
        header_.extensions.push_back(std::move(extension));
    }

    void read_data_file() {
        // Without the bit the extension is a leftover and says nothing that has to be true.
        if ((header_.incompatible_features & disk::incompatible_data_file) == 0) return;
        const Extension* extension = header_.extension(disk::extension_data_file);
        if (extension == nullptr || extension->data.empty())
            unsupported("guest data lies in an external data file whose name is not recorded");
        std::string name(extension->data.size(), '\0');
        std::memcpy(name.data(), extension->data.data(), extension->data.size());
        const std::uint64_t at = extension->offset.count();
        if (name.size() > longest_path) corrupt(at, "a name of the data file of at most 4095 bytes");
        if (name.find('\0') != std::string::npos) corrupt(at, "a name of the data file without NUL");
        header_.data_file = std::move(name);
    }

    void check_bitmaps() const {
        const Extension* bitmaps = header_.extension(disk::extension_bitmaps);
        // Without the bit the extension is a leftover and says nothing that has to be true.
        if (bitmaps == nullptr || (header_.autoclear_features & disk::autoclear_bitmaps) == 0) return;
        const std::uint64_t at = bitmaps->offset.count();
        disk::BitmapsExtension raw;
        if (bitmaps->data.size() != sizeof raw) corrupt(at, "a bitmaps extension of 24 bytes");
        std::memcpy(&raw, bitmaps->data.data(), sizeof raw);
        if (raw.nb_bitmaps.value() == 0 || raw.nb_bitmaps.value() > most_bitmaps)
            corrupt(at, "from 1 to 65535 bitmaps");
        const Bytes length{raw.directory_size.value()};
        if (length == 0_B || length > largest_bitmap_directory) corrupt(at, "a bitmap directory of at most 64 MiB");
        check_table(at, Bytes{raw.directory_offset.value()}, length, "the bitmap directory");
    }

    FirstCluster& source_;
    const std::string& image_;
    Header header_;
    std::uint32_t name_length_ = 0;
    std::uint32_t crypt_method_ = 0;
};

} // namespace

std::uint64_t Header::l1_entries_needed() const {
    return units_needed(ClusterNumber{units_needed(size, cluster_size())}, ClusterNumber{l2_entries()});
}

const Extension* Header::extension(std::uint32_t type) const {
    const auto found = std::ranges::find(extensions, type, &Extension::type);
    return found == extensions.end() ? nullptr : &*found;
}

std::optional<std::string> Header::backing_format() const {
    const Extension* format = extension(disk::extension_backing_format);
    if (format == nullptr) return std::nullopt;
    std::string name(format->data.size(), '\0');
    std::memcpy(name.data(), format->data.data(), format->data.size());
    // Some writers count a terminator.
    return std::string{name.c_str()};
}

bool Header::hidden() const {
    const Extension* flag = extension(disk::extension_hidden);
    return flag != nullptr && !flag->data.empty() && flag->data.front() != std::byte{0};
}

Header read_header(const BlockDevice& device) {
    const std::vector<std::byte> start = device.read_at(0_B, std::min(first_read, device.size()));
    FirstCluster source{start, &device, device.size()};
    return Parser{source, device.name()}.parse();
}

Header parse_header(std::span<const std::byte> first_cluster, const std::string& image, Bytes file_size) {
    FirstCluster source{first_cluster, nullptr, file_size};
    return Parser{source, image}.parse();
}

} // namespace coppice::qcow2
