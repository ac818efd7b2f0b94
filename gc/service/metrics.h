// Figures for monitoring, as OpenMetrics text (https://openmetrics.io, version 1.0).
#pragma once

#include "coalesce/sr_tree.h"
#include "gc/cycle/journal_director.h"
#include "gc/cycle/session.h"
#include "gc/service/control_message.h"
#include "gc/service/status_board.h"
#include "gc/sm/sm_gate.h"
#include "journal/journal.h"

#include <optional>
#include <string>

namespace coppice {

struct MetricsSource {
    std::string sr;
    SrTree tree;
    std::vector<Skipped> skipped;
    std::optional<ServiceStatus> service; ///< nullopt where none runs
    std::optional<HoldTimes> sr_lock;     ///< of that service, since it started
    const journal::Journal* journal = nullptr;
    UnixSeconds now = 0;
};

std::string metrics_text(const MetricsSource& source);

/// Looks at the SR, and answers with its figures.
Reply metrics_reply(const SrLocation& sr, const SessionOptions& options, const WorkOrder& order,
                    std::optional<ServiceStatus> service, std::optional<HoldTimes> sr_lock,
                    const WallClock& clock = &host_time);

} // namespace coppice
