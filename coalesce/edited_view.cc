#include "coalesce/edited_view.h"

#include <algorithm>

namespace coppice {
namespace {

Bytes end_of(const Overwrite& edit) {
    return edit.offset + Bytes{edit.bytes.size()};
}

Bytes size_with(const BlockDevice& device, const std::vector<Overwrite>& edits) {
    Bytes size = device.size();
    if (!device.fixed_size())
        for (const Overwrite& edit : edits)
            size = std::max(size, end_of(edit));
    return size;
}

} // namespace

EditedView::EditedView(const BlockDevice& device, std::vector<Overwrite> edits)
    : ReadOnlyDevice{device.name(), size_with(device, edits)}, device_{device}, edits_{std::move(edits)} {}

void EditedView::read(std::span<const ReadRequest> requests) const {
    for (const ReadRequest& request : requests) {
        device_.read_padded(request.offset, request.buffer);
        for (const Overwrite& edit : edits_) {
            const Bytes begin = std::max(edit.offset, request.offset);
            const Bytes end = std::min(end_of(edit), request.offset + Bytes{request.buffer.size()});
            if (begin >= end) continue;
            const auto part = std::span{edit.bytes}.subspan((begin - edit.offset).count(), (end - begin).count());
            std::ranges::copy(part,
                              request.buffer.begin() + static_cast<std::ptrdiff_t>((begin - request.offset).count()));
        }
    }
}

} // namespace coppice
