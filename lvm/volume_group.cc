#include "lvm/volume_group.h"

#include "format/base/log.h"
#include "format/base/unique_fd.h"
#include "lvm/error.h"
#include "lvm/names.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>

namespace coppice::lvm {

/// A command, and how to judge what became of it.
struct VolumeGroup::Change {
    std::string attempt;
    std::string object;
    std::vector<std::string> words;
    /// Whether it is done, by a look at the group after the command has failed. May throw the reason why it never will
    /// be.
    std::function<bool(const VgReport&)> done;
    /// Other failures may pass, too: udev or a scan looks at a device for a moment.
    enum class Persistence { in_flux_only, always } persistence = Persistence::in_flux_only;
};

VolumeGroup::VolumeGroup(Tool& tool, std::string name) : tool_{tool}, name_{std::move(name)} {
    if (!is_valid_name(name_)) throw Unsupported{"volume group \"" + name_ + "\"", "not a name that LVM takes"};
}

VgReport VolumeGroup::report() const {
    if (auto report = metadata_.read()) return std::move(*report);
    VgReport report = report_by_lvm();
    metadata_.compare(report);
    return report;
}

VgReport VolumeGroup::report_by_lvm() const {
    Command command = tool_.reading(report_command(name_));
    command.environment.emplace_back("LVM_REPORT_FD=3");
    command.has_report = true;
    const CommandResult result = tool_.run_to_success("report", name_, command);
    if (result.cut) throw BadReport{name_, "the whole", "the report is too long"};
    return parse_report(result.report, name_);
}

Stamp VolumeGroup::stamp() const {
    if (const auto stamp = metadata_.stamp()) return *stamp;
    Command command = tool_.reading(stamp_command(name_));
    command.environment.emplace_back("LVM_REPORT_FD=3");
    command.has_report = true;
    return parse_stamp(tool_.run_to_success("read sequence number", name_, command).report, name_);
}

void VolumeGroup::perform(const Change& change) const {
    for (int number = 1;; ++number) {
        const Command command = tool_.changing(change.words);
        const CommandResult result = tool_.run(command);
        if (result.status == 0) return;
        if (change.done(report_by_lvm())) {
            log::notice("lvm", "a command failed, but what it was for is done object=" + change.object +
                                   " command=" + command.program() + " status=" + std::to_string(result.status) +
                                   " message=\"" + telling_line(result) + "\"");
            return;
        }
        const bool may_pass = change.persistence == Change::Persistence::always || is_metadata_in_flux(result);
        if (number == attempts || !may_pass) throw CommandFailed{change.attempt, change.object, command, result};
        tool_.pause(between_attempts);
    }
}

void VolumeGroup::create(const std::string& lv, Extents size, const std::vector<std::string>& tags,
                         Activate activate) const {
    require_lv_name(name_, lv);
    std::vector<std::string> words{"lvcreate", "--type",
                                   "linear",   activate == Activate::yes ? "-ay" : "-an",
                                   "-Wn",      "-Zn",
                                   "-n",       lv,
                                   "-l",       std::to_string(size.count())};
    for (const std::string& tag : tags) {
        require_tag(tag);
        words.insert(words.end(), {"--addtag", tag});
    }
    words.push_back(name_);
    perform({.attempt = "create LV",
             .object = qualified(name_, lv),
             .words = std::move(words),
             .done = [&](const VgReport& now) {
                 if (now.find(lv) == nullptr && size > now.free)
                     throw NoSpace{qualified(name_, lv), now.to_bytes(size), now.to_bytes(now.free)};
                 return false; // one that is there now may be anybody's
             }});
}

void VolumeGroup::remove(std::span<const std::string> lvs) const {
    if (lvs.empty()) return;
    std::vector<std::string> words{"lvremove", "-f"};
    for (const std::string& lv : lvs) {
        require_lv_name(name_, lv);
        words.push_back(qualified(name_, lv));
    }
    perform({.attempt = "remove LV",
             .object = qualified(name_, lvs.front()) + (lvs.size() > 1 ? " and others" : ""),
             .words = std::move(words),
             .done =
                 [&](const VgReport& now) {
                     return std::ranges::none_of(lvs, [&](const std::string& lv) { return now.find(lv) != nullptr; });
                 },
             .persistence = Change::Persistence::always});
}

void VolumeGroup::rename(const std::string& from, const std::string& to) const {
    require_lv_name(name_, from);
    require_lv_name(name_, to);
    if (from == to) return;
    perform({.attempt = "rename LV to " + to,
             .object = qualified(name_, from),
             .words = {"lvrename", name_, from, to},
             .done = [&](const VgReport& now) {
                 if (now.find(from) == nullptr && now.find(to) == nullptr)
                     throw NotFound{qualified(name_, from), "there is no such LV"};
                 return now.find(from) == nullptr;
             }});
}

void VolumeGroup::resize(const char* program, const std::string& lv, Extents size) const {
    require_lv_name(name_, lv);
    std::vector<std::string> words{program, "-l", std::to_string(size.count()), qualified(name_, lv)};
    const bool grows = std::string_view{program} == "lvextend";
    if (!grows) words.insert(words.begin() + 1, "-f"); // nobody is there to answer a question
    perform({.attempt = std::string{grows ? "grow" : "shrink"} + " LV to " + std::to_string(size.count()) + " extents",
             .object = qualified(name_, lv),
             .words = std::move(words),
             .done = [&](const VgReport& now) {
                 const LvRow& row = now.at(lv);
                 if (row.size == now.to_bytes(size)) {
                     refresh(lv); // a command that was killed may have left another table than the metadata say
                     return true;
                 }
                 const bool possible =
                     !grows || row.size > now.to_bytes(size) || now.to_bytes(size) - row.size <= now.to_bytes(now.free);
                 if (!possible)
                     throw NoSpace{qualified(name_, lv), now.to_bytes(size) - row.size, now.to_bytes(now.free)};
                 return false;
             }});
}

void VolumeGroup::grow(const std::string& lv, Extents size) const {
    resize("lvextend", lv, size);
}

void VolumeGroup::shrink(const std::string& lv, Extents size) const {
    resize("lvreduce", lv, size);
}

namespace {

std::vector<std::string> edit_words(const std::string& object, const LvEdit& edit) {
    std::vector<std::string> words{"lvchange"};
    const auto add = [&](const char* option, const std::vector<std::string>& tags) {
        for (const std::string& tag : tags) {
            require_tag(tag);
            words.insert(words.end(), {option, tag});
        }
    };
    add("--addtag", edit.add_tags);
    add("--deltag", edit.remove_tags);
    if (edit.permission) words.insert(words.end(), {"-p", *edit.permission == Permission::writable ? "rw" : "r"});
    words.push_back(object);
    return words;
}

bool is_edited(const LvRow& row, const LvEdit& edit) {
    const auto has = [&](const std::string& tag) { return row.has_tag(tag); };
    return std::ranges::all_of(edit.add_tags, has) && std::ranges::none_of(edit.remove_tags, has) &&
           (!edit.permission || row.permission == *edit.permission);
}

} // namespace

void VolumeGroup::edit(const std::string& lv, const LvEdit& edit) const {
    require_lv_name(name_, lv);
    const bool has_tags = !edit.add_tags.empty() || !edit.remove_tags.empty();
    if (!has_tags && !edit.permission) return;
    LvEdit rest = edit;
    bool permission_stands = false;
    const auto once = [&] {
        perform({.attempt = "edit LV",
                 .object = qualified(name_, lv),
                 .words = edit_words(qualified(name_, lv), rest),
                 .done = [&](const VgReport& now) {
                     permission_stands = rest.permission && now.at(lv).permission == *rest.permission;
                     return is_edited(now.at(lv), edit);
                 }});
    };
    try {
        once();
    } catch (const CommandFailed&) {
        // lvchange fails on a permission that is set already. 2.03.16 edits the tags all the same; that others do is
        // not relied on.
        if (!has_tags || !permission_stands) throw;
        rest.permission.reset();
        once();
    }
}

void VolumeGroup::run(const std::string& attempt, std::span<const std::string> lvs, const char* option) const {
    std::vector<std::string> words{"lvchange", option};
    for (const std::string& lv : lvs) {
        require_lv_name(name_, lv);
        words.push_back(qualified(name_, lv));
    }
    const std::string object = qualified(name_, lvs.front()) + (lvs.size() > 1 ? " and others" : "");
    static_cast<void>(tool_.run_to_success(attempt, object, tool_.changing(std::move(words)))); // may be repeated
}

void VolumeGroup::activate(const std::string& lv) const {
    run("activate LV", {&lv, 1}, "-ay");
}

void VolumeGroup::deactivate(std::span<const std::string> lvs) const {
    run("deactivate LV", lvs, "-an");
}

void VolumeGroup::refresh(const std::string& lv) const {
    run("refresh LV", {&lv, 1}, "--refresh");
}

void VolumeGroup::make_durable(const VgReport& report) const {
    for (const PvRow& pv : report.pvs) {
        if (pv.missing) continue;
        const UniqueFd fd{::open(pv.name.c_str(), O_RDONLY | O_CLOEXEC)};
        if (!fd) throw SystemError::from_errno("open PV", pv.name);
        if (::fsync(fd.get()) != 0) throw SystemError::from_errno("flush PV", pv.name);
    }
}

} // namespace coppice::lvm
