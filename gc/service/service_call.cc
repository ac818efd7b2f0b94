#include "gc/service/service_call.h"

#include "format/base/unique_fd.h"
#include "gc/base/text_output.h"
#include "gc/service/json_output.h"
#include "gc/service/progress.h"
#include "gc/service/service.h"

#include <boost/json.hpp>

#include <cstdlib>
#include <fcntl.h>
#include <iostream>
#include <pwd.h>
#include <sstream>

namespace coppice {

std::optional<ControlClient> find_service(const Invocation& invocation, const SrLocation& sr) {
    return ControlClient::connect(control_socket(invocation.common.run_dir, state_key(sr)));
}

ExitStatus print_reply(const Reply& reply, bool json) {
    if (json) {
        if (!reply.document.empty())
            print_json(std::cout, reply.document);
        else if (reply.failure)
            print_json(std::cout, error_json(*reply.failure));
    } else {
        std::cout << reply.text;
    }
    std::cout.flush();
    if (reply.failure)
        std::cerr << "coppice: " << printable(reply.failure->text) << " (" << reply.failure->code << ")\n";
    return reply.status;
}

Reply let_work(ControlClient& service, const WorkWish& wish) {
    ProgressDisplay progress{std::cerr, progress_style()};
    return service.call(to_request(wish), [&progress](const boost::json::object& what) { replay(what, progress); });
}

std::optional<std::string> who_works(const Invocation& invocation, const SrLocation& sr) {
    const std::string path = invocation.common.run_dir + "/" + state_key(sr) + ".lock";
    const UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
    if (!file) return std::nullopt; // never made: nobody has worked here yet
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (::fcntl(file.get(), F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return std::nullopt;
    std::array<char, 256> content{};
    const ssize_t length = ::pread(file.get(), content.data(), content.size() - 1, 0);
    std::istringstream fields{std::string(content.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0)))};
    std::string pid;
    std::string verb;
    fields >> pid >> verb;
    return "coppice " + verb + " (pid " + pid + ")";
}

std::string caller() {
    if (const char* const sudo = std::getenv("SUDO_USER"); sudo != nullptr && *sudo != '\0') return sudo;
    const passwd* const entry = ::getpwuid(::getuid());
    return entry == nullptr ? std::to_string(::getuid()) : entry->pw_name;
}

} // namespace coppice
