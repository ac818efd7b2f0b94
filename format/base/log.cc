#include "format/base/log.h"

#include "format/base/printable.h"

#include <boost/log/attributes/clock.hpp>
#include <boost/log/core.hpp>
#include <boost/log/expressions.hpp>
#include <boost/log/sinks/basic_sink_backend.hpp>
#include <boost/log/sinks/sync_frontend.hpp>
#include <boost/log/sinks/text_ostream_backend.hpp>
#include <boost/log/sources/record_ostream.hpp>
#include <boost/log/sources/severity_channel_logger.hpp>
#include <boost/log/support/date_time.hpp>
#include <boost/make_shared.hpp>

#include <cstdlib>
#include <iostream>
#include <mutex>
#include <syslog.h>
#include <utility>

namespace coppice::log {
namespace {

namespace logging = boost::log;
namespace expr = boost::log::expressions;

using Logger = logging::sources::severity_channel_logger_mt<Severity, std::string>;

void format_for_systemd(const logging::record_view& record, logging::formatting_ostream& out) {
    const auto severity = record["Severity"].extract<Severity>();
    out << '<' << static_cast<int>(severity.get()) << '>' << record["Channel"].extract<std::string>() << ": "
        << record[expr::smessage];
}

using StderrSink = logging::sinks::synchronous_sink<logging::sinks::text_ostream_backend>;
boost::shared_ptr<StderrSink> stderr_sink;

void install(Severity least) {
    using Backend = logging::sinks::text_ostream_backend;
    auto backend = boost::make_shared<Backend>();
    backend->add_stream(boost::shared_ptr<std::ostream>{&std::cerr, [](std::ostream*) {}});
    backend->auto_flush(true);
    auto sink = boost::make_shared<StderrSink>(backend);
    sink->set_filter(expr::attr<Severity>("Severity") <= least);
    // systemd sets this for a service whose stderr goes to its journal, which adds the time itself.
    if (std::getenv("JOURNAL_STREAM") != nullptr && std::getenv("INVOCATION_ID") != nullptr)
        sink->set_formatter(&format_for_systemd);
    else
        sink->set_formatter(expr::stream << expr::attr<std::string>("Channel") << ": " << expr::smessage);
    if (const auto former = std::exchange(stderr_sink, sink)) logging::core::get()->remove_sink(former);
    logging::core::get()->add_sink(sink);
}

/// syslog(3), which finds the host's daemon itself, and goes on without one. Boost's own backend cannot set a name.
class HostLogBackend final : public logging::sinks::basic_formatted_sink_backend<char> {
public:
    HostLogBackend() { ::openlog("SMGC", LOG_PID, LOG_LOCAL2); }
    void consume(const logging::record_view& record, const std::string& line) {
        ::syslog(static_cast<int>(record["Severity"].extract<Severity>().get()), "%s", line.c_str());
    }
};

std::once_flag default_installed;

} // namespace

void start(Severity least) {
    std::call_once(default_installed, [] {});
    install(least);
}

void start_host_log(Severity least) {
    auto sink = boost::make_shared<logging::sinks::synchronous_sink<HostLogBackend>>();
    sink->set_filter(expr::attr<Severity>("Severity") <= least);
    sink->set_formatter(expr::stream << expr::attr<std::string>("Channel") << ": " << expr::smessage);
    logging::core::get()->add_sink(sink);
}

void write(Severity severity, std::string_view channel, std::string_view line) {
    std::call_once(default_installed, [] { install(Severity::warning); });
    Logger logger{logging::keywords::channel = std::string{channel}};
    BOOST_LOG_SEV(logger, severity) << printable(line); // names and reasons come from others
}

} // namespace coppice::log
