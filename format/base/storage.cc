#include "format/base/storage.h"

#include "format/base/error.h"

namespace coppice {

void write_small_file(Storage& storage, const std::string& name, std::string_view content) {
    auto file = storage.create(name);
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
