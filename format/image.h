// One image (one layer of a chain) of any format: what it maps, who its parent is, and how its header is changed.
//
// Merely reading never writes. An Image sees the file as it was opened: after a header edit or a merge into it, open it
// anew. Used by one thread at a time.
#pragma once

#include "format/base/block_device.h"
#include "format/base/header_edit.h"
#include "format/base/uuid.h"
#include "format/range_list.h"
#include "format/target_shape.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

enum class Format { raw, vhd, qcow2 };

std::string_view to_string(Format format);

/// What a layer says about a stretch of the guest's disk. "Unallocated" (look in the parent) has no runs.
enum class Content : std::uint8_t {
    zero,       ///< reads as zeros whatever the parent holds
    data,       ///< stands plainly in the data device, which nearly always is the image's own
    compressed, ///< stands compressed in the device
};

struct MapRun {
    ByteRange guest;
    Content content;
    Bytes host; ///< data: offset of guest.begin in the data device. What lies behind its end reads as zeros
    std::uint64_t descriptor = 0; ///< compressed: the format's own description of the whole unit that holds `guest`

    bool operator==(const MapRun&) const = default;
};

/// What an image records of its parent. Nothing here has been looked up in a file system.
struct ParentReference {
    std::vector<std::string>
        names;                    ///< as stored, decoded to UTF-8, in the order in which a reader tries them; not empty
    std::optional<Format> format; ///< as recorded; nullopt where the image does not say
    std::optional<Uuid> vhd_uuid; ///< a VHD parent must carry this UUID in its footer
};

/// The parent an image shall get.
struct NewParent {
    std::string name; ///< bare file name, or a path as the storage wants it
    Format format;
    std::optional<Uuid> vhd_uuid; ///< of a VHD parent
    std::int64_t modified = 0;    ///< of the parent, seconds since 1970-01-01; a VHD child records it
};

class MergeTarget;
class TailSpace;
class TargetSpace;

class Image {
public:
    virtual ~Image() = default;
    Image(const Image&) = delete;
    Image& operator=(const Image&) = delete;

    virtual Format format() const = 0;
    /// What the guest sees; a multiple of 512 (a raw file is padded with zeros, a QCOW2 size is rounded down).
    virtual Bytes virtual_size() const = 0;
    virtual bool hidden() const = 0;
    virtual std::optional<ParentReference> parent() const = 0;
    /// Of a VHD: the UUID in its footer. nullopt for other formats.
    virtual std::optional<Uuid> vhd_uuid() const { return std::nullopt; }

    /// The first guest offset at or behind `from` that this layer may map; nullopt when it maps nothing further.
    virtual std::optional<Bytes> next_mapped(Bytes from) const = 0;
    /// What this layer maps inside `window`, ascending, clipped to `window` and to virtual_size(). Neighbours that
    /// continue each other in guest and host are one run. Throws CorruptImage where the tables point at impossible
    /// places.
    virtual std::vector<MapRun> map(ByteRange window) const = 0;
    /// The file in which this layer's data stands instead of in its own (QCOW2 "external data file"), as stored and not
    /// looked up; nullopt for nearly every image. Such an image is read, and takes no part in a merge.
    virtual std::optional<std::string> data_file() const { return std::nullopt; }
    /// Guest bytes of `part`, which lies inside one compressed run of map(). Throws CorruptImage where the stream is
    /// bad.
    virtual void read_compressed(const MapRun& run, ByteRange part, std::span<std::byte> buffer) const;

    /// Guest bytes that are mapped, in the units of the format and as the host's own tools count them.
    virtual Bytes allocated_size() const = 0;
    /// What the image uses of its device: the end of its last used byte.
    virtual Bytes physical_size() const = 0;
    /// How it would grow as the target of a merge.
    virtual TargetShape target_shape() const { return {}; }
    /// The exact account of that, for where space is scarce. Reads all tables of the image. Throws CorruptImage where
    /// they point at impossible places.
    virtual std::unique_ptr<const TargetSpace> target_space() const;

    /// How long its file has to be before it is held (BlockDevice::hold_length) and receives what makes it grow by
    /// `more`, so that who opens it in the middle can read all of it; nullopt where the format's readers do not mind.
    /// Not less than it is.
    virtual std::optional<Bytes> length_to_hold(Bytes /*more*/) const { return std::nullopt; }

    /// The change that makes `parent` the parent, or with nullopt makes the image a root. Throws Unsupported where the
    /// format cannot express it (a name that does not fit, a parent of a format it cannot have).
    virtual HeaderEdit relinked(const std::optional<NewParent>& parent) const = 0;
    virtual HeaderEdit with_hidden(bool hidden) const = 0;

    /// Prepares writing into this image, whose device is open for writing and which nobody else uses. Throws
    /// Unsupported or CorruptImage where the format's rules forbid it (internal snapshots, corrupt bit, refcounts that
    /// lie). The target keeps a reference to this image's device; this Image must outlive it and is stale once it
    /// writes.
    virtual std::unique_ptr<MergeTarget> merge_target(EditLog& log) = 0;

    /// How it gets shorter piece by piece; nullptr where the format knows only whole images. Reads all tables. Throws
    /// CorruptImage where they point at impossible places.
    virtual std::unique_ptr<const TailSpace> tail_space() const;
    /// From now on this image maps nothing of `guest`, which TailSpace::beyond() has given, so that there a guest reads
    /// what lies beneath. Durable on return; after a crash any part of it may have happened. Its device is open for
    /// writing and nobody else uses it; this Image is stale afterwards. Throws what merge_target() throws.
    virtual void forget(const RangeList& guest, EditLog& log);

    const BlockDevice& device() const { return *device_; }
    BlockDevice& device() { return *device_; }
    const std::string& name() const { return device_->name(); }

    /// Where the data runs of map() stand. Throws Unsupported where that is a data file which nobody has attached.
    const BlockDevice& data_device() const;
    /// The file that data_file() names, open for reading.
    void attach_data_file(std::unique_ptr<BlockDevice> file) { data_file_ = std::move(file); }

protected:
    explicit Image(std::unique_ptr<BlockDevice> device) : device_{std::move(device)} {}

private:
    std::unique_ptr<BlockDevice> device_;
    std::unique_ptr<BlockDevice> data_file_;
};

/// Opens by the format that the name or the child says; content is never guessed. Throws CorruptImage or Unsupported
/// with the reason, SystemError where reading fails.
std::unique_ptr<Image> open_image(std::unique_ptr<BlockDevice> device, Format format);

/// By the extension of a file name: .vhd, .qcow2, .raw; nullopt for everything else.
std::optional<Format> format_of_name(std::string_view file_name);
/// ".vhd", ".qcow2", ".raw".
std::string_view extension(Format format);

} // namespace coppice
