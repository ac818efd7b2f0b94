// What an SR is made of, whatever keeps its images: a directory, or volumes.
#pragma once

#include "coalesce/occupancy.h"
#include "coalesce/tree_source.h"
#include "format/base/storage.h"
#include "gc/base/sr_name.h"
#include "journal/journal.h"

#include <memory>
#include <string>
#include <vector>

namespace coppice {

class SrBackend {
public:
    virtual ~SrBackend() = default;

    virtual Storage& storage() = 0;
    virtual Occupancy& occupancy() = 0;
    /// Scans on every question. What cannot be read is looked up in `journal`, which may be null and outlives the
    /// source; `threads` read headers.
    virtual TreeSource& trees(journal::Journal* journal, unsigned threads) = 0;
    /// Whether other hosts may use the SR, so that locks and processes of this one tell only half of the truth.
    virtual bool other_hosts_may_use() const = 0;
    /// What a run that was killed has left, as far as it is no merge: below sm's SR lock. Sentences for people.
    virtual std::vector<std::string> recover() { return {}; }
};

/// `discard`: extents that become free on LVM are discarded. Throws NotFound, SystemError, lvm::CommandFailed where the
/// SR cannot be seen.
std::unique_ptr<SrBackend> open_backend(const SrLocation& sr, const std::string& run_dir, bool discard);

} // namespace coppice
