// LVs that are active as long as an object lives, counted as sm counts them, so that neither takes away what the other
// needs.
//
// Source: sm 3.2.12, lvmcache.py: under the lock lvm-<SR>/<uuid> the count goes up, and the first one activates; it
// goes down, and the last one deactivates, unless the LV is open. `uuid` is the VDI's, with "OLD_" where the LV's name
// has it.
#pragma once

#include "lvm/claims.h"
#include "lvm/device_mapper.h"
#include "lvm/locks.h"
#include "lvm/volume_group.h"

namespace coppice::lvm {

class Activator;

/// What became of an LV when its activation was given back.
enum class Released {
    inactive,  ///< it is not active any more
    counted,   ///< others count on it
    still_open ///< nobody counts on it, but somebody has it open: it stays active, as it does with sm
};

/// Does not outlive its Activator.
class Activation {
public:
    Activation(Activation&& other) noexcept;
    Activation& operator=(Activation&&) = delete;
    /// Not released: does it, and logs what fails.
    ~Activation();

    const std::string& lv() const { return lv_; }
    const std::string& uuid() const { return uuid_; }
    /// Path of its node.
    std::string node() const;

    /// Gives it back. Throws Busy, CommandFailed, SystemError; the count is down then, unless that itself failed.
    Released release();

private:
    friend class Activator;
    Activation(Activator& activator, std::string lv, std::string uuid, CountLife life, Claim claim);

    Activator* activator_; ///< null when moved from or released
    std::string lv_;
    std::string uuid_;
    CountLife life_; ///< of the count that we are in
    Claim claim_;
};

class Activator {
public:
    struct Places {
        std::string space; ///< "lvm-<SR>", of locks and counts
        std::string counts = "/var/run/sm/refcount";
        std::string claims; ///< directory of our own; see claims.h
    };

    Activator(VolumeGroup& group, DeviceMapper& devices, NamedLocks& locks, const Places& places);

    /// Throws Busy (the lock, or a suspended device), CommandFailed, SystemError; then nothing is counted, and an LV
    /// that nobody else needs is not active.
    Activation activate(const std::string& lv, const std::string& uuid);
    /// Gives all of them back, with one command for those that nobody else needs. What fails is logged, and such an LV
    /// stays active or counted.
    void release_all(std::vector<Activation> activations) noexcept;
    /// Removes the LV together with its device, and with our activation, which may be null. Throws as
    /// VolumeGroup::remove() does; then the activation is given back all the same.
    void remove(const std::string& lv, const std::string& uuid, Activation* activation);
    /// Renames the LV, and has the count follow it. `activation` is of this LV, and may be null where we have none.
    /// Throws as VolumeGroup::rename() does, and Busy where there is a count under the new UUID.
    void rename(const std::string& lv, const std::string& uuid, const std::string& new_lv, const std::string& new_uuid,
                Activation* activation);
    /// Below sm's lock against tapdisks that are just opening the LV.
    void set_permission(const std::string& lv, Permission permission);
    /// Lets go of what killed processes have left active. Returns the LVs.
    std::vector<std::string> recover();

    const RefCounts& counts() const { return counts_; }

private:
    friend class Activation;
    std::string link(const std::string& lv) const;
    std::string mapper_node(const std::string& lv) const;
    void bring_up(const std::string& lv) const;
    Released bring_down(const std::string& lv) const;
    void remove_links(const std::string& lv) const;
    RefCount count_down(const std::string& uuid, CountLife life, Claim& claim) const;
    void deactivate_closed(std::span<const Activation* const> activations) const;
    void undo(const std::string& lv, const std::string& uuid) const;
    Released put(const std::string& lv, const std::string& uuid, CountLife life, Claim& claim) const;

    VolumeGroup& group_;
    DeviceMapper& devices_;
    NamedLocks& locks_;
    std::string space_;
    RefCounts counts_;
    Claims claims_;
};

} // namespace coppice::lvm
