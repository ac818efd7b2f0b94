// A place that holds named images: the directory of a file SR, or a volume group.
//
// The second half of the seam to disks: every change of a name goes through here, so that tests can lose power between
// any two changes. Names are bare: no slash, never "." or "..". Symbolic links are never followed. Thread-safe for
// list(), open() and exists(); changes come from one thread.
#pragma once

#include "format/base/block_device.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

enum class Access { read_only, read_write };

struct StorageEntry {
    enum class Kind { file, symbolic_link, other };
    std::string name;
    Kind kind;

    bool operator==(const StorageEntry&) const = default;
};

struct StorageSpace {
    Bytes total;
    Bytes free; ///< what an unprivileged writer may use
};

/// What can be told of a file without opening it.
struct FileState {
    FileIdentity identity;
    std::int64_t changed_ns = 0; ///< of content, name or attributes, since 1970-01-01
    Bytes taken;                 ///< of the storage

    /// Nothing has happened to the file in between, as far as times of change tell.
    bool same_content(const FileState& other) const {
        return identity == other.identity && changed_ns == other.changed_ns;
    }
};

class Storage {
public:
    virtual ~Storage() = default;
    Storage() = default;
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;

    /// For messages and reports.
    virtual const std::string& name() const = 0;
    /// Sorted by name, without "." and "..".
    virtual std::vector<StorageEntry> list() const = 0;
    virtual bool exists(const std::string& name) const = 0;
    /// Throws NotFound, SystemError, or Refused("image-damaged") for anything that is not a regular file or block
    /// device.
    virtual std::unique_ptr<BlockDevice> open(const std::string& name, Access access) = 0;
    /// nullopt where there is no such file, or nobody keeps count.
    virtual std::optional<FileState> state(const std::string&) const { return std::nullopt; }
    /// Makes an empty file; throws SystemError where the name exists.
    virtual std::unique_ptr<BlockDevice> create(const std::string& name) = 0;
    /// Makes a file with this content, which is durable when the call returns; its name is not, before sync(). Where
    /// the storage can, the name appears together with the content; otherwise a crash may leave an empty file.
    virtual void create_filled(const std::string& name, std::string_view content);
    /// Atomic. Throws SystemError where `to` exists: nothing is ever replaced by a rename.
    virtual void rename(const std::string& from, const std::string& to) = 0;
    virtual void remove(const std::string& name) = 0;
    /// Names created, renamed and removed before are durable afterwards.
    virtual void sync() = 0;
    virtual StorageSpace space() const = 0;

    // What only volumes need: they have to be active to be written to, and have a size of their own. Files do without.

    /// Keeps the object open to us until let_go(): what open() returns before that is good for a look only.
    virtual void hold(const std::string&) {}
    /// Ends all hold(); nothing that was opened is open any more. What fails is logged, and done by the next run.
    virtual void let_go() noexcept {}
    /// Objects have a size of their own, in multiples of this, which only make_room() and trim() change; 0: they grow
    /// and shrink with what is in them.
    virtual Bytes size_unit() const { return {}; }
    bool has_sizes() const { return size_unit() > 0_B; }
    /// Room for an image that ends at `end`, its footer included. Who has it open, opens it anew. Throws
    /// Refused("no-space"); then nothing has changed.
    virtual void make_room(const std::string&, Bytes) {}
    /// No more room than an image needs that ends at `end` and that nobody is going to write to.
    virtual void trim(const std::string&, Bytes) {}
    /// From let_go() on nobody writes to it.
    virtual void seal(const std::string&) {}
    /// Whether nobody uses the object, and somebody may write to it all the same: of a hidden image only a run that was
    /// killed leaves that behind.
    virtual bool lacks_seal(const std::string&) const { return false; }
    /// Holds it, and takes now the time that the first write to it would take.
    virtual void unseal(const std::string& name) { hold(name); }
    /// False where an object has to be closed before it is removed.
    virtual bool removes_open_objects() const { return true; }
    /// A mark beside the object says that it is hidden, for formats without a place for it.
    virtual bool is_marked_hidden(const std::string&) const { return false; }
    virtual void mark_hidden(const std::string& name, bool hidden);
    /// The object that the name of a parent, as an image records it, means, whether there is one or not. What leads
    /// elsewhere is not told apart.
    virtual std::string object_named(std::string_view stored) const {
        return std::string{stored.substr(stored.rfind('/') + 1)}; // npos + 1 is the beginning
    }
    /// What the image `child` records as the name of its parent, the object `parent`.
    virtual std::string parent_name(const std::string& parent, const std::string&) const { return parent; }
};

/// A small file with exactly this content, durable with its name when the call returns. An empty file of this name is
/// what a crash in here may leave, and is filled; one with other content makes it throw.
void write_small_file(Storage& storage, const std::string& name, std::string_view content);
/// At most `limit` bytes of a file; nullopt where it does not exist.
std::optional<std::string> read_small_file(Storage& storage, const std::string& name, Bytes limit);

} // namespace coppice
