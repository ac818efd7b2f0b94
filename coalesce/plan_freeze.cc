#include "coalesce/plan_freeze.h"

namespace coppice {
namespace {

constexpr std::string_view set_aside_prefix = "OLD_";

std::string state_reason(const TreeNode& node) {
    if (!node.reason.empty()) return node.reason;
    return node.state == NodeState::unknown ? "image-unknown" : "image-damaged";
}

std::string state_text(const TreeNode& node) {
    if (!node.text.empty()) return node.text;
    if (node.reason == "parent-missing") return "its parent is not on the SR";
    if (node.reason == "chain-cycle") return "its parents lead back to it";
    if (!node.reason.empty() && !node.reason.starts_with("image-")) return "the image may not be used";
    return node.state == NodeState::unknown ? "the image cannot be looked at" : "the image is damaged";
}

std::string check_text(const CheckReport& check) {
    if (!check.findings.empty()) return check.findings.front().text;
    return "the image may not take part in a merge";
}

} // namespace

bool is_set_aside(const TreeNode& node) {
    return node.uuid.starts_with(set_aside_prefix);
}

FrozenSet::FrozenSet(const PlanIndex& index, const Policy& policy, const Refused& refused)
    : index_{index}, cause_(index.size(), PlanIndex::none), ancestors_done_(index.size(), false),
      descendants_done_(index.size(), false) {
    for (std::size_t place = 0; place < index.size(); ++place) {
        auto cause = find_cause(place, policy, refused);
        if (!cause) continue;
        cause_[place] = causes_.size(); // its own trouble explains a node better than that of a relative
        causes_.push_back(std::move(*cause));
    }
    freeze_from(0);
    const std::size_t first_hold = causes_.size();
    find_holds(policy);
    // What trouble has frozen counts as done: a hold would freeze the very same nodes.
    freeze_from(first_hold);
}

void FrozenSet::find_holds(const Policy& policy) {
    for (const auto& [vdi, text] : policy.holds) {
        const std::size_t place = index_.find(vdi);
        if (place == PlanIndex::none) continue;
        if (contains(place) && is_cause(place)) continue; // frozen for good already, with all its relatives
        cause_[place] = causes_.size();
        causes_.push_back({place, "held", text.empty() ? "somebody holds it" : text});
    }
}

void FrozenSet::freeze_from(std::size_t first_cause) {
    for (std::size_t cause = first_cause; cause < causes_.size(); ++cause) {
        const std::size_t place = causes_[cause].place;
        freeze_descendants(place, cause);
        freeze_ancestors(place, cause);
        for (const std::string& suspect : index_.node(place).suspected_parents)
            if (const std::size_t found = index_.find(suspect); found != PlanIndex::none)
                freeze_ancestors(found, cause);
    }
}

std::optional<FrozenSet::Cause> FrozenSet::find_cause(std::size_t place, const Policy& policy,
                                                      const Refused& refused) const {
    const TreeNode& node = index_.node(place);
    const auto sm_text = policy.sm_texts.find(node.uuid);
    // A leaf set aside lacks its parent because names were exchanged: then the exchange is the cause.
    if (node.reason == "parent-missing" && sm_text != policy.sm_texts.end())
        return Cause{place, "sm-operation", sm_text->second};
    if (node.state != NodeState::ok || !node.reason.empty()) return Cause{place, state_reason(node), state_text(node)};
    if (index_.on_cycle(place)) return Cause{place, "chain-cycle", "its parents lead back to it"};
    if (node.parent && index_.parent(place) == PlanIndex::none)
        return Cause{place, "parent-missing", "its parent " + *node.parent + " is not on the SR"};
    if (policy.sm_operations.contains(node.uuid))
        return Cause{place, "sm-operation",
                     sm_text != policy.sm_texts.end() ? sm_text->second : "a journal or lock of sm holds it"};
    if (is_set_aside(node))
        return Cause{place, "sm-operation", "sm set it aside in a leaf coalesce that is not finished"};
    // The leaf itself may be half renamed as long as its former self is there.
    if (index_.find(std::string{set_aside_prefix} + node.uuid) != PlanIndex::none)
        return Cause{place, "sm-operation", "a leaf coalesce of sm has not been finished"};
    const auto found = refused.find(node.uuid);
    if (found == refused.end()) return std::nullopt;
    const CheckReport& check = found->second;
    return Cause{place, check.reason.empty() ? "image-damaged" : check.reason, check_text(check)};
}

std::string FrozenSet::text(std::size_t place) const {
    const Cause& cause = causes_[cause_[place]];
    return cause.place == place ? cause.text : index_.node(cause.place).uuid + ": " + cause.text;
}

void FrozenSet::mark(std::size_t place, std::size_t cause) {
    if (!contains(place)) cause_[place] = cause;
}

void FrozenSet::freeze_ancestors(std::size_t place, std::size_t cause) {
    for (std::size_t at = place; at != PlanIndex::none && !ancestors_done_[at]; at = index_.parent(at)) {
        ancestors_done_[at] = true;
        mark(at, cause);
    }
}

void FrozenSet::freeze_descendants(std::size_t place, std::size_t cause) {
    std::vector<std::size_t> open{place};
    while (!open.empty()) {
        const std::size_t at = open.back();
        open.pop_back();
        if (descendants_done_[at]) continue;
        descendants_done_[at] = true;
        mark(at, cause);
        for (const std::size_t child : index_.children(at))
            open.push_back(child);
    }
}

} // namespace coppice
