// A BlockDevice in memory that can lose power: it knows which writes no flush has made durable yet.
#pragma once

#include "format/base/block_device.h"

#include <functional>
#include <map>
#include <memory>
#include <random>

namespace coppice::test {

/// Thrown by the write that power was lost at. Deliberately not an Error, so that nothing under test handles it.
struct PowerLost {};

/// Shared by all devices of one simulated host: counts every change and loses power at one of them.
class PowerSupply {
public:
    /// Power fails at the change that follows `changes` more changes.
    void fail_after(std::uint64_t changes) { left_ = changes; }
    void never_fail() { left_.reset(); }
    std::uint64_t changes() const { return changes_; }
    /// Called before each change; throws PowerLost.
    void change();

private:
    std::optional<std::uint64_t> left_;
    std::uint64_t changes_ = 0;
};

/// What remains of writes that were not flushed.
enum class Unsynced {
    kept, ///< all of them reached the disk
    lost, ///< none did
    torn, ///< any subset of their sectors, chosen by a seed
};

/// The bytes of one simulated file, as the caches show them and as the disk would after a power cut.
class MemoryFile {
public:
    std::vector<std::byte> bytes; ///< as a reader sees them
    std::uint64_t inode = 0;
    std::int64_t modified_ns = 0; ///< ticks of a clock that all files share
    std::int64_t changed_ns = 0;  ///< of content or name

    void note_write(Bytes offset, std::size_t length);
    void note_resize();
    void note_rename();
    void flush();
    /// As a volume is resized: at once, whatever becomes of what is not flushed. `end` is written at the new end.
    void resize_durably(Bytes size, std::span<const std::byte> end);
    /// What a reboot finds becomes `bytes`.
    void lose_power(Unsynced unsynced, std::mt19937_64& random);

private:
    std::vector<std::byte> durable_;
    std::vector<bool> touched_; ///< per sector: written since the last flush
};

class MemoryDevice final : public BlockDevice {
public:
    /// `power` may be null: then power never fails. With `fixed` it behaves as a block device and cannot grow.
    MemoryDevice(std::shared_ptr<MemoryFile> file, std::string name, PowerSupply* power = nullptr, bool fixed = false);

    const std::string& name() const override { return name_; }
    bool fixed_size() const override { return fixed_; }
    Bytes size() const override { return Bytes{file_->bytes.size()}; }
    void read(std::span<const ReadRequest> requests) const override;
    void write(std::span<const WriteRequest> requests) override;
    void flush() override;
    void set_size(Bytes size) override;
    void zero(ByteRange range) override;
    std::optional<ByteRange> next_data(Bytes from) const override;
    bool share(const BlockDevice&, Bytes, ByteRange) override { return false; }
    FileIdentity identity() const override;
    std::optional<std::int64_t> changed_ns() const override { return file_->changed_ns; }

private:
    void change();

    std::shared_ptr<MemoryFile> file_;
    std::string name_;
    PowerSupply* power_;
    bool fixed_;
};

/// A device over a fresh file with this content.
std::unique_ptr<MemoryDevice> memory_device(std::vector<std::byte> bytes = {}, std::string name = "image");

} // namespace coppice::test
