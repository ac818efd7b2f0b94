// A dynamic or differencing VHD open for writing: what the steps of a merge share.
//
// Keeps table, batmap and footers in memory in step with the disk, and knows where the next block goes. Nothing here
// changes guest-visible bytes. What failed half way leaves the object unusable (see require_usable), the image never.
#pragma once

#include "format/base/header_edit.h"
#include "format/vhd/headers.h"

#include <set>
#include <span>
#include <vector>

namespace coppice::vhd {

class WritableDisk {
public:
    /// Throws Unsupported or CorruptImage where the image must not be written to: poisoned, a batmap that cannot be
    /// used, blocks in impossible places. Both references must outlive it.
    WritableDisk(BlockDevice& device, EditLog& log);

    BlockDevice& device() { return device_; }
    EditLog& log() { return log_; }
    const std::string& name() const { return device_.name(); }
    const Layout& layout() const { return layout_; }
    const DynamicHeader& header() const { return header_; }
    const Footer& footer() const { return footer_; }
    const Footers& footers() const { return footers_; }
    Bat& bat() { return bat_; }
    const std::optional<Batmap>& batmap() const { return batmap_; }
    Bytes metadata_end() const { return vhd::metadata_end(layout_, batmap_, header_, device_.size()); }
    /// Behind everything that is in use.
    Bytes data_end() const { return vhd::data_end(layout_, bat_, metadata_end()); }

    /// Where a block that is appended behind `end` starts. Throws NoSpace where its place cannot be named in 32 bits,
    /// or reaches into the last sector of a block device.
    Bytes place_behind(Bytes end) const;
    /// Makes sure that a file ends in a valid footer at or behind `end`, durably. No effect on a block device.
    void keep_footer_behind(Bytes end);
    /// Requests that bring the table's sectors of these blocks to disk; `storage` owns the bytes.
    void entry_writes(std::span<const std::uint64_t> blocks, std::vector<std::vector<std::byte>>& storage,
                      std::vector<WriteRequest>& requests) const;
    void write_entries(std::span<const std::uint64_t> blocks);
    /// Remembers that the bitmap of a block changed, for the batmap.
    void note_changed(std::uint64_t block) { changed_.insert(block); }
    const std::set<std::uint64_t>& changed() const { return changed_; }

    /// Makes both footers `footer` at their right places and cuts a file behind the primary.
    void settle(const Footer& footer);
    /// Rewrites what differs, recorded in the log, because header and map are not written in one piece.
    void store_batmap(const Batmap& batmap);
    /// Counts `blocks` as the disk's from now on. Entries beyond the former size mean nothing and are made unallocated.
    void expose_blocks(std::uint64_t blocks);
    /// After the metadata area has been rewritten.
    void replace_metadata(const DynamicHeader& header, const Layout& layout, std::optional<Batmap> batmap);

    /// Runs `step`; when it throws, every later call does so too: memory and disk may differ.
    template <class Step>
    void guarded(Step step) {
        require_usable();
        usable_ = false;
        step();
        usable_ = true;
    }

private:
    void require_usable() const;

    BlockDevice& device_;
    EditLog& log_;
    Footers footers_;
    Footer footer_;
    DynamicHeader header_;
    Layout layout_;
    Bat bat_;
    std::optional<Batmap> batmap_;
    std::set<std::uint64_t> changed_;
    bool usable_ = true;

    WritableDisk(BlockDevice& device, EditLog& log, Headers headers);
};

} // namespace coppice::vhd
