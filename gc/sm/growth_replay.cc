#include "gc/sm/growth_replay.h"

#include "format/base/error.h"
#include "gc/sm/replay_steps.h"

#include <algorithm>

namespace coppice {
namespace {

// As much as a slow disk takes in the quarter of a second for which others may wait.
constexpr Bytes turn = 8_MiB;

} // namespace

std::string finish_growth(const ReplayAction& action, MergeContext& context) {
    Bytes end = action.from;
    for (Bytes at = action.from, size = at + 1_B; at < size; at = end) {
        if (context.stop.stop_requested()) throw StopRequested{};
        const LockedSr sr{context, [&](const SrTree&) { return images_of(action); }, LockedSr::Ready::to_write};
        require_planned(action, context, sr.tree());
        require_closed(context, sr.tree(), {action.vdi});
        ClaimedImage image{context, require_node(sr.tree(), action.vdi), Access::read_write};
        BlockDevice& device = image.image().device();
        size = device.size();
        end = std::min(size, at + turn);
        if (at < end) device.zero({at, end});
        device.flush();
        if (end == size) remove_entry(action, context);
    }
    return "completed the growth of " + action.vdi + ": its bytes from " + std::to_string(action.from.count()) +
           " on are zeros";
}

} // namespace coppice
