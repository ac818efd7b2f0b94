#include "tests/format/qcow2/target_world.h"

#include "format/qcow2/image.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace coppice::test {
namespace {

std::uint64_t below(std::mt19937_64& random, std::uint64_t limit) {
    return random() % limit;
}

std::vector<std::byte> random_bytes(std::size_t size, std::mt19937_64& random) {
    std::vector<std::byte> bytes(size);
    for (std::size_t at = 0; at < size; at += 512) {
        if (below(random, 8) == 0) continue; // some sectors are zeros
        for (std::size_t index = at; index < std::min(at + 512, size); ++index)
            bytes[index] = static_cast<std::byte>(random());
    }
    return bytes;
}

} // namespace

std::vector<std::byte> read_whole(const std::filesystem::path& path) {
    std::vector<std::byte> bytes(std::filesystem::file_size(path));
    std::ifstream{path, std::ios::binary}.read(reinterpret_cast<char*>(bytes.data()),
                                               static_cast<std::streamsize>(bytes.size()));
    return bytes;
}

void write_whole(const std::filesystem::path& path, std::span<const std::byte> bytes) {
    std::ofstream{path, std::ios::binary}.write(reinterpret_cast<const char*>(bytes.data()),
                                                static_cast<std::streamsize>(bytes.size()));
}

std::vector<std::byte> guest_bytes(std::vector<const Image*> layers) {
    const ChainView view{std::move(layers)};
    std::vector<std::byte> bytes(view.size().count());
    view.read(0_B, bytes);
    return bytes;
}

std::optional<std::size_t> first_difference(std::span<const std::byte> a, std::span<const std::byte> b) {
    const auto found = std::ranges::mismatch(a, b);
    if (found.in1 == a.end() && found.in2 == b.end()) return std::nullopt;
    return static_cast<std::size_t>(found.in1 - a.begin());
}

std::string Geometry::text() const {
    std::ostringstream text;
    text << "version " << version << ", cluster bits " << cluster_bits << ", refcount bits " << refcount_bits
         << (extended ? ", extended" : "") << (compressed ? ", compressed" : "") << (zstd ? ", zstd" : "")
         << (backing ? ", backing" : "");
    return text.str();
}

Geometry random_geometry(std::mt19937_64& random) {
    Geometry geometry;
    geometry.version = below(random, 4) == 0 ? 2 : 3;
    geometry.extended = geometry.version == 3 && below(random, 3) == 0;
    geometry.cluster_bits = static_cast<unsigned>(geometry.extended ? 14 + below(random, 5) : 9 + below(random, 8));
    if (below(random, 16) == 0) geometry.cluster_bits = 21;
    if (geometry.version == 3) geometry.refcount_bits = 1U << below(random, 7);
    // Several compressed clusters share a host cluster.
    geometry.compressed = geometry.refcount_bits >= 8 && below(random, 2) == 0;
    geometry.zstd = geometry.version == 3 && geometry.compressed && below(random, 2) == 0;
    geometry.backing = below(random, 3) != 0;
    return geometry;
}

TargetWorld::TargetWorld(const Geometry& shape, Bytes target_size, Bytes base_size, std::mt19937_64& random)
    : geometry{shape}, file{std::make_shared<MemoryFile>()} {
    std::ostringstream options;
    options << "compat=" << (geometry.version == 2 ? "0.10" : "1.1")
            << ",cluster_size=" << (1U << geometry.cluster_bits);
    if (geometry.version == 3) options << ",refcount_bits=" << geometry.refcount_bits;
    if (geometry.extended) options << ",extended_l2=on";
    if (geometry.zstd) options << ",compression_type=zstd";
    const std::filesystem::path& directory = directory_.path();
    const auto fill = [&](Bytes size, bool compressed, const char* name) {
        Command command{"qemu-io", "-f", "qcow2"};
        for (const std::string& write : fill_commands(size, random, compressed))
            command.insert(command.end(), {"-c", write});
        command.emplace_back(name);
        run_program(command, directory);
    };
    if (geometry.backing) {
        must_run({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", "base.qcow2",
                  std::to_string(base_size.count())},
                 directory);
        fill(base_size, false, "base.qcow2");
        must_run({"qemu-img", "check", "base.qcow2"}, directory);
        base = qcow2::open(memory_device(read_whole(directory_.path() / "base.qcow2"), "base"));
        beneath = std::make_unique<ChainView>(std::vector<const Image*>{base.get()});
    } else {
        beneath = std::make_unique<EmptyView>();
    }
    // A compressed write fails where something stands already; and QEMU 7.2 now and then gives the rest of a discarded
    // cluster away twice, and may notice and mark the image as corrupt: such an image is thrown away.
    const auto marked_corrupt = [&] {
        const auto bytes = read_whole(directory_.path() / "target.qcow2");
        return geometry.version == 3 && (bytes[79] & std::byte{2}) != std::byte{0};
    };
    Command create{"qemu-img", "create", "-q", "-f", "qcow2", "-o", options.str()};
    if (geometry.backing) create.insert(create.end(), {"-b", "base.qcow2", "-F", "qcow2"});
    create.insert(create.end(), {"target.qcow2", std::to_string(target_size.count())});
    do {
        must_run(create, directory);
        fill(target_size, geometry.compressed, "target.qcow2");
    } while (run_program({"qemu-img", "check", "target.qcow2"}, directory).status != 0 || marked_corrupt());
    file->bytes = read_whole(directory_.path() / "target.qcow2");
    file->inode = 77;
    file->flush();
    source_bytes = random_bytes(std::max(target_size, base_size).count() * 3, random);
    source = memory_device(source_bytes, "source");
}

std::vector<std::string> TargetWorld::fill_commands(Bytes size, std::mt19937_64& random, bool compressed) const {
    std::vector<std::string> commands;
    const auto range = [](std::uint64_t offset, std::uint64_t length) {
        return std::to_string(offset) + " " + std::to_string(length);
    };
    const std::uint64_t sectors = size / sector_size;
    const std::uint64_t cluster = 1ULL << geometry.cluster_bits;
    for (unsigned count = 4 + static_cast<unsigned>(below(random, 12)); count > 0; --count) {
        const std::uint64_t first = below(random, sectors);
        const std::uint64_t length = 1 + below(random, std::min<std::uint64_t>(sectors - first, 1 + sectors / 5));
        const std::uint64_t kind = below(random, 8);
        if (compressed && kind < 3) {
            const std::uint64_t whole = size.count() / cluster;
            if (whole == 0) continue;
            const std::uint64_t pattern = 1 + below(random, 255);
            commands.push_back("write -c -P " + std::to_string(pattern) + " " +
                               range(below(random, whole) * cluster, cluster));
        } else if (kind == 3 && geometry.version == 3) {
            commands.push_back("write -z " + range(first * 512, length * 512));
        } else if (kind == 4) {
            commands.push_back("discard " + range(first * 512, length * 512));
        } else {
            commands.push_back("write -P " + std::to_string(1 + below(random, 255)) + " " +
                               range(first * 512, length * 512));
        }
    }
    return commands;
}

std::unique_ptr<BlockDevice> TargetWorld::device(PowerSupply* power) const {
    return std::make_unique<MemoryDevice>(file, "target", power);
}

std::vector<std::byte> TargetWorld::guest(Through through) const {
    const auto image = qcow2::open(device());
    std::vector<const Image*> layers{image.get()};
    if (base && through == Through::chain) layers.push_back(base.get());
    return guest_bytes(std::move(layers));
}

int TargetWorld::qemu_check(std::string* output) const {
    write_whole(directory_.path() / "check.qcow2", file->bytes);
    ProgramResult result = run_program({"qemu-img", "check", "-f", "qcow2", "check.qcow2"}, directory_.path());
    if (output != nullptr) *output = std::move(result.output);
    return result.status;
}

std::vector<std::byte> TargetWorld::qemu_guest() const {
    write_whole(directory_.path() / "check.qcow2", file->bytes);
    must_run({"qemu-img", "convert", "-f", "qcow2", "-O", "raw", "check.qcow2", "check.raw"}, directory_.path());
    return read_whole(directory_.path() / "check.raw");
}

std::vector<ModelWrite> TargetWorld::random_batch(Bytes end, std::mt19937_64& random) const {
    std::vector<ModelWrite> batch;
    const std::uint64_t sectors = end / sector_size;
    const std::uint64_t per_cluster = (1ULL << geometry.cluster_bits) / 512;
    std::uint64_t at = below(random, sectors);
    for (unsigned count = 1 + static_cast<unsigned>(below(random, 12)); count > 0 && at < sectors; --count) {
        std::uint64_t length = 1 + below(random, below(random, 2) == 0 ? 3 * per_cluster : sectors / 3 + 1);
        if (below(random, 3) == 0) { // whole clusters
            at = at / per_cluster * per_cluster + (at % per_cluster != 0 ? per_cluster : 0);
            length = (length / per_cluster + 1) * per_cluster;
            if (at >= sectors) break;
        }
        length = std::min(length, sectors - at);
        const auto kind = below(random, 3);
        batch.push_back({ByteRange::at(sector_size * at, sector_size * length), kind == 0 ? GuestWrite::Source::zeros
                                                                                : kind == 1
                                                                                    ? GuestWrite::Source::memory
                                                                                    : GuestWrite::Source::device});
        at += length + (below(random, 2) == 0 ? 0 : below(random, sectors / 6 + 1));
    }
    return batch;
}

std::vector<GuestWrite> TargetWorld::writes(const std::vector<ModelWrite>& batch) const {
    std::vector<GuestWrite> result;
    for (const ModelWrite& write : batch) {
        GuestWrite guest{write.guest, write.source, nullptr, 0_B, {}};
        if (write.source == GuestWrite::Source::memory)
            guest.memory = std::span{source_bytes}.subspan(write.guest.begin.count(), write.guest.length().count());
        if (write.source == GuestWrite::Source::device) {
            guest.device = source.get();
            guest.device_offset = write.guest.begin;
        }
        result.push_back(guest);
    }
    return result;
}

void TargetWorld::apply_to_model(const std::vector<ModelWrite>& batch, std::vector<std::byte>& model) const {
    for (const ModelWrite& write : batch)
        for (std::size_t at = write.guest.begin.count(); at < write.guest.end.count(); ++at)
            model[at] = write.source == GuestWrite::Source::zeros ? std::byte{0} : source_bytes[at];
}

} // namespace coppice::test
