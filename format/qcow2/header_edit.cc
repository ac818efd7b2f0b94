#include "format/qcow2/header_edit.h"

#include "format/base/error.h"
#include "format/qcow2/parent_reference.h"

#include <algorithm>
#include <cstring>

namespace coppice::qcow2 {
namespace {

constexpr std::size_t sector = sector_size.count();
constexpr std::size_t longest_name = 1023;
constexpr std::string_view no_format = "changing"; // no program has a driver of this name, so none opens the parent

using Block = std::vector<std::byte>;

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span{text});
}

std::size_t padded(std::size_t length) {
    return (length + 7) / 8 * 8;
}

/// The first cluster on its way from one valid state to the next.
class HeaderEditor {
public:
    HeaderEditor(const BlockDevice& device, const Header& header)
        : device_{device}, header_{header}, now_(header.cluster_size().count()) {
        device.read_padded(0_B, now_);
    }

    void set_parent(const std::string& name, std::string_view format);
    void drop_parent();
    void set_hidden(bool hidden);
    HeaderEdit take() { return std::move(edit_); }

private:
    struct Steps {
        std::vector<Overwrite> additions; ///< where the header in force does not look
        std::vector<Overwrite> changes;   ///< elsewhere than in the first sector
        std::vector<Overwrite> first;     ///< the first sector
        bool atomic = true;
    };

    [[noreturn]] void no_room() const {
        throw Unsupported{device_.name(), "no room for the change in the first cluster of the image"};
    }
    std::size_t size() const { return now_.size(); }
    /// Behind the last extension, where the end mark stands if there is one.
    std::size_t end_of_extensions() const;
    std::size_t name_begin() const { return header_.backing_file ? header_.backing_file_offset.count() : 0; }
    std::size_t name_end() const { return header_.backing_file ? name_begin() + header_.backing_file->size() : 0; }
    bool in_use(std::size_t offset) const {
        return offset < header_.extensions_end.count() || (name_begin() <= offset && offset < name_end());
    }

    Steps steps_to(const Block& next) const;
    void go_to(Block next);
    bool atomic(const Block& next) const { return steps_to(next).atomic; }

    std::size_t place_for_name(std::size_t first_free, std::size_t length) const;
    void put_name(Block& next, std::size_t offset, std::string_view name) const;
    void put_extension(Block& next, std::size_t offset, std::uint32_t type, std::span<const std::byte> data) const;
    /// An end mark at `offset`, if the area of the extensions has room for it.
    void put_end(Block& next, std::size_t offset) const;
    void append_extension(std::uint32_t type, std::span<const std::byte> data);
    /// All extensions anew, the one of `type` with `data` or without it.
    Block rebuilt(std::uint32_t type, std::optional<std::span<const std::byte>> data) const;
    void set_format(Block& next, const Extension& extension, std::string_view format) const;
    std::size_t first_free_for_name() const {
        return std::min(size(), end_of_extensions() + sizeof(disk::ExtensionHeader));
    }

    const BlockDevice& device_;
    Header header_; ///< of `now_`
    Block now_;
    HeaderEdit edit_;
};

std::size_t HeaderEditor::end_of_extensions() const {
    if (header_.extensions.empty()) return header_.header_length;
    const Extension& last = header_.extensions.back();
    return std::min(size(), last.offset.count() + sizeof(disk::ExtensionHeader) + padded(last.data.size()));
}

HeaderEditor::Steps HeaderEditor::steps_to(const Block& next) const {
    Steps steps;
    const auto add = [](std::vector<Overwrite>& writes, std::size_t at, const Block& bytes) {
        const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(at);
        const Block part(from, from + sector);
        if (!writes.empty() && writes.back().offset.count() + writes.back().bytes.size() == at)
            writes.back().bytes.insert(writes.back().bytes.end(), part.begin(), part.end());
        else
            writes.push_back({Bytes{at}, part});
    };
    std::size_t visible = 0;
    Block between = now_;
    for (std::size_t at = 0; at < size(); at += sector) {
        if (std::equal(next.begin() + static_cast<std::ptrdiff_t>(at),
                       next.begin() + static_cast<std::ptrdiff_t>(at + sector),
                       now_.begin() + static_cast<std::ptrdiff_t>(at)))
            continue;
        if (at == 0) {
            add(steps.first, at, next);
            ++visible;
            continue;
        }
        bool adds = false;
        bool changes = false;
        for (std::size_t byte = at; byte < at + sector; ++byte) {
            if (next[byte] == now_[byte]) continue;
            (in_use(byte) ? changes : adds) = true;
            if (!in_use(byte)) between[byte] = next[byte];
        }
        if (adds) add(steps.additions, at, between);
        if (changes) add(steps.changes, at, next);
        visible += changes ? 1 : 0;
    }
    steps.atomic = visible <= 1;
    return steps;
}

void HeaderEditor::go_to(Block next) {
    Steps steps = steps_to(next);
    for (auto* phase : {&steps.additions, &steps.changes, &steps.first})
        if (!phase->empty()) edit_.phases.push_back(std::move(*phase));
    now_ = std::move(next);
    header_ = parse_header(now_, device_.name(), device_.size());
}

std::size_t HeaderEditor::place_for_name(std::size_t first_free, std::size_t length) const {
    const auto fits = [&](std::size_t at) { return at <= size() && length <= size() - at; };
    // The first sector is written last and as a whole, so that only what lies behind it must not hit the name in force.
    const auto safe = [&](std::size_t at) {
        const std::size_t begin = std::max(at, sector);
        return at + length <= begin || at + length <= name_begin() || name_end() <= begin;
    };
    const std::size_t behind_name = padded(std::max(first_free, name_end()));
    for (const std::size_t at : {padded(first_free), behind_name})
        if (fits(at) && safe(at)) return at;
    if (fits(first_free)) return first_free;
    no_room();
}

void HeaderEditor::put_name(Block& next, std::size_t offset, std::string_view name) const {
    const auto bytes = bytes_of(name);
    std::ranges::copy(bytes, next.begin() + static_cast<std::ptrdiff_t>(offset));
    disk::be64 place;
    disk::be32 length;
    place = offset;
    length = static_cast<std::uint32_t>(name.size());
    std::memcpy(next.data() + offsetof(disk::Header, backing_file_offset), &place, sizeof place);
    std::memcpy(next.data() + offsetof(disk::Header, backing_file_size), &length, sizeof length);
}

void HeaderEditor::put_extension(Block& next, std::size_t offset, std::uint32_t type,
                                 std::span<const std::byte> data) const {
    disk::ExtensionHeader head;
    head.type = type;
    head.length = static_cast<std::uint32_t>(data.size());
    std::memcpy(next.data() + offset, &head, sizeof head);
    const auto place = next.begin() + static_cast<std::ptrdiff_t>(offset + sizeof head);
    const std::size_t room = std::min(padded(data.size()), next.size() - offset - sizeof head);
    std::fill(std::ranges::copy(data, place).out, place + static_cast<std::ptrdiff_t>(room), std::byte{0});
}

void HeaderEditor::put_end(Block& next, std::size_t offset) const {
    disk::be64 name;
    std::memcpy(&name, next.data() + offsetof(disk::Header, backing_file_offset), sizeof name);
    const std::uint64_t end = name.value() == 0 ? size() : name.value();
    if (offset + sizeof(disk::ExtensionHeader) <= end) put_extension(next, offset, disk::extension_end, {});
}

void HeaderEditor::append_extension(std::uint32_t type, std::span<const std::byte> data) {
    const std::size_t at = end_of_extensions();
    const std::size_t end = at + sizeof(disk::ExtensionHeader) + padded(data.size());
    if (end > size()) no_room();
    const std::size_t free = std::min(size(), end + sizeof(disk::ExtensionHeader));
    const bool name_in_the_way = header_.backing_file_offset != 0_B && header_.backing_file_offset.count() < free;

    Block next = now_;
    if (name_in_the_way) {
        const std::string name = header_.backing_file.value_or("");
        const std::size_t place = name.empty() ? 0 : place_for_name(free, name.size());
        put_name(next, place, name);
        Block moved = next;
        put_extension(next, at, type, data);
        put_end(next, end);
        if (!atomic(next)) {
            // The name first, to where the longer list of extensions leaves it alone.
            put_end(moved, at);
            go_to(std::move(moved));
        }
    } else {
        put_extension(next, at, type, data);
        put_end(next, end);
    }
    go_to(std::move(next));
}

Block HeaderEditor::rebuilt(std::uint32_t type, std::optional<std::span<const std::byte>> data) const {
    Block next = now_;
    std::size_t at = header_.header_length;
    const auto put = [&](std::uint32_t one_type, std::span<const std::byte> one_data) {
        const std::size_t end = at + sizeof(disk::ExtensionHeader) + padded(one_data.size());
        if (end > size()) no_room();
        put_extension(next, at, one_type, one_data);
        at = end;
    };
    bool done = false;
    for (const Extension& extension : header_.extensions) {
        if (extension.type != type)
            put(extension.type, extension.data);
        else if (data && !done)
            put(type, *data);
        done = done || extension.type == type;
    }
    const std::size_t free = std::min(size(), at + sizeof(disk::ExtensionHeader));
    if (header_.backing_file && name_begin() < free)
        put_name(next, place_for_name(free, header_.backing_file->size()), *header_.backing_file);
    put_end(next, at);
    return next;
}

void HeaderEditor::set_format(Block& next, const Extension& extension, std::string_view format) const {
    put_extension(next, extension.offset.count(), extension.type, bytes_of(format));
}

void HeaderEditor::set_parent(const std::string& name, std::string_view format) {
    if (name.empty() || name.size() > longest_name || name.find('\0') != std::string::npos)
        throw Unsupported{device_.name(), "a name of the backing file has from 1 to 1023 bytes and no NUL"};
    if (header_.backing_file == name && header_.backing_format() == format) return;

    const auto* recorded = header_.extension(disk::extension_backing_format);
    if (recorded != nullptr && (padded(recorded->data.size()) != padded(format.size()) ||
                                std::ranges::count(header_.extensions, recorded->type, &Extension::type) > 1)) {
        // Of another length or there twice: the extensions behind it move.
        go_to(rebuilt(disk::extension_backing_format, bytes_of(header_.backing_file ? no_format : format)));
        recorded = header_.extension(disk::extension_backing_format);
    }

    const auto with_name = [&] {
        Block next = now_;
        if (header_.backing_file != name) put_name(next, place_for_name(first_free_for_name(), name.size()), name);
        // The area of the extensions now reaches to the new name.
        put_end(next, end_of_extensions());
        return next;
    };
    Block next = with_name();
    if (recorded == nullptr) {
        go_to(std::move(next));
        append_extension(disk::extension_backing_format, bytes_of(format));
        return;
    }
    if (header_.backing_format() == format) {
        go_to(std::move(next));
        return;
    }
    set_format(next, *recorded, format);
    if (atomic(next)) {
        go_to(std::move(next));
        return;
    }
    // Never the one name with the other's format: raw bytes and tables must not be taken for each other.
    const Extension extension = *recorded;
    Block closed = now_;
    set_format(closed, extension, no_format);
    go_to(std::move(closed));
    go_to(with_name());
    next = now_;
    set_format(next, extension, format);
    go_to(std::move(next));
}

void HeaderEditor::drop_parent() {
    if (header_.backing_file_offset == 0_B) return;
    Block next = now_;
    put_name(next, 0, {});
    // Without the end mark the former name would be read as extensions.
    put_end(next, end_of_extensions());
    if (header_.extension(disk::extension_backing_format) != nullptr) {
        // A format without a name says nothing and does no harm; it goes where that costs nothing.
        Block clean = rebuilt(disk::extension_backing_format, std::nullopt);
        put_name(clean, 0, {});
        if (atomic(clean)) next = std::move(clean);
    }
    go_to(std::move(next));
}

void HeaderEditor::set_hidden(bool hidden) {
    if (header_.hidden() == hidden) return;
    constexpr std::byte flag[8] = {std::byte{1}};
    const Extension* extension = header_.extension(disk::extension_hidden);
    if (extension == nullptr) {
        append_extension(disk::extension_hidden, flag);
    } else if (extension->data.empty()) {
        go_to(rebuilt(disk::extension_hidden, flag));
    } else {
        Block next = now_;
        for (const Extension& one : header_.extensions)
            if (one.type == disk::extension_hidden)
                next[one.offset.count() + sizeof(disk::ExtensionHeader)] = hidden ? std::byte{1} : std::byte{0};
        go_to(std::move(next));
    }
}

} // namespace

HeaderEdit relink_edit(const BlockDevice& device, const Header& header, const std::optional<NewParent>& parent) {
    HeaderEditor editor{device, header};
    if (parent)
        editor.set_parent(parent->name, backing_format_name(parent->format));
    else
        editor.drop_parent();
    return editor.take();
}

HeaderEdit hidden_edit(const BlockDevice& device, const Header& header, bool hidden) {
    HeaderEditor editor{device, header};
    editor.set_hidden(hidden);
    return editor.take();
}

} // namespace coppice::qcow2
