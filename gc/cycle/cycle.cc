#include "gc/cycle/cycle.h"

#include "coalesce/execute.h"
#include "coalesce/held_chain.h"
#include "coalesce/recover.h"
#include "format/base/error.h"
#include "format/base/log.h"
#include "format/base/passing_time.h"
#include "gc/base/exit_status.h"
#include "gc/sm/sm_replay.h"

#include <iterator>
#include <set>

namespace coppice {
namespace {

/// Nothing stays held when a stretch of work has ended, however it ended.
class LetGo {
public:
    explicit LetGo(Storage& storage) : storage_{storage} {}
    ~LetGo() { storage_.let_go(); }
    LetGo(const LetGo&) = delete;
    LetGo& operator=(const LetGo&) = delete;

private:
    Storage& storage_;
};

/// A step that failed is not tried again in the same run.
using Attempt = std::pair<std::string, std::string>;

Attempt attempt_of(const Step& step) {
    return {step.vdi, step.into.value_or("")};
}

Policy with_frozen(const Policy& policy, const std::map<std::string, std::string>& frozen) {
    Policy result = policy;
    for (const auto& [vdi, text] : frozen) {
        result.sm_operations.insert(vdi);
        result.sm_texts.emplace(vdi, text);
    }
    return result;
}

/// Its header was sound a moment ago; its tables are not, or it cannot be read any more.
void mark_damaged(TreeNode& node, const std::exception& error) {
    node.state = NodeState::damaged;
    node.reason = "image-damaged";
    node.text = error.what();
}

} // namespace

Outcome joined(Outcome earlier, Outcome later) {
    std::set<Attempt> again;
    for (const auto* const results : {&later.done, &later.failed})
        for (const StepResult& result : *results)
            again.insert(attempt_of(result.step));
    std::erase_if(earlier.failed, [&](const StepResult& result) { return again.contains(attempt_of(result.step)); });
    const auto put_first = [](std::vector<StepResult>& first, std::vector<StepResult>& rest) {
        first.insert(first.end(), std::make_move_iterator(rest.begin()), std::make_move_iterator(rest.end()));
        rest = std::move(first);
    };
    put_first(earlier.done, later.done);
    put_first(earlier.failed, later.failed);
    if (later.stopped && later.skipped.empty()) later.skipped = std::move(earlier.skipped); // it made no plan
    return later;
}

SrTree Cycle::tree() {
    SrTree tree = trees_.current();
    std::vector<FileIdentity> identities;
    for (const TreeNode& node : tree.nodes)
        identities.push_back(node.identity);
    const auto openers = occupancy_.openers(identities);
    for (std::size_t i = 0; i < tree.nodes.size(); ++i)
        tree.nodes[i].openers = openers[i];
    return tree;
}

void Cycle::find_facts(Observation& seen, const std::string& uuid, bool exact) {
    TreeNode& node = *seen.tree.find(uuid);
    try {
        auto device = storage_.open(node.file, Access::read_only);
        if (node.openers.empty())
            if (const auto holder = occupancy_.lock_holder(*device)) node.openers.push_back(*holder);
        CheckReport report = check_image(*device, node.format);
        const auto image = open_image(std::move(device), node.format);
        LayerFacts facts = layer_facts(*image, std::move(report));
        facts.size_unit = storage_.size_unit();
        if ((exact || facts.size_unit > 0_B) && facts.check.mergeable) facts.space = image->target_space();
        if (facts.size_unit > 0_B && facts.check.mergeable) facts.tail = image->tail_space();
        seen.facts.emplace(uuid, std::move(facts));
    } catch (const Error& error) {
        mark_damaged(node, error);
    } catch (const std::overflow_error& error) {
        mark_damaged(node, error);
    }
}

Observation Cycle::observe(const Policy& policy) {
    Observation seen;
    seen.frozen = frozen_;
    seen.tree = tree();
    const ReplayPlan replay = plan_replay(storage_, seen.tree, snapshots_);
    for (const auto& [vdi, text] : replay.frozen)
        seen.frozen.emplace(vdi, text);
    for (const auto& [vdi, text] : pending_vdis(replay))
        seen.frozen.emplace(vdi, text);
    const StorageSpace space = storage_.space();
    seen.free = space.free;
    seen.total = space.total;
    for (const std::string& uuid : merge_candidates(seen.tree, with_frozen(policy, seen.frozen)))
        find_facts(seen, uuid, false);
    return seen;
}

Observation Cycle::survey() {
    Observation seen;
    seen.tree = tree();
    const StorageSpace space = storage_.space();
    seen.free = space.free;
    seen.total = space.total;
    for (const TreeNode& node : std::vector<TreeNode>{seen.tree.nodes})
        if (node.state == NodeState::ok) find_facts(seen, node.uuid, true);
    return seen;
}

Plan Cycle::next_plan(Director& director, const Policy& policy, const Observation& seen) {
    return director.admit(coppice::plan(seen.tree, seen.facts, seen.free, with_frozen(policy, seen.frozen)), seen);
}

Plan Cycle::plan(Director& director, Observation* seen) {
    const Policy policy = director.policy();
    Observation found = observe(policy);
    Plan result = next_plan(director, policy, found);
    if (seen != nullptr) *seen = std::move(found);
    return result;
}

void Cycle::remember(const SrTree& tree) {
    std::vector<journal::NodeVersion> versions;
    for (const TreeNode& node : tree.nodes)
        if (node.state == NodeState::ok)
            versions.push_back(
                {node.uuid, std::string{to_string(node.format)}, node.parent, node.hidden, node.virtual_size.count()});
    journal_->record_tree(versions, tree.complete);
}

/// Holds, pauses and retry delays count for what an earlier run has left open as for everything else.
Postponed Cycle::postponed_by(Director& director) {
    return [this, &director, policy = director.policy()](const Step& step) -> std::optional<Postponement> {
        const std::string into = step.into.value_or("");
        if (const auto retry = policy.retry_later.find({step.vdi, into}); retry != policy.retry_later.end())
            return Postponement{retry->second};
        const SrTree tree = trees_.current();
        std::vector<std::string> images = step.emptied;
        images.insert(images.end(), {step.vdi, into});
        if (const auto hold = hold_on(tree, policy, images)) return Postponement{*hold, false};
        if (const auto pause = director.pause_of(step, tree, storage_.space().free)) return Postponement{*pause, false};
        return std::nullopt;
    };
}

void Cycle::recover(Director& director, MergeContext& context, Outcome& outcome) {
    const LetGo let_go{storage_};
    const Postponed postponed = postponed_by(director);
    Recovery edits = recover_header_edits(context);
    frozen_ = edits.frozen;
    ReplayOutcome replay = execute_replay(plan_replay(storage_, trees_.current(), snapshots_), context, postponed);
    frozen_.merge(replay.frozen);
    Recovery operations = recover_operations(context, frozen_, postponed);
    frozen_.merge(operations.frozen);
    std::vector<std::string> notes = std::move(edits.notes);
    notes.insert(notes.end(), replay.notes.begin(), replay.notes.end());
    notes.insert(notes.end(), operations.notes.begin(), operations.notes.end());
    for (const std::string& note : notes) {
        log::notice("gc", note);
        journal_->record_event("notice", "", note);
    }
    for (const StepResult& result : operations.refused)
        director.ended(result);
    for (StepResult& result : operations.finished) {
        director.ended(result);
        context.progress.ended(result);
        outcome.done.push_back(std::move(result));
    }
    replay.failed.insert(replay.failed.end(), operations.failed.begin(), operations.failed.end());
    for (const FailedRecovery& failed : replay.failed) {
        StepResult result;
        fail(failed.step, failed.error, result);
        director.ended(result);
        outcome.failed.push_back(std::move(result));
    }
}

bool Cycle::seal_bases(const Observation& seen, const std::stop_token& stop) {
    const auto open_bases = [&](const SrTree& tree) {
        std::vector<std::string> files;
        for (const TreeNode& node : tree.nodes)
            if (node.state == NodeState::ok && node.hidden && node.openers.empty() &&
                !seen.frozen.contains(node.uuid) && storage_.lacks_seal(node.file))
                files.push_back(node.file);
        return files;
    };
    if (open_bases(seen.tree).empty()) return false;
    const LetGo let_go{storage_};
    const auto passage = gate_.enter({}, stop);
    for (const std::string& file : open_bases(this->tree())) // somebody may just have been working on it
        storage_.seal(file);
    return true;
}

void Cycle::fail(const Step& step, const std::exception& error, StepResult& result) {
    const Failure failure = failure_of(error, step.vdi);
    result.step = step;
    result.error = failure.text;
    result.reason = failure.code;
    log::error("gc", std::string{"step failed: "} + error.what());
    journal_->record_event("error", step.vdi, error.what());
}

/// A merge writes itself down as it goes; a deletion is one call, written down behind it.
void Cycle::record_collection(const StepResult& result, std::int64_t began) {
    journal::Operation operation;
    operation.kind = to_string(result.step.kind);
    operation.vdi = result.step.vdi;
    operation.direction = to_string(result.step.direction);
    operation.state = result.error.empty() ? journal::OperationState::done : journal::OperationState::abandoned;
    operation.error = result.error;
    operation.started = began;
    journal_->begin(operation);
}

void Cycle::act(const Plan& plan, Director& director, MergeContext& context, Outcome& outcome) {
    std::set<Attempt> failed;
    for (const StepResult& result : outcome.failed)
        failed.insert(attempt_of(result.step));
    std::size_t index = 0;
    for (const Step& step : plan.steps) {
        if (context.stop.stop_requested()) throw StopRequested{};
        if (failed.contains(attempt_of(step))) continue;
        context.progress.began(step, index++, plan.steps.size());
        StepResult result;
        const std::int64_t began = unix_time();
        try {
            result = execute(step, context);
        } catch (const Error& error) {
            fail(step, error, result);
        } catch (const std::overflow_error& error) { // sizes that no sound image has
            fail(step, error, result);
        }
        if (step.kind == StepKind::collect) record_collection(result, began);
        storage_.let_go();
        director.ended(result);
        context.progress.ended(result);
        (result.error.empty() ? outcome.done : outcome.failed).push_back(std::move(result));
    }
}

Outcome Cycle::run(Director& director, const MergeOptions& merge, std::optional<Bytes> rate, Progress& progress,
                   std::stop_token stop) {
    if (journal_ == nullptr) throw std::logic_error{"a cycle without a journal only looks"};
    RateLimit limit{rate};
    MergeContext context{storage_, *journal_, occupancy_, trees_, progress, limit, gate_, stop, merge};
    Outcome outcome;
    try {
        recover(director, context, outcome);
        for (bool sealed = false;; sealed = true) {
            const Policy policy = director.policy();
            const Observation seen = observe(policy);
            if (!sealed && seal_bases(seen, stop)) continue; // then everything is looked at anew
            // Before anything is deleted: if an image becomes unreadable later, its parent is still known.
            remember(seen.tree);
            const Plan next = next_plan(director, policy, seen);
            outcome.skipped = next.skipped;
            director.planned(seen, next);
            const std::size_t before = outcome.done.size();
            act(next, director, context, outcome);
            if (outcome.done.size() == before) break; // nothing left, or nothing that has not failed
        }
    } catch (const StopRequested&) {
        outcome.stopped = true;
    }
    return outcome;
}

} // namespace coppice
