#include "tests/support/memory_storage.h"

#include "format/base/error.h"

#include <atomic>
#include <cstring>

namespace coppice::test {
namespace {

std::shared_ptr<MemoryFile> new_file(std::vector<std::byte> bytes) {
    static std::atomic<std::uint64_t> next_inode{1'000'000};
    auto file = std::make_shared<MemoryFile>();
    file->bytes = std::move(bytes);
    file->inode = next_inode++;
    file->flush();
    return file;
}

bool is_image(const std::string& name) {
    return name.ends_with(".vhd") || name.ends_with(".qcow2") || name.ends_with(".raw");
}

[[noreturn]] void fail(const std::string& attempt, const std::string& name, std::errc cause) {
    throw SystemError{attempt, name, std::make_error_code(cause)};
}

} // namespace

void MemoryStorage::change() {
    if (power_ != nullptr) power_->change();
    history_.push_back(names_);
}

std::shared_ptr<MemoryFile> MemoryStorage::file(const std::string& name) const {
    const auto place = names_.find(name);
    if (place == names_.end()) throw NotFound{name, name_};
    if (place->second == nullptr) throw Refused{"image-damaged", name, "is a symbolic link, which is never followed"};
    return place->second;
}

std::vector<StorageEntry> MemoryStorage::list() const {
    const std::lock_guard lock{mutex_};
    std::vector<StorageEntry> entries;
    for (const auto& [name, file] : names_)
        entries.push_back({name, file ? StorageEntry::Kind::file : StorageEntry::Kind::symbolic_link});
    return entries;
}

bool MemoryStorage::exists(const std::string& name) const {
    const std::lock_guard lock{mutex_};
    return names_.contains(name);
}

std::unique_ptr<BlockDevice> MemoryStorage::open(const std::string& name, Access access) {
    const std::lock_guard lock{mutex_};
    if (access == Access::read_write) opened_for_writing.insert(name);
    if (const auto place = refused_.find(name); place != refused_.end()) fail("open", name, place->second);
    if (vanishing_.erase(name) != 0) names_.erase(name);
    return std::make_unique<MemoryDevice>(file(name), name, power_, unit > 0_B && is_image(name));
}

std::unique_ptr<BlockDevice> MemoryStorage::create(const std::string& name) {
    const std::lock_guard lock{mutex_};
    if (names_.contains(name)) fail("create", name, std::errc::file_exists);
    change();
    names_[name] = new_file({});
    return std::make_unique<MemoryDevice>(names_[name], name, power_);
}

void MemoryStorage::rename(const std::string& from, const std::string& to) {
    const std::lock_guard lock{mutex_};
    if (!names_.contains(from)) fail("rename to " + to, from, std::errc::no_such_file_or_directory);
    if (names_.contains(to)) fail("rename to " + to, from, std::errc::file_exists);
    change();
    if (names_[from]) names_[from]->note_rename();
    names_[to] = names_[from];
    names_.erase(from);
}

void MemoryStorage::remove(const std::string& name) {
    const std::lock_guard lock{mutex_};
    if (!names_.contains(name)) fail("remove", name, std::errc::no_such_file_or_directory);
    change();
    names_.erase(name);
}

void MemoryStorage::sync() {
    const std::lock_guard lock{mutex_};
    if (power_ != nullptr) power_->change();
    history_.clear();
}

void MemoryStorage::lose_power(Unsynced unsynced, std::mt19937_64& random) {
    history_.push_back(names_);
    if (unsynced == Unsynced::lost) names_ = history_.front();
    if (unsynced == Unsynced::torn) names_ = history_[random() % history_.size()];
    history_.clear();
    for (const auto& [name, file] : names_)
        if (file) file->lose_power(unsynced, random);
}

void MemoryStorage::put(const std::string& name, std::vector<std::byte> bytes) {
    names_[name] = new_file(std::move(bytes));
}

void MemoryStorage::put_text(const std::string& name, std::string_view text) {
    const auto bytes = std::as_bytes(std::span{text});
    put(name, {bytes.begin(), bytes.end()});
}

void MemoryStorage::put_link(const std::string& name) {
    names_[name] = nullptr;
}

std::vector<std::string> MemoryStorage::names() const {
    std::vector<std::string> result;
    for (const auto& [name, file] : names_)
        result.push_back(name);
    return result;
}

std::unique_ptr<MemoryStorage> MemoryStorage::copy(PowerSupply* power) const {
    auto result = std::make_unique<MemoryStorage>(power);
    result->unit = unit;
    result->free_space = free_space;
    for (const auto& [name, file] : names_)
        if (file) {
            result->put(name, file->bytes);
            result->names_[name]->modified_ns = file->modified_ns;
            result->names_[name]->changed_ns = file->changed_ns;
        } else {
            result->put_link(name);
        }
    return result;
}

Bytes MemoryStorage::taken() const {
    Bytes sum;
    for (const auto& [name, file] : names_)
        if (file) sum += is_image(name) ? Bytes{file->bytes.size()} : unit;
    return sum;
}

StorageSpace MemoryStorage::space() const {
    const std::lock_guard lock{mutex_};
    if (unit == 0_B) return {free_space, free_space};
    const Bytes now = taken();
    return {free_space, now < free_space ? free_space - now : 0_B};
}

void MemoryStorage::make_volumes(Bytes of, Bytes more, Bytes free) {
    unit = of;
    for (const auto& [name, file] : names_)
        if (file && is_image(name)) resize(name, round_up(Bytes{file->bytes.size()} + more, unit));
    free_space = taken() + free;
}

/// The footer of a VHD goes with the end.
void MemoryStorage::resize(const std::string& name, Bytes size) {
    MemoryFile& volume = *file(name);
    const std::ptrdiff_t footer = name.ends_with(".vhd") ? 512 : 0;
    const std::vector<std::byte> end{volume.bytes.end() - footer, volume.bytes.end()};
    volume.resize_durably(size, end);
}

void MemoryStorage::make_room(const std::string& name, Bytes end) {
    const Bytes wanted = round_up(end, unit);
    const Bytes present = open(name, Access::read_only)->size();
    if (wanted <= present) return;
    // The entry of the enlargement takes one unit as long as it goes on.
    if (wanted - present + unit > space().free) throw Refused{"no-space", name, "no units left"};
    const std::lock_guard lock{mutex_};
    if (power_ != nullptr) power_->change();
    resize(name, wanted);
}

void MemoryStorage::trim(const std::string& name, Bytes end) {
    const Bytes wanted = round_up(end, unit);
    if (wanted >= open(name, Access::read_only)->size()) return;
    const std::lock_guard lock{mutex_};
    if (power_ != nullptr) power_->change();
    resize(name, wanted);
}

} // namespace coppice::test
