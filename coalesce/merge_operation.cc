#include "coalesce/merge_operation.h"

#include "coalesce/edit_log.h"
#include "coalesce/merge_pass.h"
#include "coalesce/merge_room.h"
#include "coalesce/sm_note.h"
#include "coalesce/step_json.h"
#include "coalesce/step_shape.h"
#include "coalesce/still_valid.h"
#include "format/base/error.h"
#include "format/base/log.h"
#include "format/merge_target.h"

#include <algorithm>
#include <boost/json.hpp>

namespace coppice {
namespace {

std::vector<const Image*> views(const std::vector<std::unique_ptr<OpenedImage>>& images) {
    std::vector<const Image*> result;
    for (const auto& image : images)
        result.push_back(&image->image());
    return result;
}

std::vector<const Image*> views(const std::vector<std::unique_ptr<Image>>& images) {
    std::vector<const Image*> result;
    for (const auto& image : images)
        result.push_back(image.get());
    return result;
}

// A visible target is written to while `sr` is held, which others notice from a quarter of a second on.
constexpr Bytes batch_into_disk = 8_MiB;

} // namespace

MergeOperation::MergeOperation(const Step& step, MergeContext& context) : step_{step}, context_{context} {
    const SrTree tree = context.trees.current();
    require_shape(step_, tree);
    open(tree);
    take_up_or_begin();
}

MergeOperation::~MergeOperation() = default;

void MergeOperation::open(const SrTree& tree) {
    make_room_for(step_, tree, context_);
    target_ = std::make_unique<OpenedImage>(context_, require_node(tree, *step_.into), Access::read_write);
    for (const std::string& uuid : step_.emptied)
        sources_.push_back(std::make_unique<OpenedImage>(context_, require_node(tree, uuid), Access::read_only));
    // Looked at again with nobody about (enter_unused); what is in use now need not be written down as begun.
    std::vector<const Image*> used = views(sources_);
    used.push_back(&target_->image());
    require_unused(context_, used);
    // No price counts clusters that are written anew although they have a place: where a flag says that it is shared.
    length_ = target_->image().length_to_hold(step_.space_needed + step_.copy_bytes);
    beneath_ = open_ancestors(context_, tree, step_.direction == Direction::down ? *step_.into : step_.emptied.back());
}

/// Of the sources, newest first, and of the target, last.
std::vector<journal::Fingerprint> MergeOperation::fingerprints() const {
    std::vector<journal::Fingerprint> result;
    for (const auto& source : sources_)
        result.push_back({source->node().uuid, source->image().device().identity()});
    result.push_back({target_->node().uuid, target_->image().device().identity()});
    return result;
}

void MergeOperation::take_up_or_begin() {
    opened_ = fingerprints();
    const auto& current = opened_;
    const auto still_valid = [&](const journal::Operation& operation) {
        return operation.sources.size() == current.size() &&
               std::equal(current.begin(), current.end() - 1, operation.sources.begin()) &&
               target_may_hold_data(operation.sources, operation.cursor, current.back());
    };
    for (const journal::Operation& operation : context_.journal.unfinished()) {
        if (operation.into != *step_.into || operation.direction != to_string(step_.direction)) continue;
        const Step recorded = step_from_json(operation.step);
        // The cursor counts only while the sources are to the byte what they were when it was written.
        if (recorded.emptied == step_.emptied && still_valid(operation)) {
            record_ = operation;
            resumed_ = operation.cursor > 0_B;
            continue;
        }
        context_.journal.set_state(operation.id, journal::OperationState::abandoned, "its images have changed since");
    }
    if (record_.id != 0) {
        if (resumed_) context_.journal.take_up(record_.id);
        return;
    }
    record_.kind = to_string(step_.kind);
    record_.vdi = step_.vdi;
    record_.into = *step_.into;
    record_.direction = to_string(step_.direction);
    record_.step = boost::json::serialize(to_json(step_));
    record_.sources = current;
    record_.id = context_.journal.begin(record_);
}

/// Whoever activates one of the disks concerned does so under its lock, and looks for merges in its chain first. So
/// whoever was before us is seen here, and whoever comes later finds the note of this merge.
LockedSr MergeOperation::enter_unused() {
    LockedSr sr{context_, [&](const SrTree&) { return std::set<std::string>{*step_.into}; }};
    require_shape(step_, sr.tree());
    std::set<std::string> touched{step_.emptied.begin(), step_.emptied.end()};
    touched.insert(*step_.into);
    require_closed(context_, sr.tree(), touched);
    return sr;
}

/// Makes the target ready for readers who come while it grows, of the disks above it. False where they have to be kept
/// out.
bool MergeOperation::let_readers_come() {
    if (!context_.gate.readers_ask_first() || into_disk()) return false;
    if (!length_) return true;
    BlockDevice& device = target_->image().device();
    try {
        if (device.size() < *length_) device.set_size(*length_);
    } catch (const SystemError& error) {
        if (error.cause() != std::errc::file_too_large) throw;
        return false;
    }
    device.hold_length();
    return true;
}

/// All disks concerned are closed and cannot be activated in this passage, so that nobody's opening fails on our locks:
/// whoever comes behind it finds the note.
void MergeOperation::claim(const LockedSr& sr) {
    using Purpose = Occupancy::Purpose;
    claims_.push_back(context_.occupancy.claim(target_->image().device(),
                                               let_readers_come() ? Purpose::pour_below : Purpose::pour_alone));
    for (const auto& source : sources_)
        claims_.push_back(context_.occupancy.claim(source->image().device(), Purpose::read));
    // Children that will be relinked: better to find locks of another host before the copying than after it.
    for (const std::string& uuid : step_.relinked)
        if (const TreeNode* child = sr.tree().find(uuid); child != nullptr && !sr.time_is_up())
            ClaimedImage{context_, *child, Access::read_only, ClaimedImage::Users::asked_for_elsewhere};
}

/// What completes the step opens anew, because headers are about to change.
void MergeOperation::let_go() {
    claims_.clear();
    sources_.clear();
    beneath_.clear();
    target_.reset();
}

/// The target is somebody's disk: nobody may attach it (the guard), nor make a snapshot of it or hide it (this
/// passage). Whoever has opened it without asking anybody is seen.
std::unique_ptr<Passage> MergeOperation::take_turn() {
    if (!into_disk()) return nullptr;
    auto passage = context_.gate.enter({}, context_.stop);
    require_unused(context_, {&target_->image()});
    const auto device = context_.storage.open(target_->node().file, Access::read_only);
    if (left_ != std::pair{device->identity(), device->changed_ns()})
        throw Refused{"sm-operation", *step_.into, "was changed by somebody else while it was merged into"};
    return passage;
}

void MergeOperation::end_turn() {
    if (!into_disk()) return;
    const auto device = context_.storage.open(target_->node().file, Access::read_only);
    left_ = {device->identity(), device->changed_ns()};
}

void MergeOperation::merge() {
    std::unique_ptr<LeafGuard> guard;
    if (into_disk()) guard = context_.gate.guard(*step_.into);
    // In this order, and back again: whoever finds the note empties the file and waits until it is gone.
    const auto announcement = context_.gate.announce(announced_image(step_));
    SmNote note{context_.storage, announced_image(step_)};
    // Whoever waits for the run file opens the chain as soon as it is gone: our locks have to go before it.
    struct Release {
        MergeOperation& of;
        ~Release() { of.claims_.clear(); }
    } const release{*this};
    if (context_.storage.has_sizes())
        hold_all(context_, context_.trees.current(), {step_.relinked.begin(), step_.relinked.end()});
    {
        const LockedSr sr = enter_unused();
        for (const journal::Fingerprint& opened : opened_)
            if (sr.tree().find(opened.vdi)->identity != opened.identity)
                throw Refused{"attached", opened.vdi, "changed just before it was merged"};
        claim(sr);
        end_turn();
    }
    GiveWay give_way{context_.stop, *announcement, guard.get()};

    std::vector<const Image*> now = views(beneath_);
    const ChainView after{now};
    if (step_.direction == Direction::up) {
        now = views(sources_);
        for (const auto& image : beneath_)
            now.push_back(image.get());
    }
    try {
        pour(ChainView{now}, after, give_way);
    } catch (const StopRequested&) {
        if (!give_way.is_for_somebody() || context_.stop.stop_requested()) throw;
        throw Busy{step_.vdi,
                   "sm-operation: gave way to sm, which wants to open its chain; it goes on where it stopped"};
    } catch (const CorruptImage& error) {
        // Whatever the cursor says, something is missing below it: the next attempt begins anew.
        context_.journal.set_state(record_.id, journal::OperationState::abandoned, error.what());
        throw;
    }

    context_.journal.set_state(record_.id, journal::OperationState::relinking);
    let_go();
    note.remove();
}

/// An image that changed while it was copied was in somebody's hands after all.
void MergeOperation::require_unchanged(const OpenedImage& source) const {
    const auto found = std::ranges::find(record_.sources, source.node().uuid, &journal::Fingerprint::vdi);
    if (found->identity != source.reopened(context_)->device().identity())
        throw Refused{"attached", source.node().uuid, "changed while it was being merged"};
}

void MergeOperation::pour(const GuestView& now, const GuestView& after, GiveWay& give_way) {
    const Beneath beneath{now, after};
    const auto before = target_->reopened(context_); // keeps its view of the maps while the other one is written
    const bool down = step_.direction == Direction::down;
    MergePass pass{views(sources_), *before, beneath, before->virtual_size(),
                   down ? MergePass::Rank::newer : MergePass::Rank::older};

    JournalEditLog log{context_.storage, context_.journal};
    BufferedMover mover{context_.options.sharing};
    {
        const auto target = target_->image().merge_target(log);
        const auto in_turn = [&](const std::function<void()>& write) {
            give_way.check();
            const auto passage = take_turn();
            write();
            end_turn();
        };
        if (into_disk()) pass.batch = batch_into_disk;
        pass.around = in_turn;
        in_turn([&] { target->prepare(); });
        if (down) pass.end = std::max(pass.end, sources_.front()->image().virtual_size());
        if (pass.end > before->virtual_size()) {
            // Whoever has opened the target goes by tables that are about to move.
            const LockedSr sr = enter_unused();
            target->grow(pass.end, beneath, mover);
        }
        const MovedBytes earlier{record_.shared_bytes, record_.copied_bytes};
        const Bytes total = step_.copy_bytes;
        Bytes done = record_.copied_bytes + record_.shared_bytes;
        context_.progress.advanced(done, total);
        run_merge_pass(pass, *target, mover, record_.cursor, give_way.token(), [&](Bytes cursor, Bytes handled) {
            record_.cursor = cursor;
            record_.copied_bytes = earlier.copied + mover.moved().copied;
            record_.shared_bytes = earlier.shared + mover.moved().shared;
            context_.journal.advance(record_.id, cursor, record_.copied_bytes, record_.shared_bytes);
            done += handled;
            context_.progress.advanced(done, total);
            if (!sources_.front()->node().hidden) require_unchanged(*sources_.front());
            context_.rate.spend(handled, give_way.token());
        });
        const auto becomes = step_.parent_after ? MergeTarget::Becomes::child : MergeTarget::Becomes::root;
        in_turn([&] { target->finish(becomes); });
    }
    const auto merged = target_->reopened(context_);
    // That the target is the file which an earlier run wrote to does not prove that it holds what was written: it may
    // have been restored since, or rolled back with its storage. Where it maps the same places, only bytes can tell.
    const VerifyDepth depth = resumed_ ? VerifyDepth::data : context_.options.verify;
    verify_merge(pass, *merged, depth, give_way.token());
    for (const auto& source : sources_)
        require_unchanged(*source);
}

void MergeOperation::close() {
    context_.journal.set_state(record_.id, journal::OperationState::done);
}

} // namespace coppice
