#include "format/vhd/check.h"

#include "format/vhd/check_structures.h"
#include "format/vhd/headers.h"
#include "format/vhd/sector_bitmap.h"

#include <algorithm>
#include <chrono>

namespace coppice::vhd {
namespace {

// More findings of one kind help nobody.
constexpr std::size_t most_faults = 100;
constexpr std::size_t bitmaps_at_once = 1024;

class Checker {
public:
    explicit Checker(const BlockDevice& device) : device_{device}, findings_{report_} {}

    CheckReport run() {
        footers_ = read_footers(device_);
        check_footers();
        if (footer_) check_rest();
        return std::move(report_);
    }

private:
    void check_footers();
    void check_rest();
    void check_fixed();
    void check_header();
    void check_parent_fields();
    void check_locators();
    void check_blocks();
    void check_cut_block(std::uint64_t block);
    void check_batmap();
    void check_full_blocks();

    std::int64_t now() const {
        return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
            .count();
    }

    const BlockDevice& device_;
    CheckReport report_;
    Findings findings_;
    Footers footers_;
    std::optional<Footer> footer_;
    std::optional<DynamicHeader> header_;
    std::optional<Layout> layout_;
    std::optional<Bat> bat_;
    ReadBatmap batmap_;
};

void Checker::check_footers() {
    footer_ = footers_.effective();
    if (!footer_) {
        findings_.unreadable("no-footer", std::nullopt,
                             "neither the footer (" + footers_.primary_problem + ") nor its copy (" +
                                 footers_.copy_problem + ") is valid");
        return;
    }
    if (!footers_.primary)
        findings_.blemish("primary-footer-invalid", footers_.primary_offset,
                          "the footer is invalid: " + footers_.primary_problem + "; its copy is used");
    if (footer_->poisoned())
        findings_.damage("poisoned", std::nullopt, "a journaled resize was interrupted and has to be reverted");
    check_footer_fields(*footer_, now(), findings_);
    if (footer_->is(DiskType::fixed) || report_.verdict == Verdict::unsupported) return;
    if (!footers_.copy)
        findings_.blemish("copy-footer-invalid", 0_B, "the copy of the footer is invalid: " + footers_.copy_problem);
    else if (footers_.primary && !(*footers_.primary == *footers_.copy))
        findings_.damage("footers-differ", 0_B, "the footer and its copy are both valid and differ");
}

void Checker::check_rest() {
    if (footer_->is(DiskType::fixed)) return check_fixed();
    if (!footer_->is(DiskType::dynamic) && !footer_->is(DiskType::differencing)) return;
    check_header();
    if (!layout_) return;
    check_parent_fields();
    check_locators();
    batmap_ = read_batmap(device_, *footer_, *layout_);
    if (!batmap_.problem.empty()) findings_.damage(batmap_.code, layout_->table_end(), batmap_.problem);
    bat_ = Bat::read(device_, *layout_);
    check_blocks();
    if (report_.readable) check_batmap();
}

void Checker::check_fixed() {
    if (round_down(footer_->current_size(), sector_size) > footers_.primary_offset)
        findings_.unreadable("fixed-cut-off", footers_.primary_offset, "the file is shorter than the disk");
}

void Checker::check_header() {
    UnpackedHeader header = read_header(device_, footers_, *footer_);
    if (!header.header) return findings_.unreadable(header.code, footer_->data_offset(), header.problem);
    header_ = header.header;
    check_header_fields(*header_, footer_->data_offset(), findings_);
    UnpackedLayout layout = lay_out(*footer_, *header_, device_.size());
    if (layout.unsupported) return findings_.unsupported(layout.code, layout.problem);
    if (!layout.layout) return findings_.unreadable(layout.code, header_->table_offset(), layout.problem);
    layout_ = layout.layout;
    if (layout_->table_end() > device_.size())
        findings_.damage("bat-past-end", layout_->table_offset, "the block table reaches behind the end of the file");
    if (ByteRange{layout_->header_offset, layout_->header_end()}.overlaps(
            {layout_->table_offset, layout_->table_end()}))
        findings_.unreadable("bat-offset", layout_->table_offset, "the block table overlaps the dynamic header");
}

void Checker::check_parent_fields() {
    if (footer_->is(DiskType::dynamic)) return check_no_parent(*header_, layout_->header_offset, findings_);
    if (vhd_time(now()) < header_->raw().parent_timestamp.value())
        findings_.blemish("parent-timestamp", layout_->header_offset, "the parent was changed in the future");
}

void Checker::check_locators() {
    if (!footer_->is(DiskType::differencing)) return;
    if (!locators_inside(*header_, device_.size()))
        findings_.damage("locator-place", layout_->header_offset, "the room of a parent locator leaves the file");
    const std::vector<LocatorText> locators = read_locators(device_, footers_, *header_);
    if (!check_locator_texts(*header_, locators, *layout_, findings_))
        findings_.unreadable("parent-unnamed", layout_->header_offset, "a differencing disk that names no parent");
}

void Checker::check_blocks() {
    const Bytes metadata = metadata_end(*layout_, batmap_.batmap, *header_, device_.size());
    for (const BlockFault& fault :
         find_block_faults(*bat_, *layout_, metadata, footers_.data_limit(device_), most_faults)) {
        const Bytes place = to_bytes(Sectors{(*bat_)[fault.block]});
        switch (fault.kind) {
        case BlockFault::Kind::in_metadata:
            findings_.unreadable("block-in-metadata", place, describe(fault));
            break;
        case BlockFault::Kind::overlap:
            findings_.unreadable("blocks-overlap", place, describe(fault));
            break;
        case BlockFault::Kind::past_end:
            findings_.damage("block-past-end", place, describe(fault));
            if (report_.readable) check_cut_block(fault.block);
            break;
        }
    }
}

/// A block that a crash has left half written is still readable when no set bit means one of the missing sectors.
void Checker::check_cut_block(std::uint64_t block) {
    const Bytes limit = footers_.data_limit(device_);
    const Bytes place = to_bytes(Sectors{(*bat_)[block]});
    const Bytes data = layout_->data_of((*bat_)[block]);
    std::uint64_t first_missing = 0;
    std::vector<std::byte> bits(layout_->bitmap_size.count());
    if (place + layout_->bitmap_size <= limit) {
        device_.read_at(place, bits);
        first_missing = (limit - data) / sector_size;
    } else {
        bits.assign(bits.size(), std::byte{0xFF});
    }
    const std::uint64_t sectors = layout_->guest_of(block).length() / sector_size;
    if (find_bit(bits, std::min(first_missing, sectors), sectors, true) < sectors)
        findings_.unreadable("block-cut-off", place, "block " + std::to_string(block) + " has lost data");
}

void Checker::check_batmap() {
    if (!batmap_.batmap) return;
    const Batmap& batmap = *batmap_.batmap;
    std::size_t faults = 0;
    for_each_run(batmap.map(), 0, std::min<std::uint64_t>(batmap.map().size() * 8, bat_->size()), true,
                 [&](std::uint64_t begin, std::uint64_t end) {
                     for (std::uint64_t block = begin; block < end && faults < most_faults; ++block) {
                         if (bat_->allocated(block)) continue;
                         ++faults;
                         findings_.damage("batmap-unallocated", batmap.map_offset(),
                                          "the batmap says that unallocated block " + std::to_string(block) +
                                              " is full");
                     }
                 });
    check_full_blocks();
}

void Checker::check_full_blocks() {
    const std::size_t size = layout_->bitmap_size.count();
    const std::size_t at_once = std::clamp<std::size_t>((std::size_t{1} << 20) / size, 1, bitmaps_at_once);
    std::vector<std::byte> buffer(at_once * size);
    std::vector<std::uint64_t> blocks;
    std::size_t faults = 0;
    const auto look = [&] {
        std::vector<ReadRequest> requests;
        for (std::size_t i = 0; i < blocks.size(); ++i)
            requests.push_back({to_bytes(Sectors{(*bat_)[blocks[i]]}), std::span{buffer}.subspan(i * size, size)});
        device_.read(requests);
        for (std::size_t i = 0; i < blocks.size() && faults < most_faults; ++i) {
            if (all_set(std::span{buffer}.subspan(i * size, size), layout_->sectors_per_block())) continue;
            ++faults;
            findings_.damage("batmap-not-full", to_bytes(Sectors{(*bat_)[blocks[i]]}),
                             "the batmap says that block " + std::to_string(blocks[i]) +
                                 " is full, its bitmap says not");
        }
        blocks.clear();
    };
    for (auto block = bat_->next_allocated(0); block && faults < most_faults;
         block = bat_->next_allocated(*block + 1)) {
        // Of a block that is cut off the bitmap may be missing; that has been found already.
        const Bytes bitmap_end = to_bytes(Sectors{(*bat_)[*block]}) + layout_->bitmap_size;
        if (!batmap_.batmap->full(*block) || bitmap_end > device_.size()) continue;
        blocks.push_back(*block);
        if (blocks.size() == at_once) look();
    }
    look();
}

} // namespace

CheckReport check(const BlockDevice& device) {
    return Checker{device}.run();
}

} // namespace coppice::vhd
