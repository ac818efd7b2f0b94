#include "gc/cycle/session.h"

#include "format/base/directory_storage.h"
#include "format/base/error.h"
#include "format/base/log.h"
#include "gc/scan/header_cache.h"
#include "gc/scan/network_fs.h"
#include "gc/scan/occupancy.h"
#include "gc/scan/scan.h"
#include "gc/sm/sm_flags.h"
#include "gc/sm/sm_gate.h"
#include "gc/sm/sr_lock.h"

#include <algorithm>
#include <cctype>

namespace coppice {
namespace {

/// FNV-1a: only to tell names apart.
std::string short_hash(std::string_view text) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const char c : text)
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    std::string digits;
    for (int shift = 60; shift >= 0; shift -= 4)
        digits += "0123456789abcdef"[(hash >> shift) & 15];
    return digits;
}

/// Scans again on every question; sizes are remembered by file and state.
class ScannedTrees final : public TreeSource {
public:
    ScannedTrees(Storage& storage, std::string directory, unsigned threads, journal::Journal* journal)
        : storage_{storage}, headers_{other_hosts_may_use(directory) ? HeaderCache::Stamps::elsewhere
                                                                     : HeaderCache::Stamps::here} {
        options_.directory = std::move(directory);
        options_.threads = threads;
        options_.sizes = &sizes_;
        options_.headers = &headers_;
        if (journal != nullptr)
            options_.last_known = [journal](const std::string& vdi) { return journal->last_known(vdi); };
    }

    SrTree current() override { return scan_sr(storage_, options_); }

private:
    Storage& storage_;
    SizeCache sizes_;
    HeaderCache headers_;
    ScanOptions options_;
};

/// A journal that cannot be used is set aside and the run ends there: whoever looks after the SR shall hear of it
/// before anything is changed. The next run starts a new one; what the old one knew of unfinished work is on the SR as
/// well, or is done again.
std::unique_ptr<journal::Journal> open_journal(const std::string& path, const std::string& key) {
    try {
        return journal::Journal::open(path, journal::Journal::Create::yes, key);
    } catch (const journal::UnusableJournal& error) {
        throw JournalSetAside{std::string{error.what()} + "; it was set aside as " +
                              journal::set_aside(path, error.cause()) +
                              ", nothing else was changed, and the next run starts a new one from what is on the SR"};
    }
}

} // namespace

std::string state_key(const SrLocation& sr) {
    if (!sr.uuid.empty()) return sr.uuid;
    // A directory may have any name: the hash tells apart what the readable part does not.
    std::string name = sr.directory.substr(sr.directory.rfind('/') + 1);
    std::ranges::replace_if(
        name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '-');
    return name + "-" + short_hash(sr.directory);
}

struct Session::Parts {
    DirectoryStorage storage;
    std::unique_ptr<SrLock> lock;
    std::unique_ptr<SrGate> gate = std::make_unique<OpenGate>();
    const SmGate* sm_gate = nullptr; ///< the same, where sm is there
    std::unique_ptr<journal::Journal> journal;
    HostOccupancy occupancy;
    std::unique_ptr<ScannedTrees> trees;
    std::unique_ptr<Cycle> cycle;

    explicit Parts(const std::string& directory) : storage{directory} {}
};

Session::Session(const SrLocation& sr, const SessionOptions& options, Intent intent, const std::string& verb)
    : parts_{std::make_unique<Parts>(sr.directory)} {
    const std::string key = state_key(sr);
    const std::string journal_path = options.state_dir + "/" + key + "/journal.db";
    if (intent == Intent::change) {
        if (!options.exclusive && other_hosts_may_use(sr.directory))
            throw Refused{"in-use-elsewhere", sr.name,
                          "other hosts may use this file system and cannot be seen from here; --exclusive says that "
                          "none does"};
        parts_->lock = std::make_unique<SrLock>(sr.directory, options.run_dir, key, sr.uuid, verb);
        if (parts_->lock->shared_with_sm()) {
            auto gate =
                std::make_unique<SmGate>(parts_->lock->sm_locks(), SmDirectories::of_this_host().run_files, sr.uuid);
            parts_->sm_gate = gate.get();
            parts_->gate = std::move(gate);
        }
        parts_->journal = open_journal(journal_path, key);
    } else {
        try {
            parts_->journal = journal::Journal::open(journal_path, journal::Journal::Create::no, key);
        } catch (const journal::UnusableJournal& error) {
            log::warning("gc", error.what()); // for a look the journal is a help, not a need
        }
    }
    parts_->trees =
        std::make_unique<ScannedTrees>(parts_->storage, sr.directory, options.threads, parts_->journal.get());
    parts_->cycle = std::make_unique<Cycle>(parts_->storage, intent == Intent::change ? parts_->journal.get() : nullptr,
                                            parts_->occupancy, *parts_->trees, *parts_->gate);
}

Session::~Session() = default;

SrTree Session::tree() {
    return parts_->cycle->tree();
}

Plan Session::plan(Director& director, Observation* seen) {
    return parts_->cycle->plan(director, seen);
}

HoldTimes Session::sr_hold_times() const {
    return parts_->sm_gate == nullptr ? HoldTimes{} : parts_->sm_gate->times();
}

journal::Journal* Session::journal() {
    return parts_->journal.get();
}

Outcome Session::run(Director& director, const MergeOptions& merge, std::optional<Bytes> rate, Progress& progress,
                     std::stop_token stop) {
    const auto working = parts_->lock->begin_work();
    const AbortWatch watch{parts_->lock->flags(), std::move(stop)};
    return parts_->cycle->run(director, merge, rate, progress, watch.token());
}

} // namespace coppice
