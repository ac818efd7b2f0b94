#include "format/vhd/footers.h"

#include <algorithm>
#include <array>

namespace coppice::vhd {

std::optional<Footer> Footers::effective() const {
    if (!primary) return copy;
    // The old ones are known to have written only the copy's flag reliably.
    if (copy && primary->made_by_old_tap()) return primary->with_hidden(copy->hidden());
    return primary;
}

Bytes Footers::data_limit(const BlockDevice& device) const {
    if (primary) return primary_offset;
    // A live file may end with block data where its footer will be; a volume keeps its last sector for the footer.
    if (!device.fixed_size()) return device.size();
    return device.size() < footer_size ? 0_B : device.size() - footer_size;
}

std::vector<std::byte> Footers::read(const BlockDevice& device, Bytes offset, Bytes length) const {
    if (offset + length > Bytes{head.size()}) return device.read_at(offset, length);
    const auto part = std::span{head}.subspan(offset.count(), length.count());
    return {part.begin(), part.end()};
}

Footers read_footers(const BlockDevice& device) {
    Footers result;
    const Bytes size = device.size();
    if (size < short_footer_size) {
        result.primary_problem = result.copy_problem = "the file is smaller than a footer";
        return result;
    }
    // One byte more than a footer, so that the short form needs no further read.
    std::array<std::byte, 512> tail{};
    const Bytes tail_size = std::min(size, footer_size);
    result.head.resize(std::min(size, head_size).count());
    const std::array requests{ReadRequest{0_B, result.head},
                              ReadRequest{size - tail_size, std::span{tail}.first(tail_size.count())}};
    device.read(requests);

    auto primary = unpack_footer(std::span{tail}.first(tail_size.count()));
    result.primary_offset = size - tail_size;
    if (!primary.footer && size % sector_size == short_footer_size) {
        const auto short_tail = std::span{tail}.first(tail_size.count()).last(short_footer_size.count());
        auto short_form = unpack_footer(short_tail);
        if (short_form.footer) {
            primary = std::move(short_form);
            result.primary_short = true;
            result.primary_offset = size - short_footer_size;
        }
    }
    result.primary = primary.footer;
    result.primary_problem = primary.problem;

    if (result.head.size() < footer_size.count()) {
        result.copy_problem = "the file is too small for a copy of the footer";
        return result;
    }
    auto copy = unpack_footer(std::span{result.head}.first(footer_size.count()));
    result.copy_problem = copy.problem;
    // A fixed disk keeps no copy; what looks like one is the content of its guest.
    if (copy.footer && copy.footer->is(DiskType::fixed))
        result.copy_problem = "the copy says that the disk is fixed";
    else
        result.copy = copy.footer;
    return result;
}

} // namespace coppice::vhd
