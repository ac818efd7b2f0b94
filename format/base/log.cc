#include "format/base/log.h"

#include <boost/log/attributes/clock.hpp>
#include <boost/log/core.hpp>
#include <boost/log/expressions.hpp>
#include <boost/log/sinks/sync_frontend.hpp>
#include <boost/log/sinks/text_ostream_backend.hpp>
#include <boost/log/sources/record_ostream.hpp>
#include <boost/log/sources/severity_channel_logger.hpp>
#include <boost/log/support/date_time.hpp>
#include <boost/make_shared.hpp>

#include <cstdlib>
#include <iostream>
#include <mutex>

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

void install(Severity least) {
    using Backend = logging::sinks::text_ostream_backend;
    auto backend = boost::make_shared<Backend>();
    backend->add_stream(boost::shared_ptr<std::ostream>{&std::cerr, [](std::ostream*) {}});
    backend->auto_flush(true);
    auto sink = boost::make_shared<logging::sinks::synchronous_sink<Backend>>(backend);
    sink->set_filter(expr::attr<Severity>("Severity") <= least);
    // systemd sets this for a service whose stderr goes to its journal, which adds the time itself.
    if (std::getenv("JOURNAL_STREAM") != nullptr && std::getenv("INVOCATION_ID") != nullptr)
        sink->set_formatter(&format_for_systemd);
    else
        sink->set_formatter(expr::stream << expr::attr<std::string>("Channel") << ": " << expr::smessage);
    logging::core::get()->remove_all_sinks();
    logging::core::get()->add_sink(sink);
}

std::once_flag default_installed;

} // namespace

void start(Severity least) {
    std::call_once(default_installed, [] {});
    install(least);
}

void write(Severity severity, std::string_view channel, std::string_view line) {
    std::call_once(default_installed, [] { install(Severity::warning); });
    Logger logger{logging::keywords::channel = std::string{channel}};
    BOOST_LOG_SEV(logger, severity) << line;
}

} // namespace coppice::log
