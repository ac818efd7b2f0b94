// The seam that all image I/O goes through: one open file or block device.
//
// Requests come in batches, and the order inside a batch is free, so that an implementation can keep many of them in
// flight. Only flush() orders: what was written before it is durable when it returns. Tests replace this class to lose
// power, to tear writes and to count them. One object is used by one thread at a time.
#pragma once

#include "format/base/byte_range.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace coppice {

struct ReadRequest {
    Bytes offset;
    std::span<std::byte> buffer;
};

struct WriteRequest {
    Bytes offset;
    std::span<const std::byte> buffer;
};

/// What tells one stored object, in one state, from another.
struct FileIdentity {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t modified_ns = 0; ///< since 1970-01-01

    bool operator==(const FileIdentity&) const = default;
    bool same_object(const FileIdentity& other) const { return device == other.device && inode == other.inode; }
};

class BlockDevice {
public:
    virtual ~BlockDevice() = default;
    BlockDevice() = default;
    BlockDevice(const BlockDevice&) = delete;
    BlockDevice& operator=(const BlockDevice&) = delete;

    /// For messages.
    virtual const std::string& name() const = 0;
    /// A block device cannot grow, and has its VHD footer at its very end.
    virtual bool fixed_size() const = 0;
    /// As of opening, changed only by our own writes and set_size().
    virtual Bytes size() const = 0;

    /// Reads every byte of every request. All of them lie below size(). Throws SystemError, also when the file turned
    /// out to be shorter than size(): a file that shrinks under us must not read as zeros.
    virtual void read(std::span<const ReadRequest> requests) const = 0;
    /// Requests of one batch do not overlap. A file grows as needed.
    virtual void write(std::span<const WriteRequest> requests) = 0;
    /// Everything written or resized before is durable afterwards (fdatasync).
    virtual void flush() = 0;
    /// Cuts the file, or extends it with a hole. Throws Unsupported on a block device.
    virtual void set_size(Bytes size) = 0;
    /// The range reads as zeros afterwards and takes as little space as the storage allows; grows the file to
    /// `range.end` where that is behind its end.
    virtual void zero(ByteRange range) = 0;
    /// The first stretch at or behind `from` that may hold bytes other than zero, nullopt when only holes follow. Never
    /// longer than the file. A storage without knowledge of holes answers [from, size()).
    virtual std::optional<ByteRange> next_data(Bytes from) const = 0;
    /// Makes `target` of this device refer to the same storage as the source (FICLONERANGE). False where the storage
    /// cannot, and then nothing has changed.
    virtual bool share(const BlockDevice& source, Bytes source_offset, ByteRange target) = 0;
    virtual FileIdentity identity() const = 0;
    /// When content, name or attributes last changed, in nanoseconds since 1970-01-01, by the clock that stamps
    /// identity().modified_ns too; nullopt where nobody keeps count.
    virtual std::optional<std::int64_t> changed_ns() const { return std::nullopt; }
    /// The kernel's handle, for locks and cloning; -1 where there is none.
    virtual int descriptor() const { return -1; }

    /// From now on others may have it open who looked at its length once, and read zeros behind that: data that they
    /// may come to read must not be put there.
    void hold_length() { held_length_ = size(); }
    std::optional<Bytes> held_length() const { return held_length_; }

    // Conveniences on top of the virtual calls.
    void read_at(Bytes offset, std::span<std::byte> buffer) const;
    std::vector<std::byte> read_at(Bytes offset, Bytes length) const;
    /// What lies behind size() reads as zeros.
    void read_padded(Bytes offset, std::span<std::byte> buffer) const;
    void write_at(Bytes offset, std::span<const std::byte> buffer);

private:
    std::optional<Bytes> held_length_;
};

} // namespace coppice
