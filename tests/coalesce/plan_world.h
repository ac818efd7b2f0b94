// Trees for planner tests, written as text: one node per line, children indented below their parent.
//
//   free 1G
//   policy leaf-coalesce=false direction=up only=a,b sm=c
//   incomplete
//   base hidden vhd size=10G data=0-4M,6M-8M physical=6M
//     leaf vhd data=0-1M zero=4M-5M open=4711:qemu
//
// Further words of a policy: gc=false out=VDI,CODE hold=VDI,TEXT retry=VDI,INTO,TEXT refuse=LEAF,CODE.
// Further words of a node: state=damaged reason=CODE text=WORD suspects=a,b parent=NAME unmergeable=CODE.
#pragma once

#include "coalesce/plan.h"

#include <string>

namespace coppice::test {

struct PlanWorld {
    SrTree tree;
    std::map<std::string, LayerFacts> facts; ///< of every node
    Bytes free_space;
    Policy policy;

    Plan plan() const { return coppice::plan(tree, facts, free_space, policy); }
};

/// Throws std::invalid_argument on text that it does not understand.
PlanWorld parse_world(const std::string& text);

/// Shapes as the formats have them by default.
TargetShape shape_of(Format format);

} // namespace coppice::test
