#include "coalesce/sliced_merge.h"

#include "coalesce/edit_log.h"
#include "coalesce/layer_facts.h"
#include "coalesce/merge_pass.h"
#include "coalesce/sm_note.h"
#include "coalesce/step_json.h"
#include "coalesce/step_shape.h"
#include "coalesce/verify.h"
#include "format/base/error.h"
#include "format/base/log.h"
#include "format/merge_target.h"

#include <algorithm>
#include <boost/json.hpp>
#include <deque>

namespace coppice {
namespace {

std::vector<const Image*> views(const std::vector<std::unique_ptr<Image>>& images) {
    std::vector<const Image*> result;
    for (const auto& image : images)
        result.push_back(image.get());
    return result;
}

Bytes minus_floor(Bytes a, Bytes b) {
    return a > b ? a - b : 0_B;
}

} // namespace

/// What an earlier attempt at one go has recorded speaks of a source that is going to lose data.
void SlicedMerge::give_up_earlier() {
    for (const journal::Operation& operation : context_.journal.unfinished())
        if (operation.vdi == step_.vdi && operation.state != journal::OperationState::relinking)
            context_.journal.set_state(operation.id, journal::OperationState::abandoned, "is merged in slices now");
}

void SlicedMerge::begin_record() {
    record_.kind = "slices";
    record_.vdi = step_.vdi;
    record_.into = *step_.into;
    record_.direction = to_string(step_.direction);
    record_.step = boost::json::serialize(to_json(step_));
    record_.id = context_.journal.begin(record_);
}

/// Nobody may attach what reads through the images, and they are as the plan knew them.
LockedSr SlicedMerge::enter() const {
    LockedSr sr{context_, [&](const SrTree&) { return std::set<std::string>{*step_.into}; }};
    require_shape(step_, sr.tree());
    require_closed(context_, sr.tree(), {step_.vdi, *step_.into});
    return sr;
}

std::vector<std::unique_ptr<Claim>> SlicedMerge::claim(OpenedImage& source, OpenedImage& target) {
    const LockedSr sr = enter();
    std::vector<std::unique_ptr<Claim>> claims;
    for (OpenedImage* image : {&target, &source})
        claims.push_back(context_.occupancy.claim(image->image().device(), Occupancy::Purpose::pour_alone));
    return claims;
}

void SlicedMerge::run() {
    give_up_earlier();
    const SrTree tree = trees_holding(context_, {step_.vdi, *step_.into});
    require_shape(step_, tree);
    const TreeNode& source_node = require_node(tree, step_.vdi);
    const TreeNode& target_node = require_node(tree, *step_.into);
    source_before_ = source_node.physical_size;
    target_before_ = target_node.physical_size;
    std::unique_ptr<LeafGuard> guard;
    if (!source_node.hidden) guard = context_.gate.guard(step_.vdi);
    const auto announcement = context_.gate.announce(announced_image(step_));
    SmNote note{context_.storage, announced_image(step_)};
    {
        OpenedImage source{context_, source_node, Access::read_write};
        OpenedImage target{context_, target_node, Access::read_write};
        const auto claims = claim(source, target);
        begin_record();
        GiveWay give_way{context_.stop, *announcement, guard.get()};
        try {
            while (go_on(give_way)) {
            }
        } catch (const StopRequested&) {
            if (!give_way.is_for_somebody() || context_.stop.stop_requested()) throw;
            throw Busy{step_.vdi, "sm-operation: gave way to sm, which wants to open its chain"};
        }
    }
    context_.journal.set_state(record_.id, journal::OperationState::done);
    note.remove();
}

SlicedMerge::Look SlicedMerge::look() const {
    const SrTree tree = context_.trees.current();
    require_shape(step_, tree);
    Look look{require_node(tree, step_.vdi), require_node(tree, *step_.into), nullptr, nullptr, {}};
    look.source_image = open_held(context_, look.source, Access::read_only);
    look.target_image = open_held(context_, look.target, Access::read_only);
    look.below = open_ancestors(context_, tree, step_.direction == Direction::down ? *step_.into : step_.vdi);
    return look;
}

/// The next slice. False where what is left fits.
bool SlicedMerge::go_on(GiveWay& give_way) {
    give_way.check();
    Look look = this->look();
    std::deque<GuestMap> maps; // layers refer to them
    const auto layer = [&](const Image& image) {
        maps.push_back(layer_facts(image, CheckReport{}).map);
        return MappedLayer{maps.back(), image.virtual_size()};
    };
    std::vector<MappedLayer> below;
    for (const auto& image : look.below)
        below.push_back(layer(*image));
    const bool down = step_.direction == Direction::down;
    const Bytes size = look.target_image->virtual_size();
    const auto tail = look.source_image->tail_space();
    const auto space = look.target_image->target_space();
    if (tail == nullptr) throw Refused{"no-space", step_.vdi, "its format cannot be emptied piece by piece"};
    const Bytes unit = context_.storage.size_unit();
    const Slices slices{{step_.direction, layer(*look.source_image), std::move(below),
                         down ? std::max(size, look.source_image->virtual_size()) : size, *tail, *space,
                         look.source.physical_size, look.target.physical_size, unit}};
    const Slices::State now = slices.begin();
    if (now.source < look.source.physical_size && trim()) return true;
    // Never more than the plan has said, whatever is free: others may have plans of their own.
    const Bytes planned = minus_floor(step_.space_needed, 2 * unit) + minus_floor(source_before_, now.source);
    const Bytes room = std::min(minus_floor(planned, minus_floor(now.target, target_before_)),
                                minus_floor(context_.storage.space().free, unit));
    if (slices.whole() - now.target <= room) return false;
    const auto next = slices.next(now, room);
    if (const auto* needed = std::get_if<std::optional<Bytes>>(&next)) {
        const Bytes wanted = needed->value_or(slices.whole() - now.target);
        throw Refused{"no-space", *step_.into,
                      "has to grow by " + std::to_string(units_needed(wanted, unit)) + " extents for the next slice, " +
                          std::to_string(room / unit) + " may be used"};
    }
    move(std::move(look), std::get<Slices::State>(next), give_way);
    return true;
}

void SlicedMerge::move(Look look, const Slices::State& slice, GiveWay& give_way) {
    const FileIdentity source = look.source_image->device().identity();
    if (slice.target > look.target.physical_size) {
        look.target_image.reset(); // whoever has it open would not see its new size
        const LockedSr sr = enter();
        context_.storage.make_room(look.target.file, slice.target);
    }
    pour(look, slice.moved, give_way);
    look = {};
    forget(source, slice);
}

void SlicedMerge::pour(const Look& look, const RangeList& only, GiveWay& give_way) {
    OpenedImage target{context_, look.target, Access::read_write};
    const auto before = target.reopened(context_); // keeps its view of the maps while the other one is written
    const bool down = step_.direction == Direction::down;
    std::vector<const Image*> layers = views(look.below);
    const ChainView after{layers};
    if (!down) layers.insert(layers.begin(), look.source_image.get());
    const ChainView now{layers};
    const Beneath beneath{now, after};
    MergePass pass{{look.source_image.get()},
                   *before,
                   beneath,
                   before->virtual_size(),
                   down ? MergePass::Rank::newer : MergePass::Rank::older,
                   &only};
    if (down) pass.end = std::max(pass.end, look.source_image->virtual_size());

    JournalEditLog log{context_.storage, context_.journal};
    BufferedMover mover{context_.options.sharing};
    const MovedBytes earlier = moved();
    {
        const auto receiver = target.image().merge_target(log);
        receiver->prepare();
        if (pass.end > before->virtual_size()) {
            const LockedSr sr = enter();
            receiver->grow(pass.end, beneath, mover);
        }
        run_merge_pass(pass, *receiver, mover, 0_B, give_way.token(), [&](Bytes, Bytes handled) {
            handled_ += handled;
            context_.progress.advanced(handled_, step_.copy_bytes);
            context_.rate.spend(handled, give_way.token());
        });
        receiver->finish(look.target.parent ? MergeTarget::Becomes::child : MergeTarget::Becomes::root);
    }
    verify_merge(pass, *target.reopened(context_), context_.options.verify, give_way.token());
    record_.copied_bytes = earlier.copied + mover.moved().copied;
    record_.shared_bytes = earlier.shared + mover.moved().shared;
    context_.journal.advance(record_.id, 0_B, record_.copied_bytes, record_.shared_bytes);
}

/// The only moment at which something is taken away: all that was true before is looked at again.
void SlicedMerge::forget(const FileIdentity& source, const Slices::State& slice) {
    const LockedSr sr = enter();
    const TreeNode& node = require_node(sr.tree(), step_.vdi);
    if (context_.storage.open(node.file, Access::read_only)->identity() != source)
        throw Refused{"attached", step_.vdi, "changed while it was being merged"};
    cut(node, slice.moved);
    log::info("coalesce", "moved a slice vdi=" + step_.vdi + " into=" + *step_.into +
                              " extents_left=" + std::to_string(slice.source / context_.storage.size_unit()));
}

/// Room that the image does not need. False where its volume cannot get smaller.
bool SlicedMerge::trim() {
    const LockedSr sr = enter();
    const TreeNode& node = require_node(sr.tree(), step_.vdi);
    cut(node, {});
    return context_.storage.open(node.file, Access::read_only)->size() < node.physical_size;
}

/// Also where nothing is to be forgotten: bitmaps, and what is counted although nothing uses it, stand anywhere, and an
/// image must not tell of what has been cut off.
void SlicedMerge::cut(const TreeNode& node, const RangeList& guest) {
    JournalEditLog log{context_.storage, context_.journal};
    open_held(context_, node, Access::read_write)->forget(guest, log);
    auto image = open_held(context_, node, Access::read_only);
    // What is counted stays, whatever it may be that the tables do not tell of.
    const Bytes end = std::max(image->tail_space()->end_without({}), image->target_space()->end());
    image.reset();
    context_.storage.trim(node.file, end);
}

} // namespace coppice
