#include "lvm/tool.h"

#include "format/base/log.h"
#include "lvm/error.h"

namespace coppice::lvm {

Command Tool::prepare(std::vector<std::string> words, const std::string& configuration) const {
    Command command;
    const bool is_lvm = words.front() != "dmsetup";
    const bool frees = words.front() == "lvremove" || words.front() == "lvreduce";
    std::string settings = host_.settings;
    if (frees && host_.discards) settings += std::string{settings.empty() ? "" : " "} + "devices{issue_discards=1}";
    words.front() = host_.programs + "/" + words.front();
    command.arguments = std::move(words);
    if (is_lvm && !settings.empty()) {
        command.arguments.emplace_back("--config");
        command.arguments.push_back(settings);
    }
    command.environment = {"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LVM_SUPPRESS_FD_WARNINGS=1"};
    if (!configuration.empty()) command.environment.push_back("LVM_SYSTEM_DIR=" + configuration);
    command.environment.insert(command.environment.end(), host_.environment.begin(), host_.environment.end());
    return command;
}

Command Tool::reading(std::vector<std::string> words) const {
    Command command = prepare(std::move(words), host_.reading_configuration);
    command.kind = Command::Kind::reads;
    command.limit = host_.reading_limit;
    return command;
}

Command Tool::changing(std::vector<std::string> words) const {
    Command command = prepare(std::move(words), host_.changing_configuration);
    command.kind = Command::Kind::changes;
    command.limit = host_.changing_limit;
    return command;
}

CommandResult Tool::run(const Command& command) const {
    const auto turn = lock_.take();
    log::debug("lvm", "runs command=\"" + command.text() + "\"");
    return runner_.run(command);
}

CommandResult Tool::run_to_success(const std::string& attempt, const std::string& object,
                                   const Command& command) const {
    for (int number = 1;; ++number) {
        CommandResult result = run(command);
        if (result.status == 0) return result;
        if (number == attempts || !is_metadata_in_flux(result)) throw CommandFailed{attempt, object, command, result};
        pause_(between_attempts);
    }
}

} // namespace coppice::lvm
