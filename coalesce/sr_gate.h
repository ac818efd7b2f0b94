// The seam to whoever else changes names and links of the SR: the short time in which only we do.
//
// Data is merged outside of it, because a merge target may be read by others all the time. Relinking, renaming and
// deleting happen inside, and what was seen before is looked at again inside.
#pragma once

#include <memory>
#include <set>
#include <stop_token>
#include <string>

namespace coppice {

/// As long as it lives, nobody who keeps to the SR's locks snapshots, deletes, attaches or relinks anything there.
class Passage {
public:
    virtual ~Passage() = default;
};

/// Keeps others from opening a leaf, as long as it lives.
class LeafGuard {
public:
    virtual ~LeafGuard() = default;
    /// Somebody waits for the leaf: whoever holds it should give way soon.
    virtual bool is_wanted() const = 0;
};

class SrGate {
public:
    virtual ~SrGate() = default;

    /// Waits for the SR, and then takes what it needs to keep `leaves` (the visible disks that read through what will
    /// be changed) from being attached meanwhile. Throws StopRequested; Busy("sm-operation") where a leaf is just being
    /// attached or detached, or the SR is not to be had within some minutes.
    virtual std::unique_ptr<Passage> enter(const std::set<std::string>& leaves, const std::stop_token& stop) = 0;

    /// Before `leaf` is written to. Does not wait: throws Busy("sm-operation") naming the holder.
    virtual std::unique_ptr<LeafGuard> guard(const std::string& leaf) = 0;

    /// Says that a merge that empties `vdi` is going on, until the object is destroyed; `stop_wanted` becomes true when
    /// somebody who wants to open the chain asks for an end.
    class Announcement {
    public:
        virtual ~Announcement() = default;
        virtual bool stop_wanted() const = 0;
    };
    virtual std::unique_ptr<Announcement> announce(const std::string& vdi) = 0;

    /// Whether whoever opens a disk looks for announced merges in its chain first. Where nobody does, readers can only
    /// be kept out.
    virtual bool readers_ask_first() const = 0;
};

/// For an SR that nobody else knows of.
class OpenGate final : public SrGate {
public:
    std::unique_ptr<Passage> enter(const std::set<std::string>&, const std::stop_token&) override;
    std::unique_ptr<LeafGuard> guard(const std::string&) override;
    std::unique_ptr<Announcement> announce(const std::string&) override;
    bool readers_ask_first() const override { return false; }
};

} // namespace coppice
