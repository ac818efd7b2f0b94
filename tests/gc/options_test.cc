#include "gc/base/options.h"
#include "gc/base/text_output.h"
#include "gc/service/json_output.h"
#include "gc/service/work_report.h"
#include "gc/verbs/verb_support.h"

#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <gtest/gtest.h>

#include <sstream>

namespace coppice {
namespace {

using namespace std::chrono_literals;
namespace po = boost::program_options;

po::options_description own() {
    po::options_description options;
    options.add_options()("verify", po::bool_switch())("rate", po::value<std::string>());
    return options;
}

TEST(Options, ReadsArgumentsAndOptionsInAnyOrder) {
    const Invocation got =
        parse_invocation({"--verify", "sr", "-vv", "--rate=5M", "vdi", "--json", "-v", "--", "-x"}, own());
    EXPECT_EQ(got.arguments, (std::vector<std::string>{"sr", "vdi", "-x"}));
    EXPECT_TRUE(got.flag("verify"));
    EXPECT_TRUE(got.common.json);
    EXPECT_EQ(got.common.verbosity, 3U);
    EXPECT_EQ(got.text("rate"), "5M");
    EXPECT_EQ(got.common.state_dir, "/var/lib/coppice");
}

TEST(Options, RefusesAbbreviationsAndNonsense) {
    for (const char* word : {"--ver", "--verif", "--unknown", "-x", "--json=1", "--color=blue", "--rate"})
        EXPECT_THROW(parse_invocation({"sr", word}, own()), UsageError) << word;
    EXPECT_THROW(parse_invocation({"--rate=1", "--rate=2"}, own()), UsageError);
}

TEST(Options, ReadsSizes) {
    EXPECT_EQ(parse_size("0", "rate"), 0U);
    EXPECT_EQ(parse_size("4096", "rate"), 4096U);
    EXPECT_EQ(parse_size("2K", "rate"), 2048U);
    EXPECT_EQ(parse_size("3MiB", "rate"), 3U << 20);
    EXPECT_EQ(parse_size("1T", "rate"), 1ULL << 40);
    for (const char* text : {"", "K", "-1", "1.5G", "1KB", "1KK", "99999999999999999999", "99999999999T", " 1"})
        EXPECT_THROW(parse_size(text, "rate"), UsageError) << text;
}

TEST(TextOutput, WritesDurations) {
    EXPECT_EQ(human_duration(7s), "0:07");
    EXPECT_EQ(human_duration(750s), "12:30");
    EXPECT_EQ(human_duration(11100s), "3:05:00");
}

TEST(TextOutput, CountsColumnsNotBytes) {
    EXPECT_EQ(display_width("├─ a"), 4U);
    EXPECT_EQ(padded("├─", 4), "├─  ");
    EXPECT_EQ(padded_left("7", 3), "  7");
    EXPECT_EQ(padded("long", 2), "long");
}

TEST(JsonOutput, ReplacesWhatIsNotUtf8) {
    EXPECT_EQ(valid_utf8("a\xc3\xa4\xe2\x82\xac\xf0\x9f\x8c\xb3"), "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x8c\xb3");
    const std::string replacement = "\xef\xbf\xbd";
    EXPECT_EQ(valid_utf8("\xff"), replacement);
    EXPECT_EQ(valid_utf8("\xc3"), replacement);
    EXPECT_EQ(valid_utf8("\xc0\xaf"), replacement + replacement);                                     // overlong
    EXPECT_EQ(valid_utf8("\xed\xa0\x80"), replacement + replacement + replacement);                   // surrogate
    EXPECT_EQ(valid_utf8("\xf4\x90\x80\x80"), replacement + replacement + replacement + replacement); // above U+10FFFF
}

TEST(JsonOutput, PrintsDocumentsThatCanBeReadAgain) {
    boost::json::object document = new_document();
    document["list"] = boost::json::array{1, "two", boost::json::object{}, boost::json::array{}, nullptr};
    document["text"] = "quote \" and \x01";
    std::ostringstream out;
    print_json(out, document);
    EXPECT_EQ(boost::json::parse(out.str()), boost::json::value(document));
    EXPECT_EQ(out.str().substr(0, 14), "{\n  \"schema\": ");
}

TEST(ExitStatus, FollowsFromTheKindOfError) {
    const auto status = [](const std::exception& error) { return failure_of(error, "object").status; };
    EXPECT_EQ(status(UsageError{"x"}), ExitStatus::usage);
    EXPECT_EQ(status(CorruptImage{"a", "b"}), ExitStatus::damage_found);
    EXPECT_EQ(status(Refused{"siblings", "a", "b"}), ExitStatus::refused);
    EXPECT_EQ(failure_of(Refused{"siblings", "a", "b"}, "o").code, "siblings");
    EXPECT_EQ(status(NotFound{"a", "b"}), ExitStatus::not_found);
    EXPECT_EQ(status(Busy{"a", "b"}), ExitStatus::busy);
    EXPECT_EQ(status(StopRequested{}), ExitStatus::busy);
    EXPECT_EQ(status(NoSpace{"a", 2_B, 1_B}), ExitStatus::no_space);
    EXPECT_EQ(status(SystemError{"a", "b", std::make_error_code(std::errc::no_space_on_device)}), ExitStatus::no_space);
    EXPECT_EQ(status(SystemError{"a", "b", std::make_error_code(std::errc::permission_denied)}), ExitStatus::failed);
    EXPECT_EQ(status(std::logic_error{"x"}), ExitStatus::failed);
}

TEST(ExitStatusOfSteps, FailureIsNoRefusal) {
    EXPECT_EQ(status_of_reason("failed"), ExitStatus::failed);
    EXPECT_EQ(status_of_reason("no-space"), ExitStatus::no_space);
    EXPECT_EQ(status_of_reason("attached"), ExitStatus::busy);
    EXPECT_EQ(status_of_reason("siblings"), ExitStatus::refused);
}

} // namespace
} // namespace coppice
