#include "coalesce/inflated_size.h"
#include "coalesce/plan_text.h"
#include "coalesce/reclaim.h"
#include "coalesce/step_json.h"
#include "coalesce/volume_format.h"
#include "gc/base/text_output.h"
#include "gc/cycle/journal_director.h"
#include "gc/service/json_output.h"
#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"
#include "lvm/snapshot_space.h"

#include <boost/json.hpp>
#include <boost/program_options.hpp>

#include <algorithm>
#include <iomanip>
#include <iostream>

namespace coppice {

namespace json = boost::json;
namespace po = boost::program_options;

void describe_space(po::options_description& options) {
    options.add_options()("snapshot", po::bool_switch(), "may a snapshot be taken of the VDIs that follow the SR?");
}

namespace {

struct VdiSpace {
    const TreeNode* node = nullptr;
    std::optional<Bytes> inflated; ///< when its guest has written everywhere; nullopt where the image cannot be read
    std::optional<Bytes> deflated; ///< the least that holds what it has
    Bytes reclaimable;
};

VdiSpace space_of(const TreeNode& node, const Observation& seen) {
    VdiSpace result{&node, {}, {}, 0_B};
    const auto place = seen.facts.find(node.uuid);
    if (place == seen.facts.end() || !place->second.space) return result;
    const LayerFacts& facts = place->second;
    try {
        if (facts.size_unit > 0_B) {
            result.inflated = round_up(inflated_size(node.format, *facts.space, node.virtual_size), facts.size_unit);
            result.deflated = round_up(lvm::deflated(facts.space->end()), facts.size_unit);
        } else {
            result.inflated = std::max(facts.space->end_when_full(node.virtual_size), node.physical_size);
            result.deflated = node.physical_size;
        }
    } catch (const Error&) { // a format that cannot hold a disk of that size: what cannot be computed is not shown
    }
    return result;
}

std::vector<VdiSpace> account(const Observation& seen) {
    const std::map<std::string, Bytes> reclaim = reclaimable(seen.tree, seen.facts);
    std::vector<VdiSpace> result;
    for (const TreeNode& node : seen.tree.nodes) {
        result.push_back(space_of(node, seen));
        if (const auto place = reclaim.find(node.uuid); place != reclaim.end())
            result.back().reclaimable = place->second;
    }
    return result;
}

/// What the steps that are not at their end have been promised.
Bytes reserved(const journal::Journal* journal) {
    Bytes sum;
    if (journal != nullptr)
        for (const journal::Operation& operation : journal->unfinished())
            sum += step_from_json(operation.step).space_needed;
    return sum;
}

struct SnapshotAnswer {
    lvm::SnapshotVerdict verdict;
    std::string fails_at;            ///< the VDI whose turn it is when the space ends
    std::vector<std::string> merges; ///< VDIs whose merging makes it possible; empty where it does not
};

lvm::SnapshotRequest request_for(const TreeNode& node, const Observation& seen) {
    if (node.hidden) throw UsageError{"'" + node.uuid + "' is hidden: it is nobody's disk"};
    if (node.state != NodeState::ok) throw Refused{node.reason, node.uuid, node.text};
    lvm::SnapshotRequest request;
    request.format = volume_format(node.format);
    request.leaf_format = node.format == Format::raw ? lvm::VolumeFormat::vhd : request.format;
    request.virtual_size = node.virtual_size;
    request.lv_size = node.physical_size;
    request.end = seen.facts.at(node.uuid).space->end();
    request.attached = !node.openers.empty();
    // sm gives a snapshot no more than it needs, and every other disk all that it may ever need.
    request.is_a_snapshot = !request.attached && node.physical_size < lvm::sm::full(request.format, node.virtual_size);
    return request;
}

/// Steps in the order of the plan, as far as each fits, until there is enough.
std::vector<std::string> merges_that_make_room(const Plan& plan, Bytes free, Bytes need) {
    std::vector<std::string> merges;
    for (const Step& step : plan.steps) {
        if (free >= need) break;
        if (step.space_needed > free || step.space_freed == 0_B) continue;
        free += step.space_freed;
        merges.push_back(step.vdi);
    }
    return free >= need ? merges : std::vector<std::string>{};
}

SnapshotAnswer ask_for_snapshots(const std::vector<std::string>& vdis, const Observation& seen, const Plan& plan) {
    std::vector<lvm::SnapshotRequest> requests;
    std::vector<const TreeNode*> nodes;
    for (const std::string& vdi : vdis) {
        nodes.push_back(&find_vdi(seen.tree, vdi));
        requests.push_back(request_for(*nodes.back(), seen));
    }
    SnapshotAnswer answer{lvm::snapshot_verdict(requests, lvm::Allocation::thick, seen.free), {}, {}};
    if (answer.verdict.fails_at) answer.fails_at = nodes[*answer.verdict.fails_at]->uuid;
    if (!answer.verdict.possible) answer.merges = merges_that_make_room(plan, seen.free, answer.verdict.need);
    return answer;
}

json::value bytes_or_null(const std::optional<Bytes>& bytes) {
    return bytes ? json::value(bytes->count()) : json::value(nullptr);
}

json::object to_json(const SnapshotAnswer& answer) {
    json::object result{{"possible", answer.verdict.possible},
                        {"need", answer.verdict.need.count()},
                        {"free", answer.verdict.free.count()}};
    result["fails_at"] = answer.fails_at.empty() ? json::value(nullptr) : json::value(answer.fails_at);
    json::array merges;
    for (const std::string& vdi : answer.merges)
        merges.emplace_back(vdi);
    result["coalesces"] = std::move(merges);
    return result;
}

void print_text(const std::vector<VdiSpace>& vdis, Bytes total, Bytes free, Bytes held) {
    std::cout << human_size(total) << " in all, " << human_size(free) << " free, " << human_size(held)
              << " reserved for merges that are not at their end\n";
    std::cout << std::left << std::setw(38) << "VDI" << std::right << std::setw(11) << "PHYSICAL" << std::setw(11)
              << "ALLOCATED" << std::setw(11) << "INFLATED" << std::setw(11) << "DEFLATED" << std::setw(13)
              << "RECLAIMABLE" << '\n';
    const auto column = [](int width, const std::optional<Bytes>& size) {
        std::cout << std::setw(width) << (size ? human_size(*size) : "?");
    };
    for (const VdiSpace& vdi : vdis) {
        std::cout << std::left << std::setw(38) << printable(vdi.node->uuid) << std::right;
        column(11, vdi.node->physical_size);
        column(11, vdi.node->allocated_size);
        column(11, vdi.inflated);
        column(11, vdi.deflated);
        if (vdi.node->hidden)
            std::cout << std::setw(13) << "hidden";
        else
            column(13, vdi.reclaimable);
        std::cout << '\n';
    }
}

void print_text(const SnapshotAnswer& answer) {
    const auto& [possible, need, free, fails_at] = answer.verdict;
    std::cout << "snapshot: " << (possible ? "yes" : "no") << ", needs " << human_size(need) << " (" << need.count()
              << " bytes), " << human_size(free) << " (" << free.count() << " bytes) are free\n";
    if (possible) return;
    std::cout << "the space ends at " << answer.fails_at << '\n';
    if (answer.merges.empty()) {
        std::cout << "no merge that fits now would make it possible; deleting snapshots may\n";
        return;
    }
    std::cout << "it is possible once these have been merged:\n";
    for (const std::string& vdi : answer.merges)
        std::cout << "    " << vdi << '\n';
}

} // namespace

ExitStatus run_space(const Invocation& invocation) {
    const bool snapshot = invocation.flag("snapshot");
    const SrLocation sr = snapshot ? first_sr(invocation) : the_sr(invocation);
    const std::vector<std::string> wanted = named_vdis(invocation);
    if (snapshot && wanted.empty()) throw UsageError{"--snapshot wants the VDIs behind the SR"};
    if (snapshot && sr.group.empty())
        throw Unsupported{sr.name, "on a file SR a snapshot takes next to nothing; --snapshot is for SRs on LVM"};

    Session session{sr, session_options(invocation), Session::Intent::look, "space"};
    const Observation seen = session.survey();
    const std::vector<VdiSpace> vdis = account(seen);
    const Bytes held = reserved(session.journal());
    std::optional<SnapshotAnswer> answer;
    if (snapshot) {
        JournalDirector director{{}, session.journal(), false};
        answer = ask_for_snapshots(wanted, seen, session.plan(director));
    }

    if (invocation.common.json) {
        json::object document = new_document();
        document["total"] = seen.total.count();
        document["free"] = seen.free.count();
        document["reserved"] = held.count();
        json::array entries;
        for (const VdiSpace& vdi : vdis)
            entries.push_back(json::object{{"uuid", valid_utf8(vdi.node->uuid)},
                                           {"physical", vdi.node->physical_size.count()},
                                           {"allocated", vdi.node->allocated_size.count()},
                                           {"inflated_size", bytes_or_null(vdi.inflated)},
                                           {"deflated_size", bytes_or_null(vdi.deflated)},
                                           {"reclaimable", vdi.reclaimable.count()}});
        document["vdis"] = std::move(entries);
        document["snapshot"] = answer ? json::value(to_json(*answer)) : json::value(nullptr);
        print_json(std::cout, document);
    } else {
        print_text(vdis, seen.total, seen.free, held);
        if (answer) print_text(*answer);
    }
    return answer && !answer->verdict.possible ? ExitStatus::no_space : ExitStatus::done;
}

} // namespace coppice
