// The parts of the service that need no process: times, messages, set-up, and what the journal makes of a policy.
#include "gc/cycle/cycle.h"
#include "gc/cycle/journal_director.h"
#include "gc/service/control_message.h"
#include "gc/service/service_config.h"
#include "gc/service/status_board.h"
#include "gc/service/status_report.h"
#include "gc/service/work_message.h"
#include "gc/service/worker.h"
#include "tests/support/temporary_directory.h"

#include <boost/json.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/variables_map.hpp>
#include <gtest/gtest.h>

#include <fstream>
#include <future>

namespace coppice {
namespace {

namespace json = boost::json;
namespace po = boost::program_options;
using coppice::test::TemporaryDirectory;

// ---- times ----

TEST(Durations, AreReadWithTheirUnit) {
    EXPECT_EQ(parse_duration("90"), 90);
    EXPECT_EQ(parse_duration("90s"), 90);
    EXPECT_EQ(parse_duration("15m"), 900);
    EXPECT_EQ(parse_duration("2h"), 7200);
    EXPECT_EQ(parse_duration("3d"), 259'200);
    EXPECT_EQ(parse_duration("1w"), 604'800);
    for (const char* const wrong :
         {"", "s", "-5", "+5", " 5", "5 m", "5x", "5mm", "1.5h", "99999999999999999999", "9999999w"})
        EXPECT_THROW(parse_duration(wrong), std::invalid_argument) << wrong;
}

TEST(Times, AreReadAsTheyAreWritten) {
    EXPECT_EQ(to_rfc3339(0), "1970-01-01T00:00:00Z");
    for (const UnixSeconds time : {UnixSeconds{0}, UnixSeconds{1'700'000'000}, UnixSeconds{4'102'444'800}})
        EXPECT_EQ(parse_time(to_rfc3339(time)), time);
    EXPECT_EQ(parse_time("2026-01-31"), parse_time("2026-01-31T00:00:00Z"));
    EXPECT_EQ(parse_time("2026-01-31T02:30:00+02:30"), parse_time("2026-01-31T00:00:00Z"));
    EXPECT_EQ(parse_time("2026-01-30T19:00:00-05:00"), parse_time("2026-01-31T00:00:00Z"));
    for (const char* const wrong :
         {"", "yesterday", "2026-13-01", "2026-01-31T25:00:00Z", "2026-01-31T00:00:00 CET", "2026-01-31x"})
        EXPECT_THROW(parse_time(wrong), std::invalid_argument) << wrong;
}

TEST(RetryDelay, DoublesUpToSixHours) {
    EXPECT_EQ(retry_delay(1), 60);
    EXPECT_EQ(retry_delay(2), 120);
    EXPECT_EQ(retry_delay(5), 960);
    EXPECT_EQ(retry_delay(9), 15'360);
    EXPECT_EQ(retry_delay(10), 21'600);
    EXPECT_EQ(retry_delay(1'000'000), 21'600);
}

// ---- messages ----

TEST(Requests, AreOfOurVersionAndHaveAVerb) {
    EXPECT_EQ(text_argument(parse_request(R"({"version":1,"verb":"status"})"), "verb"), "status");
    for (const char* const wrong :
         {"", "7", "[]", "{}", R"({"version":1})", R"({"verb":"status"})", R"({"version":2,"verb":"status"})",
          R"({"version":"1","verb":"status"})", R"({"version":1,"verb":"status"} x)", R"({"version":1,"verb":["a"]})"})
        EXPECT_THROW(parse_request(wrong), Error) << wrong;
}

TEST(Replies, ComeBackAsTheyWereSent) {
    Reply reply;
    reply.status = ExitStatus::no_space;
    reply.document = {{"schema", 1}, {"done", json::array{}}};
    reply.text = "a line\n";
    reply.failure = Failure{ExitStatus::no_space, "no-space", "too little is free", "vdi"};
    const Reply same = reply_from(json::parse(to_line(to_json(reply))).as_object());
    EXPECT_EQ(same.status, reply.status);
    EXPECT_EQ(same.document, reply.document);
    EXPECT_EQ(same.text, reply.text);
    ASSERT_TRUE(same.failure);
    EXPECT_EQ(same.failure->code, "no-space");
    EXPECT_EQ(same.failure->text, reply.failure->text);
    EXPECT_EQ(same.failure->object, "vdi");
    EXPECT_THROW(reply_from({{"status", 99}}), Error);
    EXPECT_THROW(reply_from({}), Error);
}

Step some_step() {
    Step step;
    step.kind = StepKind::coalesce;
    step.vdi = "a";
    step.into = "b";
    step.emptied = {"a"};
    step.survivor = "b";
    step.copy_bytes = 7_B;
    return step;
}

TEST(Work, IsUnderstoodAsItWasMeant) {
    WorkWish wish;
    wish.verb = "coalesce";
    wish.policy.direction = DirectionPolicy::up;
    wish.policy.collect = false;
    wish.policy.leaf_coalesce = false;
    wish.merge.verify = VerifyDepth::data;
    wish.rate = 4096_B;
    wish.vdis = {"one", "two"};
    const WorkWish same = work_wish(parse_request(to_line(to_request(wish))));
    EXPECT_EQ(same.verb, "coalesce");
    EXPECT_EQ(same.policy.direction, DirectionPolicy::up);
    EXPECT_FALSE(same.policy.collect);
    EXPECT_TRUE(same.policy.coalesce);
    EXPECT_FALSE(same.policy.leaf_coalesce);
    EXPECT_EQ(same.merge.verify, VerifyDepth::data);
    EXPECT_EQ(same.rate, wish.rate);
    EXPECT_EQ(same.vdis, wish.vdis);
}

/// Writes down what it is told.
class Heard final : public Progress {
public:
    void began(const Step& step, std::size_t index, std::size_t count) override {
        text += "began " + step.vdi + ' ' + std::to_string(index) + '/' + std::to_string(count) + ' ';
    }
    void advanced(Bytes done, Bytes total) override {
        text += std::to_string(done.count()) + '/' + std::to_string(total.count()) + ' ';
    }
    void ended(const StepResult& result) override {
        text += "ended " + result.step.vdi + ' ' + std::to_string(result.copied.count()) +
                (result.resumed ? " again " : " ") + result.error;
    }
    std::string text;
};

TEST(Work, TellsItsProgressOverTheSocket) {
    StepResult result;
    result.step = some_step();
    result.copied = 7_B;
    result.resumed = true;
    result.error = "no";
    Heard heard;
    for (const json::object& message :
         {began_json(some_step(), 1, 3), advanced_json(2_B, 7_B), ended_json(result), json::object{{"event", "new"}}})
        replay(json::parse(to_line(message)).as_object(), heard);
    EXPECT_EQ(heard.text, "began a 1/3 2/7 ended a 7 again no");
}

// ---- what becomes of an order ----

StepResult result_of(const std::string& vdi, const std::string& error = {}) {
    StepResult result;
    result.step = some_step();
    result.step.vdi = vdi;
    result.error = error;
    return result;
}

std::string told(const Outcome& outcome) {
    std::string text = outcome.stopped ? "stopped:" : "ended:";
    for (const StepResult& result : outcome.done)
        text += " " + result.step.vdi;
    for (const StepResult& result : outcome.failed)
        text += " " + result.step.vdi + "(" + result.error + ")";
    for (const Skipped& skipped : outcome.skipped)
        text += " -" + skipped.vdi;
    return text;
}

TEST(InterruptedOrder, IsReportedWithAllItsParts) {
    const Outcome first{{result_of("a")}, {result_of("b", "no"), result_of("c", "no")}, {{"x", "held", ""}}, true};
    EXPECT_EQ(told(joined(first, {{result_of("b")}, {result_of("d", "no")}, {{"y", "held", ""}}, false})),
              "ended: a b c(no) d(no) -y");
    EXPECT_EQ(told(joined(first, {{}, {result_of("c", "still")}, {}, true})), "stopped: a b(no) c(still) -x");
    EXPECT_EQ(told(joined({}, first)), told(first));
}

TEST(Worker, EndsWhatIsQueuedWhenItIsDismissed) {
    StatusBoard board;
    const TemporaryDirectory directory;
    Worker worker{directory / "no-sr", {}, board};
    std::promise<void> begun;
    std::promise<void> dismissed;
    std::promise<WorkResult> second;
    Work running;
    running.prepare = [&] {
        begun.set_value();
        dismissed.get_future().wait();
    };
    Work queued;
    queued.prepare = [] { ADD_FAILURE() << "it was begun"; };
    queued.finished = [&](WorkResult result) { second.set_value(std::move(result)); };
    worker.submit(std::move(running));
    begun.get_future().wait();
    worker.submit(std::move(queued));
    worker.dismiss();
    dismissed.set_value();
    const WorkResult result = second.get_future().get();
    EXPECT_TRUE(result.interrupted);
    ASSERT_TRUE(result.outcome);
    EXPECT_TRUE(result.outcome->stopped);
}

// ---- the status ----

TEST(StatusBoard, CountsTheRateFromWhereThisRunBegan) {
    std::chrono::steady_clock::time_point now{};
    StatusBoard board{[&now] { return now; }};
    board.step_began(some_step(), 1, 1);
    board.step_advanced(Bytes{1'000'000}, Bytes{5'000'000}); // done by an earlier run
    now += std::chrono::seconds{10};
    board.step_advanced(Bytes{2'000'000}, Bytes{5'000'000});
    const ServiceStatus status = board.status();
    ASSERT_TRUE(status.operation);
    EXPECT_EQ(status.state, ServiceState::working);
    EXPECT_EQ(status.operation->rate(), 100'000U);
    EXPECT_EQ(status.operation->eta_seconds(), 30);
    board.step_ended();
    EXPECT_FALSE(board.status().operation);
}

TEST(StatusJson, NamesEveryPromisedField) {
    StatusBoard board;
    board.step_began(some_step(), 1, 1);
    const json::object document = status_json("sr", board.status());
    for (const char* const field : {"schema", "sr", "state", "operation", "skipped"})
        EXPECT_TRUE(document.contains(field)) << field;
    const json::object& operation = document.at("operation").as_object();
    for (const char* const field : {"op", "vdi", "into", "bytes_done", "bytes_total", "rate", "eta_seconds"})
        EXPECT_TRUE(operation.contains(field)) << field;
    EXPECT_TRUE(operation.at("eta_seconds").is_null());
}

// ---- the set-up ----

class Config : public testing::Test {
protected:
    ServiceConfig load(const std::vector<std::string>& words) {
        po::options_description options;
        describe_config(options);
        po::variables_map values;
        po::store(po::command_line_parser(words).options(options).run(), values);
        return load_config(values, directory_ / "", "the-sr");
    }
    void write(const std::string& name, const std::string& text) { std::ofstream{directory_ / name} << text; }

    TemporaryDirectory directory_;
};

TEST_F(Config, HasDefaults) {
    const ServiceConfig config = load({});
    EXPECT_EQ(config.idle, 300);
    EXPECT_FALSE(config.rate);
    EXPECT_FALSE(config.window);
    EXPECT_EQ(config.danger.chain_depth, 24U);
    EXPECT_EQ(config.jobs, 1U);
    EXPECT_EQ(load({"--jobs", "64"}).jobs, 64U);
}

TEST_F(Config, TakesTheCommandLineThenTheSrThenAll) {
    write("coppice.conf", "idle = 1h\nrate = 1M\nwindow = 22:00-06:00\n");
    write("the-sr.conf", "idle = 2h\nrate = 2M\n");
    write("other-sr.conf", "danger-depth = 3\n");
    const ServiceConfig config = load({"--rate", "3M"});
    EXPECT_EQ(config.idle, 7200);
    EXPECT_EQ(config.rate, Bytes{3 << 20});
    ASSERT_TRUE(config.window);
    EXPECT_EQ(config.window->to_text(), "22:00-06:00");
    EXPECT_EQ(config.danger.chain_depth, 24U);
}

TEST_F(Config, SaysWhatIsWrong) {
    for (const auto& [option, value] : {std::pair{"--idle", "0"},
                                        {"--idle", "soon"},
                                        {"--rate", "0"},
                                        {"--window", "25:00-26:00"},
                                        {"--window", "night"},
                                        {"--danger-depth", "1"},
                                        {"--danger-depth", "many"},
                                        {"--danger-depth", "9x"},
                                        {"--jobs", "0"},
                                        {"--jobs", "65"}})
        EXPECT_THROW(load({option, value}), UsageError) << option << ' ' << value;
    write("the-sr.conf", "idel = 5\n");
    try {
        load({});
        FAIL() << "an unknown name was taken";
    } catch (const UsageError& error) {
        EXPECT_NE(std::string{error.what()}.find("the-sr.conf"), std::string::npos);
        EXPECT_NE(std::string{error.what()}.find("idel"), std::string::npos);
    }
}

// ---- what the journal makes of a policy ----

class Directed : public testing::Test {
protected:
    JournalDirector director(bool patient = true) {
        WorkOrder order;
        order.patient = patient;
        return {order, journal_.get(), true, [this] { return WallTime{now_, 0}; }};
    }
    void fail_once() {
        StepResult result;
        result.step = some_step();
        result.error = "it did not work";
        result.reason = "attached";
        director().ended(result);
    }

    TemporaryDirectory directory_;
    std::unique_ptr<journal::Journal> journal_ =
        journal::Journal::open(directory_ / "journal.db", journal::Journal::Create::yes);
    UnixSeconds now_ = 1'700'000'000;
};

TEST_F(Directed, LeavesAFailedStepAloneForLongerAndLonger) {
    const std::pair<std::string, std::string> step{"a", "b"};
    for (const UnixSeconds delay : {60, 120, 240}) {
        fail_once();
        EXPECT_TRUE(director().policy().retry_later.contains(step));
        now_ += delay - 1;
        EXPECT_TRUE(director().policy().retry_later.contains(step)) << delay;
        now_ += 1;
        EXPECT_FALSE(director().policy().retry_later.contains(step)) << delay;
    }
    EXPECT_EQ(journal_->retries().at(0).attempts, 3U);
}

TEST_F(Directed, DoesNotWaitForAClockThatWasWrong) {
    const std::pair<std::string, std::string> step{"a", "b"};
    const UnixSeconds right = now_;
    now_ += UnixSeconds{10} * 365 * 24 * 3600;
    fail_once();
    EXPECT_TRUE(director().policy().retry_later.contains(step));
    now_ = right;
    EXPECT_FALSE(director().policy().retry_later.contains(step)) << "no delay is that long";
    fail_once();
    EXPECT_TRUE(director().policy().retry_later.contains(step));
}

TEST_F(Directed, DoesAtOnceWhatAnAdministratorAsksFor) {
    fail_once();
    EXPECT_TRUE(director(false).policy().retry_later.empty());
}

TEST_F(Directed, ForgetsAFailureThatIsOver) {
    fail_once();
    StepResult result;
    result.step = some_step();
    result.seconds = 2;
    result.copied = 7_B;
    director().ended(result);
    EXPECT_TRUE(journal_->retries().empty());
    ASSERT_EQ(journal_->speeds(10).size(), 1U);
    EXPECT_EQ(journal_->speeds(10)[0].kind, "copied");
    EXPECT_EQ(journal_->speeds(10)[0].bytes, 7_B);
}

TEST_F(Directed, KnowsHoldsUntilTheyExpire) {
    journal::Hold hold;
    hold.vdi = "a";
    hold.owner = "me";
    hold.created = now_;
    hold.expires = now_ + 10;
    journal_->add_hold(hold);
    EXPECT_TRUE(director(false).policy().holds.contains("a"));
    now_ += 10;
    EXPECT_FALSE(director(false).policy().holds.contains("a"));
}

TEST_F(Directed, PausesUntilItIsOver) {
    Pause pause;
    pause.until = now_ + 5;
    pause.owner = "me";
    pause.reason = "an upgrade";
    pause.until_danger = true;
    set_pause(*journal_, pause);
    EXPECT_EQ(current_pause(*journal_, now_), pause);
    EXPECT_FALSE(current_pause(*journal_, now_ + 5));
    set_pause(*journal_, std::nullopt);
    EXPECT_FALSE(current_pause(*journal_, now_));
}

TEST_F(Directed, TakesAPauseThatItCannotReadForAPause) {
    journal_->set_setting("pause", "{{{");
    EXPECT_TRUE(current_pause(*journal_, now_));
}

TEST_F(Directed, RemembersSinceWhenAVerdictStands) {
    Observation seen;
    TreeNode node;
    node.uuid = "a";
    seen.tree.nodes.push_back(node);
    director().planned(seen, {});
    const UnixSeconds first = now_;
    now_ += 100;
    director().planned(seen, {});
    const auto explained = explain_with_journal(seen, {}, {}, journal_.get(), now_);
    ASSERT_EQ(explained.size(), 1U);
    EXPECT_EQ(explained[0].since, first);
}

} // namespace
} // namespace coppice
