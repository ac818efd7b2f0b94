#include "tests/journal/power_cut_vfs.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <sys/stat.h>

namespace coppice::journal {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t sector = 512;

// ---- the C side: every call goes to the real file, and what changes something is reported ----

struct ShimFile {
    sqlite3_file base;
    PowerCutVfs* owner;
    bool is_watched;
    bool must_flush_directory; ///< by the first flush, as SQLite's own VFS does for a log that it made
    std::uint64_t file;
    sqlite3_file* real; ///< stands behind this object
};

ShimFile& shim(sqlite3_file* file) {
    return *reinterpret_cast<ShimFile*>(file);
}
sqlite3_file* real(sqlite3_file* file) {
    return shim(file).real;
}
const sqlite3_io_methods& methods(sqlite3_file* file) {
    return *real(file)->pMethods;
}

int close_file(sqlite3_file* file) {
    return methods(file).xClose(real(file));
}
int read_file(sqlite3_file* file, void* buffer, int size, sqlite3_int64 offset) {
    return methods(file).xRead(real(file), buffer, size, offset);
}
int write_file(sqlite3_file* file, const void* data, int size, sqlite3_int64 offset) {
    const int result = methods(file).xWrite(real(file), data, size, offset);
    if (result == SQLITE_OK && shim(file).is_watched)
        shim(file).owner->written(shim(file).file, data, static_cast<std::size_t>(size),
                                  static_cast<std::size_t>(offset));
    return result;
}
int truncate_file(sqlite3_file* file, sqlite3_int64 size) {
    const int result = methods(file).xTruncate(real(file), size);
    if (result == SQLITE_OK && shim(file).is_watched)
        shim(file).owner->truncated(shim(file).file, static_cast<std::size_t>(size));
    return result;
}
int sync_file(sqlite3_file* file, int flags) {
    ShimFile& self = shim(file);
    if (!self.is_watched) return methods(file).xSync(real(file), flags);
    self.owner->flushed(self.file, self.must_flush_directory); // no flush of the real file: it need not survive
    self.must_flush_directory = false;
    return SQLITE_OK;
}
int file_size(sqlite3_file* file, sqlite3_int64* size) {
    return methods(file).xFileSize(real(file), size);
}
int lock(sqlite3_file* file, int level) {
    return methods(file).xLock(real(file), level);
}
int unlock(sqlite3_file* file, int level) {
    return methods(file).xUnlock(real(file), level);
}
int check_reserved_lock(sqlite3_file* file, int* result) {
    return methods(file).xCheckReservedLock(real(file), result);
}
int file_control(sqlite3_file* file, int operation, void* argument) {
    return methods(file).xFileControl(real(file), operation, argument);
}
int sector_size(sqlite3_file* file) {
    return methods(file).xSectorSize(real(file));
}
int device_characteristics(sqlite3_file* file) {
    return methods(file).xDeviceCharacteristics(real(file));
}
int shm_map(sqlite3_file* file, int page, int size, int extend, void volatile** address) {
    return methods(file).xShmMap(real(file), page, size, extend, address);
}
int shm_lock(sqlite3_file* file, int offset, int count, int flags) {
    return methods(file).xShmLock(real(file), offset, count, flags);
}
void shm_barrier(sqlite3_file* file) {
    methods(file).xShmBarrier(real(file));
}
int shm_unmap(sqlite3_file* file, int remove) {
    return methods(file).xShmUnmap(real(file), remove);
}

// Version 2: no memory mapping of the database, whose writes could not be seen.
const sqlite3_io_methods shim_methods{2,
                                      close_file,
                                      read_file,
                                      write_file,
                                      truncate_file,
                                      sync_file,
                                      file_size,
                                      lock,
                                      unlock,
                                      check_reserved_lock,
                                      file_control,
                                      sector_size,
                                      device_characteristics,
                                      shm_map,
                                      shm_lock,
                                      shm_barrier,
                                      shm_unmap,
                                      nullptr,
                                      nullptr};

PowerCutVfs& owner(sqlite3_vfs* vfs) {
    return *static_cast<PowerCutVfs*>(vfs->pAppData);
}

int open_file(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* flags_out) {
    auto& self = *new (file) ShimFile{};
    self.owner = &owner(vfs);
    self.real = reinterpret_cast<sqlite3_file*>(reinterpret_cast<std::byte*>(file) + sizeof(ShimFile));
    const bool existed = name != nullptr && fs::exists(name);
    sqlite3_vfs* const below = self.owner->real();
    const int result = below->xOpen(below, name, self.real, flags, flags_out);
    if (self.real->pMethods != nullptr) self.base.pMethods = &shim_methods;
    if (result != SQLITE_OK || name == nullptr) return result;
    const bool is_log = (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL)) != 0;
    self.must_flush_directory = !existed && is_log;
    const auto id = self.owner->opened(name, existed, !existed);
    self.is_watched = id.has_value();
    self.file = id.value_or(0);
    return result;
}
int delete_file(sqlite3_vfs* vfs, const char* name, int flush) {
    sqlite3_vfs* const below = owner(vfs).real();
    const int result = below->xDelete(below, name, flush);
    if (result == SQLITE_OK) owner(vfs).deleted(name, flush != 0);
    return result;
}

Content content_of(const fs::path& path) {
    std::ifstream stream{path, std::ios::binary};
    const std::string text{std::istreambuf_iterator<char>{stream}, {}};
    Content content(text.size());
    std::memcpy(content.data(), text.data(), text.size());
    return content;
}

void apply(Content& content, const UnflushedChange& change, std::size_t from, std::size_t to) {
    if (content.size() < change.offset + to) content.resize(change.offset + to);
    std::copy(change.data->begin() + static_cast<std::ptrdiff_t>(from),
              change.data->begin() + static_cast<std::ptrdiff_t>(to),
              content.begin() + static_cast<std::ptrdiff_t>(change.offset + from));
}

void apply(Content& content, const UnflushedChange& change) {
    if (change.data)
        apply(content, change, 0, change.data->size());
    else
        content.resize(change.offset);
}

void apply_some_sectors(Content& content, const UnflushedChange& change, std::mt19937& random) {
    if (!change.data) return;
    for (std::size_t from = 0; from < change.data->size();) {
        const std::size_t to = std::min(change.data->size(), from + sector - (change.offset + from) % sector);
        if (random() % 2 == 0) apply(content, change, from, to);
        from = to;
    }
}

Content surviving(const WrittenFile& file, Survival survival, std::mt19937& random) {
    Content content = *file.durable;
    for (const auto& change : file.unflushed) {
        const auto luck = survival == Survival::nothing ? 0U : survival == Survival::everything ? 1U : random() % 3;
        if (luck == 1) apply(content, *change);
        if (luck == 2) apply_some_sectors(content, *change, random);
    }
    return content;
}

void change_name(std::map<std::string, std::uint64_t>& names, const NameChange& change) {
    if (change.file)
        names[change.name] = *change.file;
    else
        names.erase(change.name);
}

} // namespace

void Picture::develop(const fs::path& directory, Survival survival, std::mt19937& random) const {
    auto names = durable_names;
    std::size_t kept_names = survival == Survival::nothing ? 0 : unflushed_names.size();
    if (survival == Survival::chance) kept_names = random() % (kept_names + 1);
    for (std::size_t i = 0; i < kept_names; ++i)
        change_name(names, unflushed_names[i]);
    for (const auto& [name, id] : names) {
        const Content content = surviving(files.at(id), survival, random);
        std::ofstream out{directory / name, std::ios::binary};
        out.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
        if (!out.flush()) throw std::runtime_error{"cannot write " + name};
    }
}

PowerCutVfs::PowerCutVfs(fs::path directory) : directory_{std::move(directory)}, real_{sqlite3_vfs_find(nullptr)} {
    shim_ = *real_;
    shim_.zName = "power-cut";
    shim_.pNext = nullptr;
    shim_.pAppData = this;
    shim_.szOsFile = static_cast<int>(sizeof(ShimFile)) + real_->szOsFile;
    shim_.xOpen = open_file;
    shim_.xDelete = delete_file;
    // Everything else needs nothing of a VFS but what the copy has.
    shim_.xFullPathname = [](sqlite3_vfs* vfs, const char* name, int size, char* out) {
        sqlite3_vfs* const below = owner(vfs).real();
        return below->xFullPathname(below, name, size, out);
    };
    shim_.xAccess = [](sqlite3_vfs* vfs, const char* name, int flags, int* result) {
        sqlite3_vfs* const below = owner(vfs).real();
        return below->xAccess(below, name, flags, result);
    };
    if (sqlite3_vfs_register(&shim_, 1) != SQLITE_OK) throw std::runtime_error{"no VFS"};
    notice_names();
}

PowerCutVfs::~PowerCutVfs() {
    sqlite3_vfs_unregister(&shim_);
    sqlite3_vfs_register(real_, 1);
}

std::uint64_t PowerCutVfs::add_file(std::uint64_t inode, std::shared_ptr<const Content> content) {
    const std::uint64_t id = ++last_id_; // an inode number may come again
    file_of_inode_[inode] = id;
    now_.files[id].durable = std::move(content);
    return id;
}

void PowerCutVfs::notice_names() {
    std::map<std::string, std::uint64_t> inodes;
    for (const auto& entry : fs::directory_iterator{directory_}) {
        struct stat status {};
        const std::string name = entry.path().filename();
        if (!name.ends_with("-shm") && ::stat(entry.path().c_str(), &status) == 0) inodes[name] = status.st_ino;
    }
    std::map<std::string, std::uint64_t> missing;
    for (const auto& [name, id] : names_)
        if (!inodes.contains(name)) missing.emplace(name, id);
    for (const auto& [name, inode] : inodes) {
        const auto known = file_of_inode_.find(inode);
        if (names_.contains(name) && known != file_of_inode_.end() && known->second == names_[name]) continue;
        const auto old_name = std::ranges::find_if(
            missing, [&](const auto& pair) { return known != file_of_inode_.end() && pair.second == known->second; });
        const bool is_renamed = old_name != missing.end();
        const std::uint64_t id =
            is_renamed ? old_name->second : add_file(inode, std::make_shared<Content>(content_of(directory_ / name)));
        renamed_unflushed_ = renamed_unflushed_ || (is_renamed && !now_.files[id].unflushed.empty());
        names_[name] = id;
        now_.durable_names[name] = id;
    }
    for (const auto& [name, id] : missing) {
        names_.erase(name);
        now_.durable_names.erase(name);
        std::erase_if(now_.unflushed_names, [&](const NameChange& change) { return change.name == name; });
    }
}

std::optional<std::uint64_t> PowerCutVfs::opened(const std::string& path, bool existed, bool created) {
    if (fs::path{path}.parent_path() != directory_) return std::nullopt;
    const std::string name = fs::path{path}.filename();
    if (created) {
        struct stat status {};
        if (::stat(path.c_str(), &status) != 0) throw std::logic_error{"opened a file that is not there"};
        names_[name] = add_file(status.st_ino, std::make_shared<Content>());
        now_.unflushed_names.push_back({name, names_[name]});
        notice_names();
        take_picture("create " + name);
    } else if (existed) {
        notice_names();
    }
    return names_.at(name);
}

void PowerCutVfs::written(std::uint64_t file, const void* data, std::size_t size, std::size_t offset) {
    const auto* const bytes = static_cast<const std::byte*>(data);
    now_.files.at(file).unflushed.push_back(
        std::make_shared<UnflushedChange>(UnflushedChange{offset, Content(bytes, bytes + size)}));
    take_picture("write of " + std::to_string(size) + " at " + std::to_string(offset));
}

void PowerCutVfs::truncated(std::uint64_t file, std::size_t size) {
    now_.files.at(file).unflushed.push_back(std::make_shared<UnflushedChange>(UnflushedChange{size, std::nullopt}));
    take_picture("truncate to " + std::to_string(size));
}

void PowerCutVfs::flush_names() {
    for (const NameChange& change : now_.unflushed_names)
        change_name(now_.durable_names, change);
    now_.unflushed_names.clear();
}

void PowerCutVfs::flushed(std::uint64_t file, bool directory_too) {
    WrittenFile& flushed = now_.files.at(file);
    if (!flushed.unflushed.empty()) {
        auto content = std::make_shared<Content>(*flushed.durable);
        for (const auto& change : flushed.unflushed)
            apply(*content, *change);
        flushed = {std::move(content), {}};
    }
    if (directory_too) flush_names();
    take_picture("flush");
}

void PowerCutVfs::deleted(const std::string& path, bool flushed) {
    if (fs::path{path}.parent_path() != directory_) return;
    const std::string name = fs::path{path}.filename();
    names_.erase(name);
    now_.unflushed_names.push_back({name, std::nullopt});
    if (flushed) flush_names();
    take_picture("delete " + name);
}

void PowerCutVfs::take_picture(std::string call) {
    notice_names();
    now_.call = std::move(call);
    pictures_.push_back(now_);
}

void PowerCutVfs::finish_step() {
    ++now_.finished;
    take_picture("return of step " + std::to_string(now_.finished));
}

} // namespace coppice::journal
