#include "format/base/storage.h"

#include "format/base/error.h"

#include <algorithm>

namespace coppice {

void Storage::create_filled(const std::string& name, std::string_view content) {
    const auto file = create(name);
    file->write_at(0_B, std::as_bytes(std::span{content}));
    file->flush();
}

void Storage::mark_hidden(const std::string& name, bool) {
    throw Unsupported{name, "there is no place for a mark that hides it"};
}

void write_small_file(Storage& storage, const std::string& name, std::string_view content) {
    if (!storage.exists(name)) {
        storage.create_filled(name, content);
        storage.sync();
        return;
    }
    const auto file = storage.open(name, Access::read_write);
    if (file->size() > 0_B) {
        const auto found = file->read_at(0_B, std::min(file->size(), Bytes{content.size() + 1}));
        if (std::ranges::equal(found, std::as_bytes(std::span{content}))) return;
        throw SystemError{"write", name, std::make_error_code(std::errc::file_exists)};
    }
    file->write_at(0_B, std::as_bytes(std::span{content}));
    file->flush();
    storage.sync();
}

std::optional<std::string> read_small_file(Storage& storage, const std::string& name, Bytes limit) {
    if (!storage.exists(name)) return std::nullopt;
    const auto file = storage.open(name, Access::read_only);
    std::string content(std::min(file->size(), limit).count(), '\0');
    file->read_at(0_B, std::as_writable_bytes(std::span{content}));
    return content;
}

} // namespace coppice
