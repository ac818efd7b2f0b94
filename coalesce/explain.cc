#include "coalesce/explain.h"

#include "coalesce/explain_relation.h"
#include "coalesce/explain_words.h"
#include "coalesce/plan_freeze.h"

#include <algorithm>
#include <cctype>

namespace coppice {
namespace {

constexpr std::size_t none = PlanIndex::none;

std::string opener_text(const Opener& opener) {
    if (opener.pid == 0) return "is locked" + (opener.name.empty() ? "" : " by " + opener.name);
    return "is open in process " + std::to_string(opener.pid) + (opener.name.empty() ? "" : " (" + opener.name + ")");
}

std::string openers_text(const TreeNode& node) {
    std::vector<std::string> texts;
    for (const Opener& opener : node.openers)
        texts.push_back(opener_text(opener));
    return listed(texts);
}

/// Reasons that others have given may or may not be whole sentences.
std::string with_stop(std::string text) {
    return text.ends_with('.') ? text : text + ".";
}

class Explainer {
public:
    Explainer(const SrTree& tree, const Plan& admitted, const Situation& situation)
        : index_{tree}, relations_{index_}, plan_{admitted}, situation_{situation}, skipped_(index_.size(), nullptr),
          parts_(index_.size()) {
        for (const Skipped& skipped : plan_.skipped)
            if (const std::size_t place = index_.find(skipped.vdi); place != none) skipped_[place] = &skipped;
        if (situation_.running != nullptr) add_parts(*situation_.running, running_step);
        for (std::size_t at = 0; at < plan_.steps.size(); ++at)
            add_parts(plan_.steps[at], at);
    }

    std::vector<Explanation> all() const {
        std::vector<Explanation> result;
        result.reserve(index_.size());
        for (std::size_t place = 0; place < index_.size(); ++place)
            result.push_back(one(place));
        return result;
    }

private:
    static constexpr std::size_t running_step = none;
    struct Involved {
        std::size_t step; ///< index into the plan, or running_step
        Part part;
    };

    const std::string& name(std::size_t place) const { return index_.node(place).uuid; }
    const Step& step(std::size_t number) const {
        return number == running_step ? *situation_.running : plan_.steps[number];
    }

    void add_parts(const Step& step, std::size_t number) {
        const auto add = [&](const std::string& vdi, Part part) {
            if (const std::size_t place = index_.find(vdi); place != none) parts_[place].push_back({number, part});
        };
        for (const std::string& vdi : step.emptied)
            add(vdi, Part::emptied);
        if (step.into) add(*step.into, Part::receives);
        for (const std::string& vdi : step.relinked)
            add(vdi, Part::relinked);
    }

    Explanation one(std::size_t place) const {
        Explanation result;
        result.vdi = name(place);
        if (!parts_[place].empty())
            explain_part(place, result);
        else if (skipped_[place] != nullptr)
            explain_skipped(place, *skipped_[place], result);
        else if (const auto frozen = situation_.frozen.find(name(place)); frozen != situation_.frozen.end())
            explain_skipped(place, {name(place), "sm-operation", frozen->second}, result);
        else if (const auto hold = situation_.holds.find(name(place)); hold != situation_.holds.end())
            explain_skipped(place, {name(place), "held", hold_text(hold->second)}, result);
        else if (is_set_aside(index_.node(place)))
            explain_skipped(place, {name(place), "sm-operation", "sm set it aside in a leaf coalesce"}, result);
        else
            explain_idle(place, result);
        return result;
    }

    // ---- taking part

    void explain_part(std::size_t place, Explanation& result) const {
        const auto& parts = parts_[place];
        const bool runs = parts.front().step == running_step;
        const Skipped* skipped = skipped_[place];
        result.verdict = runs ? Outlook::running : Outlook::planned;
        result.reason = part_reason(step(parts.front().step), parts.front().part);
        for (const Involved& involved : parts) {
            if (runs && involved.step != running_step) continue; // what comes then is planned anew
            if (!result.text.empty()) result.text += " Then: ";
            result.text += part_text(step(involved.step), involved.part, name(place));
        }
        // A neighbour is not merged itself; why not stays true.
        if (skipped != nullptr && (!runs || parts.front().part == Part::relinked)) {
            result.reason = skipped->reason;
            result.text += " Beyond that it is left alone: " + with_stop(skipped->text);
        }
        result.next = runs ? "The step under way is finished; whenever it is stopped, it goes on where it was."
                           : "This is step " + std::to_string(parts.front().step + 1) + " of " +
                                 std::to_string(plan_.steps.size()) + "; " + when() + " takes it.";
    }

    /// "the next run": who does something, and when.
    std::string when() const {
        return situation_.next_cycle ? "the cycle at " + rfc3339(*situation_.next_cycle) : std::string{"the next run"};
    }

    // ---- left alone

    void explain_skipped(std::size_t place, const Skipped& skipped, Explanation& result) const {
        result.verdict = outlook_of_reason(skipped.reason);
        result.reason = skipped.reason;
        const std::size_t found = skipped.cause.empty() ? none : index_.find(skipped.cause);
        const std::size_t cause = found == none ? place : found;
        result.unblocks = way_out(skipped.reason);
        if (skipped.reason == "attached")
            explain_attached(place, cause, skipped, result);
        else
            result.text = obstacle_text(place, cause, skipped);
        if (skipped.reason == "held") add_holds(cause, skipped, result);
        if (skipped.reason == "paused") add_pause(result);
        if (skipped.reason == "sm-operation") result.holders.push_back({"sm-journal", name(cause), 0, detail(skipped)});
        if (skipped.reason == "no-space" && skipped.space_needed > 0_B)
            result.unblocks = std::to_string(skipped.space_needed.count()) +
                              " bytes have to be free on the SR; deleting snapshots that nobody needs frees some.";
        if (result.verdict == Outlook::nothing_to_do) add_siblings(place, result);
        if (cause != place && skipped.reason != "attached" && !result.unblocks.empty())
            result.unblocks = "For " + name(cause) + ": " + result.unblocks;
        result.next = next_of(result.verdict);
    }

    std::string next_of(Outlook outlook) const {
        if (outlook == Outlook::nothing_to_do) return "Nothing, as long as its tree stays as it is.";
        return "T" + when().substr(1) +
               (outlook == Outlook::waiting ? " looks again, and goes on if nothing else is in the way."
                                            : " looks again, and leaves it alone until that has changed.");
    }

    /// Skipped::text without the name of the cause in front.
    static std::string detail(const Skipped& skipped) {
        const std::string prefix = skipped.cause + ": ";
        return !skipped.cause.empty() && skipped.text.starts_with(prefix) ? skipped.text.substr(prefix.size())
                                                                          : skipped.text;
    }

    /// "It", or the node that is in the way and how it stands to `place`.
    std::string subject(std::size_t cause, std::size_t place) const {
        switch (relations_.relation(cause, place)) {
        case Relation::same:
            return "It";
        case Relation::reads_through_it:
            return name(cause) + ", which reads through it,";
        case Relation::it_reads_through:
            return name(cause) + ", which it reads through,";
        case Relation::depends_by_suspect:
            break;
        }
        return name(cause) + ", which may depend on the same images,";
    }

    std::string obstacle_text(std::size_t place, std::size_t cause, const Skipped& skipped) const {
        const std::string_view what = predicate(skipped.reason);
        const std::string why = detail(skipped);
        const bool of_the_node = cause != place || is_frozen(skipped.reason);
        if (skipped.reason == "no-space") return with_stop("Merging it " + why);
        if (!of_the_node || what.empty()) return sentence(why);
        std::string text = subject(cause, place) + " ";
        if (why.starts_with("held ")) // "held by root until …"
            text += "is " + why;
        else if (why == "the image is damaged") // which says no more than the predicate
            text += what;
        else
            text += std::string{what} + ": " + why;
        text = with_stop(std::move(text));
        if (cause != place && is_frozen(skipped.reason))
            text += " As long as that is so, this VDI stays as it is, too.";
        return text;
    }

    /// Reasons that freeze_set gives: they are told of the image itself.
    static bool is_frozen(std::string_view reason) {
        return reason.starts_with("image-") || reason == "parent-missing" || reason == "chain-cycle" ||
               reason == "unsupported-feature" || reason == "sm-operation" || reason == "held";
    }

    /// With a capital letter and a full stop. The name of a VDI stays as it is.
    std::string sentence(std::string text) const {
        const std::string first = text.substr(0, text.find_first_of(" :,"));
        if (!text.empty() && index_.find(first) == none)
            text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
        return with_stop(std::move(text));
    }

    void explain_attached(std::size_t place, std::size_t cause, const Skipped& skipped, Explanation& result) const {
        std::vector<std::size_t> users;
        if (!index_.node(cause).openers.empty()) users.push_back(cause);
        for (const std::size_t user : relations_.users(place))
            if (user != cause) users.push_back(user);
        constexpr std::size_t told = 3;
        for (std::size_t at = 0; at < users.size(); ++at) {
            const TreeNode& node = index_.node(users[at]);
            if (at < told)
                result.text += (at == 0 ? "" : " ") + subject(users[at], place) + " " + openers_text(node) + ".";
            for (const Opener& opener : node.openers)
                result.holders.push_back({opener.pid == 0 ? "lock" : "process", opener.name, opener.pid,
                                          node.uuid + " " + opener_text(opener)});
        }
        if (!users.empty()) result.unblocks = users_way_out(users);
        if (users.size() > told) result.text += " So are others that read through it.";
        if (users.empty()) result.text = sentence(skipped.text);
    }

    std::string users_way_out(const std::vector<std::size_t>& users) const {
        std::vector<std::string> names;
        for (const std::size_t user : users)
            names.push_back(name(user));
        return "Whoever has " + listed(names) + " open has to close " + (names.size() == 1 ? "it" : "them") +
               ": a virtual machine does when it is shut down or the disk is unplugged.";
    }

    static std::string hold_text(const std::vector<Holder>& holders) {
        std::vector<std::string> texts;
        for (const Holder& holder : holders)
            texts.push_back("hold " + holder.name + (holder.text.empty() ? "" : ", " + holder.text));
        return listed(texts);
    }

    void add_holds(std::size_t cause, const Skipped& skipped, Explanation& result) const {
        const auto found = situation_.holds.find(name(cause));
        if (found == situation_.holds.end()) {
            result.holders.push_back({"hold", "", 0, detail(skipped)});
            return;
        }
        result.holders = found->second;
        std::vector<std::string> ids;
        for (const Holder& holder : found->second)
            ids.push_back(holder.name);
        result.unblocks = "Release of hold " + listed(ids, 8) + " (`coppice release`), or its end.";
    }

    void add_pause(Explanation& result) const {
        if (!situation_.pause) return;
        const Pause& pause = *situation_.pause;
        result.holders.push_back({"pause", pause.owner, 0, pause.reason});
        if (pause.until) result.unblocks += " By itself it ends at " + rfc3339(*pause.until) + ".";
    }

    /// Who else is there, for a VDI that others keep from having its parent for itself.
    void add_siblings(std::size_t place, Explanation& result) const {
        const std::size_t parent = index_.parent(place);
        if (parent == none) return;
        if (result.reason == "parent-visible") result.text += " What that shows may not change.";
        if (result.reason != "siblings") return;
        std::vector<std::string> others;
        constexpr std::size_t enough = 3; // a parent may have thousands, and each of them gets a text
        const auto children = index_.children(parent);
        for (const std::size_t child : children.first(std::min(children.size(), enough + 1)))
            if (child != place && others.size() < enough) others.push_back(name(child));
        const bool all = others.size() + 1 == children.size();
        result.text += " The data of the parent is needed by " + std::string{all ? "" : "others, such as "} +
                       listed(others) + ", too.";
        result.unblocks = "It could be merged if it were the only child of its parent.";
    }

    // ---- nothing to do

    void explain_idle(std::size_t place, Explanation& result) const {
        const auto children = index_.children(place);
        result.next = next_of(Outlook::nothing_to_do);
        if (index_.parent(place) == none && !index_.node(place).hidden) {
            result.reason = "visible";
            result.text = "It is a disk of its own without a parent, so that there is nothing to merge it with.";
        } else if (index_.parent(place) == none && children.size() >= 2) {
            result.reason = "shared";
            result.text = "It has no parent, and " + std::to_string(children.size()) +
                          " images read through it, so that it has to stay.";
        } else {
            result.reason = "not-planned";
            result.text = "The plan was made for other VDIs.";
        }
    }

    PlanIndex index_;
    TreeRelations relations_;
    const Plan& plan_;
    const Situation& situation_;
    std::vector<const Skipped*> skipped_;      ///< per node
    std::vector<std::vector<Involved>> parts_; ///< per node, in the order of the steps, the running one first
};

} // namespace

std::vector<Explanation> explain(const SrTree& tree, const Plan& admitted, const Situation& situation) {
    return Explainer{tree, admitted, situation}.all();
}

} // namespace coppice
