#include "gc/cycle/session.h"

#include "format/base/error.h"
#include "format/base/log.h"
#include "gc/cycle/sr_backend.h"
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
    if (!sr.group.empty()) return "vg-" + sr.group;
    // A directory may have any name: the hash tells apart what the readable part does not.
    std::string name = sr.directory.substr(sr.directory.rfind('/') + 1);
    std::ranges::replace_if(
        name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '-');
    return name + "-" + short_hash(sr.directory);
}

struct Session::Parts {
    std::unique_ptr<SrBackend> backend;
    std::unique_ptr<SrLock> lock;
    std::unique_ptr<SrGate> gate = std::make_unique<OpenGate>();
    const SmGate* sm_gate = nullptr; ///< the same, where sm is there
    std::unique_ptr<journal::Journal> journal;
    std::unique_ptr<Cycle> cycle;
};

Session::Session(const SrLocation& sr, const SessionOptions& options, Intent intent, const std::string& verb)
    : parts_{std::make_unique<Parts>()} {
    parts_->backend = open_backend(sr, options.run_dir, options.discard);
    SrBackend& backend = *parts_->backend;
    const std::string key = state_key(sr);
    const std::string journal_path = options.state_dir + "/" + key + "/journal.db";
    if (intent == Intent::change) {
        if (!options.exclusive && backend.other_hosts_may_use())
            throw Refused{"in-use-elsewhere", sr.name,
                          "other hosts may use this storage and cannot be seen from here; --exclusive says that "
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
    TreeSource& trees = backend.trees(parts_->journal.get(), options.threads);
    parts_->cycle =
        std::make_unique<Cycle>(backend.storage(), intent == Intent::change ? parts_->journal.get() : nullptr,
                                backend.occupancy(), trees, *parts_->gate, options.snapshots);
}

Session::~Session() = default;

SrTree Session::tree() {
    return parts_->cycle->tree();
}

Observation Session::survey() {
    return parts_->cycle->survey();
}

Plan Session::plan(Director& director, Observation* seen) {
    return parts_->cycle->plan(director, seen);
}

HoldTimes Session::sr_hold_times() const {
    return parts_->sm_gate == nullptr ? HoldTimes{} : parts_->sm_gate->times();
}

journal::Journal* Session::journal() const {
    return parts_->journal.get();
}

void Session::recover_storage(const std::stop_token& stop) {
    const auto passage = parts_->gate->enter({}, stop);
    for (const std::string& note : parts_->backend->recover()) {
        log::notice("gc", note);
        parts_->journal->record_event("notice", "", note);
    }
}

Outcome Session::run(Director& director, const MergeOptions& merge, std::optional<Bytes> rate, Progress& progress,
                     std::stop_token stop) {
    const auto working = parts_->lock->begin_work();
    const AbortWatch watch{parts_->lock->flags(), std::move(stop)};
    try {
        recover_storage(watch.token());
    } catch (const StopRequested&) { // by whoever stops a cycle: it has not begun yet
        Outcome nothing;
        nothing.stopped = true;
        return nothing;
    }
    return parts_->cycle->run(director, merge, rate, progress, watch.token());
}

} // namespace coppice
