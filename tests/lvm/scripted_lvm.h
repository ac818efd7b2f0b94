// LVM as a script: answers to the commands that a test expects, and a record of what happened in which order.
#pragma once

#include "lvm/command.h"
#include "lvm/locks.h"
#include "lvm/report.h"
#include "lvm/tool.h"

#include <deque>
#include <functional>
#include <map>
#include <set>

namespace coppice::lvm::test {

/// What happened, in order: "run lvchange -ay VG/a", "take lvm-SR/a", "give lvm-SR/a", "turn", "end of turn", "pause
/// 1000".
using Events = std::vector<std::string>;

/// Fails the test where a command comes that is not the next of the script, or where some of the script is left.
class ScriptedRunner final : public CommandRunner {
public:
    explicit ScriptedRunner(Events& events) : events_{events} {}
    ~ScriptedRunner() override;

    /// The next command is this: program and arguments, without its directory. What stands in `while_running` happens
    /// first.
    void expect(std::string text, CommandResult result = {}, std::function<void()> while_running = {});
    /// Commands that begin with this are answered whenever they come, and not recorded.
    void always(std::string start, std::function<CommandResult()> answer);

    CommandResult run(const Command& command) override;

    std::vector<Command> ran; ///< those that were expected

private:
    struct Step {
        std::string text;
        CommandResult result;
        std::function<void()> while_running;
    };

    Events& events_;
    std::deque<Step> script_;
    std::vector<std::pair<std::string, std::function<CommandResult()>>> standing_;
};

class RecordedTurns final : public CommandLock {
public:
    explicit RecordedTurns(Events& events) : events_{events} {}
    std::unique_ptr<HeldLock> take() override;

private:
    Events& events_;
};

class RecordedLocks final : public NamedLocks {
public:
    explicit RecordedLocks(Events& events) : events_{events} {}
    /// Throws Busy where it is held, or where `busy` names it.
    std::unique_ptr<HeldLock> take(const std::string& space, const std::string& name) override;

    std::set<std::string> busy;
    std::set<std::string> held;

private:
    Events& events_;
};

/// A tool over a script; its pauses are events, and its devices live in `devices`.
struct Scripted {
    explicit Scripted(const std::string& devices = "/absent");

    Events events;
    ScriptedRunner runner{events};
    RecordedTurns turns{events};
    RecordedLocks locks{events};
    Tool tool;
};

CommandResult failed(std::string message, int status = 5);
CommandResult reported(std::string report);
CommandResult printed(std::string output);

/// What lvm fullreport writes about such a group. Whatever lies in a report can be said, also nonsense.
std::string report_json(const VgReport& report);
std::string stamp_json(const VgReport& report);

/// "VG" of two PVs, /dev/pv0 and /dev/pv1, with 100 extents of 4 MiB each, sequence number 7.
VgReport empty_group();
/// A linear LV of one segment.
LvRow linear(const std::string& name, std::uint64_t extents, std::size_t pv = 0, std::uint64_t first = 0);
/// `report` with these.
VgReport with(VgReport report, std::vector<LvRow> lvs);

} // namespace coppice::lvm::test
