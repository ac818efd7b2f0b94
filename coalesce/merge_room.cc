#include "coalesce/merge_room.h"

#include "coalesce/images.h"
#include "coalesce/inflated_size.h"
#include "coalesce/layer_facts.h"
#include "coalesce/locked_sr.h"
#include "coalesce/merged_space.h"
#include "coalesce/volume_format.h"
#include "format/base/error.h"
#include "format/base/log.h"
#include "format/target_space.h"
#include "lvm/thick_space.h"

#include <algorithm>
#include <deque>

namespace coppice {
namespace {

/// Where the target ends when all is in it.
Bytes end_of_merge(const Step& step, const SrTree& tree, MergeContext& context) {
    std::deque<GuestMap> maps; // layers refer to them
    const auto layer = [&](const Image& image) {
        maps.push_back(layer_facts(image, CheckReport{}).map);
        return MappedLayer{maps.back(), image.virtual_size()};
    };
    std::vector<MappedLayer> sources;
    for (const std::string& uuid : step.emptied)
        sources.push_back(layer(*open_held(context, require_node(tree, uuid), Access::read_only)));
    const bool down = step.direction == Direction::down;
    std::vector<MappedLayer> below;
    for (const auto& image : open_ancestors(context, tree, down ? *step.into : step.emptied.back()))
        below.push_back(layer(*image));
    const auto target = open_held(context, require_node(tree, *step.into), Access::read_only);
    return target->target_space()->end_after(down ? poured_down(sources, below)
                                                  : pulled_up(target->virtual_size(), sources, below));
}

/// Where there is no space the disk keeps what it has: sm gives it the rest before it is attached, or refuses that.
void inflate(const TreeNode& disk, Bytes size, MergeContext& context) {
    try {
        context.storage.make_room(disk.file, size);
    } catch (const Refused& refused) {
        if (refused.code() != "no-space") throw;
        log::notice("coalesce", std::string{"a disk stays smaller than its guest may need: "} + refused.what());
    }
}

/// What an attempt that was cut short has made too large. A disk in use keeps that.
void give_back(const TreeNode& disk, Bytes size, const SrTree& tree, MergeContext& context) {
    if (disk.physical_size < size + context.storage.size_unit()) return;
    try {
        require_closed(context, tree, {disk.uuid});
        context.storage.trim(disk.file, size);
    } catch (const Refused& in_use) {
        log::notice("coalesce", std::string{"a disk keeps more room than it needs: "} + in_use.what());
    }
}

} // namespace

void make_room_for(const Step& step, const SrTree& tree, MergeContext& context) {
    if (!context.storage.has_sizes()) return;
    const Bytes end = end_of_merge(step, tree, context);
    if (end <= require_node(tree, *step.into).physical_size) return;
    const LockedSr sr{context, [&](const SrTree&) { return std::set<std::string>{*step.into}; },
                      LockedSr::Ready::to_write};
    require_closed(context, sr.tree(), {*step.into});
    context.storage.make_room(require_node(sr.tree(), *step.into).file, end);
}

bool is_inflated(const Step& step, const SrTree& tree, const Storage& storage) {
    if (!storage.has_sizes()) return false;
    const TreeNode* disk = tree.find(step.survivor);
    if (disk == nullptr) return true; // sm has set it aside: the rule then
    return disk->physical_size >= lvm::sm::full(volume_format(disk->format), disk->virtual_size);
}

void settle_size(const Step& step, bool inflated, MergeContext& context) {
    if (!context.storage.has_sizes()) return;
    const LockedSr sr{context, [&](const SrTree&) { return std::set<std::string>{step.survivor}; }};
    const TreeNode* node = sr.tree().find(step.survivor);
    if (node == nullptr || node->state != NodeState::ok) return;
    const auto space = open_held(context, *node, Access::read_only)->target_space();
    Bytes end = space->end();
    const Bytes whole = std::max(end, inflated_size(node->format, *space, node->virtual_size));
    if (!node->hidden && inflated) {
        inflate(*node, whole, context);
        return give_back(*node, whole, sr.tree(), context);
    }
    require_closed(context, sr.tree(), {step.survivor});
    // Its guest may go on writing in what it has. What was an upper bound may have made room for more than a whole
    // disk.
    if (!node->hidden && step.direction == Direction::up) end = whole;
    context.storage.trim(node->file, end);
    if (node->hidden) context.storage.seal(node->file);
}

} // namespace coppice
