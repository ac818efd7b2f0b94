// A small host for tests of VHD writers: files in memory that may lose power together, a log of edits, and the bytes
// that a guest must read.
#pragma once

#include "format/chain.h"
#include "format/merge_target.h"
#include "format/vhd/create.h"
#include "format/vhd/image.h"
#include "tests/support/memory_device.h"

#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace coppice::vhd::test {

using coppice::test::MemoryDevice;
using coppice::test::MemoryFile;
using coppice::test::PowerSupply;
using coppice::test::Unsynced;

/// Keeps the edit begun last, as a journal would; it survives the power.
class MemoryLog final : public EditLog {
public:
    void begin(const std::string& image, const HeaderEdit& edit) override;
    void end() override { pending_.reset(); }
    const std::optional<std::pair<std::string, HeaderEdit>>& pending() const { return pending_; }

private:
    std::optional<std::pair<std::string, HeaderEdit>> pending_;
};

/// One stored image: a file, or a volume that cannot grow.
struct Stored {
    std::string name;
    std::shared_ptr<MemoryFile> file;
    bool volume = false;

    Stored copy() const;
    std::unique_ptr<MemoryDevice> device(PowerSupply* power = nullptr) const;
    std::unique_ptr<Image> open(PowerSupply* power = nullptr) const;
};

/// An image opened as the target of a merge with nothing beneath it, and prepared.
class LoneTarget {
public:
    explicit LoneTarget(const Stored& stored);
    void write(ByteRange guest, std::span<const std::byte> bytes);
    void zero(ByteRange guest);
    void grow(Bytes size);
    void finish(MergeTarget::Becomes becomes = MergeTarget::Becomes::root) { target_->finish(becomes); }

private:
    MemoryLog log_;
    std::unique_ptr<Image> image_;
    std::unique_ptr<MergeTarget> target_;
    BufferedMover mover_{BufferedMover::Sharing::never};
};

struct Made {
    std::string name;
    NewDisk disk;
    bool fixed = false;
    Bytes volume_size{}; ///< zero: a file
};

Stored make(const Made& made);
/// What a guest reads through these images, newest first.
std::vector<std::byte> guest_bytes(const std::vector<Stored>& newest_first);
/// What a reader sees that ignores bitmaps, as QEMU does; of a root.
std::vector<std::byte> bytes_without_bitmaps(const Stored& root);

/// Writes random data at random places of an image in random batches, over what lies below.
void scribble(const Stored& image, const std::vector<Stored>& below, std::mt19937_64& random, std::size_t writes);

/// A merge of `sources` (newest first) into `target`.
struct Merge {
    Stored target;
    std::vector<Stored> sources;
    std::vector<Stored> below_now;   ///< under the target
    std::vector<Stored> below_after; ///< under the target once it has been relinked
    bool up = false;                 ///< sources are parents of the target: its own data is newer
    MergeTarget::Becomes becomes = MergeTarget::Becomes::child;
    Bytes batch = 16_KiB;
};

/// The whole merge up to finish(). Doing it again is harmless.
void pour(const Merge& merge, PowerSupply* power, EditLog& log);
/// After a power cut: all files as the disk has them, and the pending edit applied again.
void recover(std::vector<Stored>& files, MemoryLog& log, Unsynced unsynced, std::mt19937_64& random);

} // namespace coppice::vhd::test
