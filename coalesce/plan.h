// The planner: from a tree, its maps, its space and a policy to a list of priced steps. Pure: no clock, no I/O.
//
// The value it returns is what `plan` prints and what the service executes. Rules that hold always, whatever the policy
// (docs/invariants.md): only hidden childless images are collected; a visible one is never deleted and never changes;
// nothing next to damage or doubt takes part; nothing that anybody has open takes part; a leaf keeps its UUID.
#pragma once

#include "coalesce/layer_facts.h"
#include "coalesce/sr_tree.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace coppice {

enum class StepKind { collect, coalesce, leaf_coalesce };
enum class Direction { down, up };
enum class Mode { offline, live };

std::string_view to_string(StepKind kind);
std::string_view to_string(Direction direction);
std::string_view to_string(Mode mode);

/// One thing to do. Names, not objects: every step is checked against the SR again when it runs.
struct Step {
    StepKind kind = StepKind::collect;
    /// collect: the image to delete. Else the image whose data moves into `into` and which is then deleted: the child
    /// when going down, the parent when going up.
    std::string vdi;
    std::optional<std::string> into;
    Direction direction = Direction::down;
    Mode mode = Mode::offline;
    /// All images that this step empties and deletes, newest first, `vdi` among them: several when levels are
    /// collapsed.
    std::vector<std::string> emptied;
    /// The parent that `into` has afterwards; nullopt for a root.
    std::optional<std::string> parent_after;
    /// Children that have to be relinked to `into`, sorted (down only).
    std::vector<std::string> relinked;
    /// The UUID under which `into` lives on: its own, or that of the leaf that was poured into it.
    std::string survivor;
    Bytes copy_bytes;   ///< guest data that moves
    Bytes space_needed; ///< what the SR must have free while it runs
    Bytes space_freed;  ///< what it has more than before when it is done
    /// It fits only piece by piece: what has been copied leaves the emptied image, and its room goes to the rest. A
    /// merge of two images on volumes.
    bool in_slices = false;
    std::optional<std::uint64_t> pause_ms; ///< expected pause of a guest; nullopt when nothing has to pause

    bool operator==(const Step&) const = default;
};

/// Why a VDI is not part of any step although it could be merged or collected but for this.
struct Skipped {
    std::string vdi;
    std::string reason; ///< reason code
    std::string text;   ///< begins with "<cause>: " where it tells of the cause rather than of the VDI
    std::string cause;  ///< the VDI whose damage, hold, user or delay it is; empty: its own
    Bytes space_needed; ///< no-space: what would have to be free; otherwise 0

    bool operator==(const Skipped&) const = default;
};

struct Plan {
    std::vector<Step> steps;
    std::vector<Skipped> skipped; ///< sorted by vdi

    Bytes copy_bytes() const;
    Bytes space_freed() const;
    bool operator==(const Plan&) const = default;
};

enum class DirectionPolicy { automatic, down, up };

struct Policy {
    DirectionPolicy direction = DirectionPolicy::automatic;
    bool gc = true;      ///< false: neither collects nor merges anything (gc-disabled)
    bool collect = true; ///< false: garbage stays (gc-disabled)
    bool coalesce = true;
    bool leaf_coalesce = true;
    /// Empty: all. Otherwise only merges in which one of these takes part, and (with collect) only these as garbage.
    std::set<std::string> only;
    /// VDIs that journals or locks of sm keep: no step may touch them (reason sm-operation).
    std::set<std::string> sm_operations;
    std::map<std::string, std::string> sm_texts; ///< what holds them, for people; may lack some
    std::size_t max_chain_depth = 30;            ///< only for messages: deeper chains are merged all the same
    /// Leaves that stay as they are, with the reason code: leaf-coalesce-disabled, reset-on-boot, caching.
    std::map<std::string, std::string> leaf_refused;
    /// VDIs that may neither give nor receive data, with the reason code: gc-disabled (which also keeps them from being
    /// collected), coalesce-disabled. What stands above and below them goes on.
    std::map<std::string, std::string> refused;
    /// VDIs that somebody wants to stay as they are, with who and why for people. They are frozen with everything that
    /// reads through them and everything they read through (reason held); sibling subtrees go on.
    std::map<std::string, std::string> holds;
    /// Steps that failed lately, by image and receiver (empty for a collection), with what happened and until when for
    /// people. They and what builds upon them are left out (reason retry-later).
    std::map<std::pair<std::string, std::string>, std::string> retry_later;
};

/// Candidates: the nodes whose LayerFacts plan() wants, because they may take part in a merge. Sorted.
std::vector<std::string> merge_candidates(const SrTree& tree, const Policy& policy);

/// `facts` has an entry for every merge_candidates(); one whose check says that it is not mergeable freezes its
/// subtree.
Plan plan(const SrTree& tree, const std::map<std::string, LayerFacts>& facts, Bytes free_space, const Policy& policy);

} // namespace coppice
