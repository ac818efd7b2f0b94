// A SQLite VFS that knows what a power cut may leave: it passes everything on to the default VFS, and keeps apart what
// was written, truncated, created or deleted but not yet flushed. After every such call it takes a picture, from which
// a directory can be made as it might be found after a power cut at that moment.
//
// What is done to names outside SQLite (create, rename, unlink) is taken to be durable at the next call. The index of a
// write-ahead log (-shm) is memory, and is not part of a picture. For one thread.
#pragma once

#include <sqlite3.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace coppice::journal {

using Content = std::vector<std::byte>;

/// A write, or a truncation where there is no data.
struct UnflushedChange {
    std::size_t offset = 0; ///< of a truncation: the new length
    std::optional<Content> data;
};

struct WrittenFile {
    std::shared_ptr<const Content> durable;
    std::vector<std::shared_ptr<const UnflushedChange>> unflushed;
};

struct NameChange {
    std::string name;
    std::optional<std::uint64_t> file; ///< nullopt: deleted
};

/// What of the unflushed survives.
enum class Survival {
    nothing,
    everything,
    chance, ///< of every change all, nothing, or some sectors; of the changes of names the first few
};

struct Picture {
    std::map<std::uint64_t, WrittenFile> files;
    std::map<std::string, std::uint64_t> durable_names;
    std::vector<NameChange> unflushed_names;
    std::string call; ///< after which it was taken
    int finished = 0; ///< PowerCutVfs::finished() at that moment

    /// Writes the files into `directory`, which must be empty.
    void develop(const std::filesystem::path& directory, Survival survival, std::mt19937& random) const;
};

class PowerCutVfs {
public:
    /// Becomes the default VFS, and watches files of `directory` itself.
    explicit PowerCutVfs(std::filesystem::path directory);
    ~PowerCutVfs();
    PowerCutVfs(const PowerCutVfs&) = delete;
    PowerCutVfs& operator=(const PowerCutVfs&) = delete;

    /// Notes that one more step of a script has returned.
    void finish_step();
    const std::vector<Picture>& pictures() const { return pictures_; }
    /// A file was renamed outside SQLite while it was not flushed.
    bool renamed_unflushed() const { return renamed_unflushed_; }

    /// The VFS that was the default, and does the work.
    sqlite3_vfs* real() const { return real_; }

    // Called by the C functions of the VFS.
    std::optional<std::uint64_t> opened(const std::string& path, bool existed, bool created_name_is_unflushed);
    void written(std::uint64_t file, const void* data, std::size_t size, std::size_t offset);
    void truncated(std::uint64_t file, std::size_t size);
    void flushed(std::uint64_t file, bool directory_too);
    void deleted(const std::string& path, bool flushed);

private:
    void notice_names();
    void flush_names();
    void take_picture(std::string call);
    std::uint64_t add_file(std::uint64_t inode, std::shared_ptr<const Content> content);

    std::filesystem::path directory_;
    sqlite3_vfs* real_;
    sqlite3_vfs shim_{};
    std::uint64_t last_id_ = 0;
    std::map<std::uint64_t, std::uint64_t> file_of_inode_;
    std::map<std::string, std::uint64_t> names_;
    Picture now_;
    std::vector<Picture> pictures_;
    bool renamed_unflushed_ = false;
};

} // namespace coppice::journal
