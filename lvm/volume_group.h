// One volume group: what it has, and the changes that sm makes to one, each by one command.
//
// LVM tells no more than that a command failed. So after a failure the group is looked at: what is done all the same
// counts as done, what cannot be done is said with its cause, and what failed only because another host was writing the
// metadata is tried again. Only the SR master's process may change, and only below sm's SR lock. Used by one thread at
// a time.
#pragma once

#include "lvm/metadata_reader.h"
#include "lvm/report.h"
#include "lvm/tool.h"

#include <functional>
#include <span>

namespace coppice::lvm {

/// What one lvchange does in one commit.
struct LvEdit {
    std::vector<std::string> add_tags;
    std::vector<std::string> remove_tags;
    std::optional<Permission> permission;
};

class VolumeGroup {
public:
    /// Throws Unsupported where `name` is none that LVM takes.
    VolumeGroup(Tool& tool, std::string name);

    const std::string& name() const { return name_; }
    const Tool& tool() const { return tool_; }

    /// By one command, or by reading the PVs where that has once said the same as LVM; nothing is activated. Throws
    /// CommandFailed, BadReport, CommandTimedOut.
    VgReport report() const;
    Stamp stamp() const;

    // Changes throw NotFound, NoSpace, Unsupported (a name, a tag), CommandFailed.

    /// A linear LV that is not zeroed, its tags in the same commit. Never takes over one that is there.
    enum class Activate { no, yes };
    void create(const std::string& lv, Extents size, const std::vector<std::string>& tags = {},
                Activate activate = Activate::no) const;
    /// Of what is active, the device goes, too. Those that are not there are removed already. One commit, on LVM 2.02
    /// several. Throws CommandFailed with what is left where one is open.
    void remove(std::span<const std::string> lvs) const;
    void remove(const std::string& lv) const { remove({&lv, 1}); }
    void rename(const std::string& from, const std::string& to) const;
    /// To `size`, which is not below what it has; on other hosts it shows only after a refresh.
    void grow(const std::string& lv, Extents size) const;
    /// To `size`, which is not above what it has. What lies behind is lost: nobody may have the LV open, on any host,
    /// and this cannot be seen here.
    void shrink(const std::string& lv, Extents size) const;
    /// Whatever of it is so already, stays. For the permission of an LV that tapdisks may be opening take sm's lock:
    /// Activator::set_permission().
    void edit(const std::string& lv, const LvEdit& edit) const;

    /// Without reference counts; see activation.h. Throw CommandFailed. An exit status of 0 does not prove that it
    /// happened.
    void activate(const std::string& lv) const;
    void deactivate(std::span<const std::string> lvs) const;
    void deactivate(const std::string& lv) const { deactivate({&lv, 1}); }
    /// Makes the table of an active LV that of the metadata. Without effect on an inactive one.
    void refresh(const std::string& lv) const;

    /// LVM never flushes: returns when what was changed is durable on the PVs that are there. Throws SystemError.
    void make_durable(const VgReport& report) const;

private:
    struct Change;
    VgReport report_by_lvm() const;
    void perform(const Change& change) const;
    void resize(const char* program, const std::string& lv, Extents size) const;
    void run(const std::string& attempt, std::span<const std::string> lvs, const char* option) const;

    Tool& tool_;
    std::string name_;
    mutable MetadataReader metadata_;
};

} // namespace coppice::lvm
