// Explains every VDI of an SR by looking at it, without changing anything.
#pragma once

#include "coalesce/explain.h"
#include "gc/cycle/journal_director.h"
#include "gc/cycle/session.h"
#include "gc/service/control_message.h"

#include <optional>
#include <vector>

namespace coppice {

struct SrExplanations {
    SrTree tree;
    Plan plan; ///< what may begin now
    std::vector<Explanation> vdis;
    std::vector<std::string> dangers;
};

/// `running` is the step that this process has under way, if any; `next_cycle` when the service looks again.
SrExplanations explain_sr(const SrLocation& sr, const SessionOptions& options, const WorkOrder& order,
                          const Step* running, std::optional<UnixSeconds> next_cycle,
                          const WallClock& clock = &host_time);

/// The answer to `coppice explain`: of the VDI that `vdi` names, or of all. Throws NotFound, UsageError.
Reply explain_reply(const SrExplanations& explanations, const std::string& vdi);

} // namespace coppice
