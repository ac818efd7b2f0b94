// What executing a step needs of the world, passed in.
#pragma once

#include "coalesce/occupancy.h"
#include "coalesce/progress.h"
#include "coalesce/rate_limit.h"
#include "coalesce/sr_gate.h"
#include "coalesce/tree_source.h"
#include "coalesce/verify.h"
#include "format/base/data_mover.h"
#include "format/base/storage.h"
#include "journal/journal.h"

#include <stop_token>

namespace coppice {

struct MergeOptions {
    VerifyDepth verify = VerifyDepth::metadata;
    BufferedMover::Sharing sharing = BufferedMover::Sharing::where_possible;
};

struct MergeContext {
    Storage& storage;
    journal::Journal& journal;
    Occupancy& occupancy;
    TreeSource& trees;
    Progress& progress;
    RateLimit& rate;
    SrGate& gate;
    std::stop_token stop;
    MergeOptions options;
};

} // namespace coppice
