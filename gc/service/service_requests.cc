// What the control socket asks of the service.
#include "coalesce/plan_text.h"
#include "format/base/error.h"
#include "format/base/log.h"
#include "gc/service/explain_sr.h"
#include "gc/service/json_output.h"
#include "gc/service/metrics.h"
#include "gc/service/pen.h"
#include "gc/service/resident_memory.h"
#include "gc/service/service.h"
#include "gc/service/status_report.h"
#include "gc/service/work_message.h"
#include "gc/service/work_report.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>

#include <algorithm>

namespace coppice {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;

constexpr std::chrono::milliseconds progress_interval{200};
/// Work ends between two batches, which takes less than a second unless the storage is very slow.
constexpr std::chrono::seconds longest_letting_go{10};

Reply failed_reply(const Failure& failure) {
    Reply reply;
    reply.failure = failure;
    reply.status = failure.status;
    return reply;
}

/// Sends what the worker tells to whoever asked for the work. Called by the worker.
class PeerProgress final : public Progress {
public:
    PeerProgress(asio::io_context& loop, std::shared_ptr<Conversation> peer) : loop_{loop}, peer_{std::move(peer)} {}

    void began(const Step& step, std::size_t index, std::size_t count) override {
        tell(began_json(step, index, count));
        first_ = true;
    }
    void advanced(Bytes done, Bytes total) override {
        const auto now = std::chrono::steady_clock::now();
        // The first tells from where a continued step goes on.
        if (!std::exchange(first_, false) && now - told_ < progress_interval && done != total) return;
        told_ = now;
        tell(advanced_json(done, total));
    }
    void ended(const StepResult& result) override { tell(ended_json(result)); }

private:
    void tell(json::object message) {
        asio::post(loop_, [peer = peer_, what = std::move(message)] { peer->progress(what); });
    }

    asio::io_context& loop_;
    std::shared_ptr<Conversation> peer_;
    std::chrono::steady_clock::time_point told_;
    bool first_ = true;
};

} // namespace

void Service::handle(const json::object& request, const std::shared_ptr<Conversation>& peer) {
    const std::string verb = text_argument(request, "verb").value_or("");
    log::debug("gc", "request: " + verb);
    if (verb == "status")
        answer_status(peer);
    else if (verb == "explain")
        answer_explain(request, peer);
    else if (verb == "coalesce" || verb == "collect" || verb == "run")
        answer_work(request, peer);
    else if (verb == "kick")
        answer_kick(request, peer);
    else if (verb == "metrics")
        answer_metrics(peer);
    else if (verb == "yield")
        answer_yield(peer);
    else if (is_pen_verb(verb))
        answer_pen(request, peer);
    else
        throw UsageError{"the service does not know the verb '" + verb + "'"};
}

void Service::answer_status(const std::shared_ptr<Conversation>& peer) {
    const UnixSeconds now = clock_().now;
    const ServiceStatus status = board_.status();
    Reply reply;
    reply.document = status_json(name_, status);
    reply.document["service"] = json::object{{"pid", ::getpid()}};
    json::array holds;
    reply.text = status_text(name_, status, now);
    if (journal_) {
        for (const journal::Hold& hold : journal_->holds(now)) {
            holds.push_back(hold_json(hold));
            reply.text += hold_line(hold);
        }
    }
    reply.document["holds"] = std::move(holds);
    peer->finish(reply);
}

/// Answers from another thread, because the SR may be slow.
void Service::look(std::function<Reply()> question, std::shared_ptr<Conversation> peer) {
    ++looks_;
    mind_readers();
    asio::post(lookers_, [this, question = std::move(question), peer = std::move(peer)] {
        Reply reply;
        try {
            reply = question();
        } catch (const std::exception& error) { // whatever it is, it is an answer
            reply = failed_reply(failure_of(error, name_));
        }
        return_free_memory();
        asio::post(loop_, [this, peer, reply = std::move(reply)] {
            --looks_;
            mind_readers();
            peer->finish(reply);
            if (stopping_ && !worker_->working()) loop_.stop();
        });
    });
}

void Service::answer_explain(const json::object& request, std::shared_ptr<Conversation> peer) {
    const std::string vdi = text_argument(request, "vdi").value_or("");
    const ServiceStatus status = board_.status();
    look(
        [this, vdi, status, order = everyday_order()] {
            const SrLocation sr = locate_sr(sr_);
            const Step* const running = status.operation ? &status.operation->step : nullptr;
            return explain_reply(explain_sr(sr, options_, order, running, status.next_cycle, clock_), vdi);
        },
        std::move(peer));
}

void Service::answer_work(const json::object& request, std::shared_ptr<Conversation> peer) {
    WorkWish wish = work_wish(request);
    Work work;
    work.verb = wish.verb;
    work.order.policy = wish.policy;
    work.order.danger = config_.danger;
    work.vdis = std::move(wish.vdis);
    work.merge = wish.merge;
    work.rate = wish.rate ? wish.rate : config_.rate;
    work.progress = std::make_shared<PeerProgress>(loop_, peer);
    carry_out(std::move(work), std::move(peer));
}

void Service::carry_out(Work work, std::shared_ptr<Conversation> peer, Outcome earlier) {
    work.finished = [this, work, peer = std::move(peer), earlier = std::move(earlier)](WorkResult result) {
        asio::post(loop_, [this, work, peer, earlier, ended = std::move(result)]() mutable {
            order_ended(work, peer, std::move(earlier), std::move(ended));
        });
    };
    ++orders_;
    mind_readers();
    // What an administrator waits for comes first; everyday work goes on behind it.
    if (cycle_running_ && orders_ == 1) worker_->interrupt();
    worker_->submit(std::move(work));
    tick();
}

/// An order that something has interrupted is begun again under what holds now: a pause ends it, a hold elsewhere does
/// not, and what was merged is not merged again.
void Service::order_ended(const Work& work, const std::shared_ptr<Conversation>& peer, Outcome earlier,
                          WorkResult result) {
    --orders_;
    count(result.sr_lock);
    mind_readers();
    work_ended();
    const bool began = result.outcome.has_value();
    Outcome outcome = began ? joined(std::move(earlier), std::move(*result.outcome)) : std::move(earlier);
    if (began && result.interrupted && outcome.stopped && !stopping_ && !yielding_until_) {
        Work rest = work;
        rest.order.policy = result.policy; // VDIs that were named may be gone by now, because they were merged
        rest.vdis.clear();
        carry_out(std::move(rest), peer, std::move(outcome));
        return;
    }
    if (began)
        peer->finish(report_of(outcome, result.policy));
    else if (outcome.done.empty() && outcome.failed.empty())
        peer->finish(failed_reply(*result.failure));
    else
        peer->finish(report_of(outcome, result.policy, *result.failure));
    if (stopping_)
        loop_.stop();
    else if (!cycle_running_)
        want_cycle(std::chrono::milliseconds{0});
}

void Service::answer_kick(const json::object& request, std::shared_ptr<Conversation> peer) {
    yielding_until_.reset();
    if (flag_argument(request, "wait")) {
        kicked_.push_back(std::move(peer));
    } else {
        Reply reply;
        reply.document = new_document();
        reply.document["kicked"] = true;
        peer->finish(reply);
    }
    want_cycle(std::chrono::milliseconds{0});
}

void Service::answer_metrics(std::shared_ptr<Conversation> peer) {
    look([this, status = board_.status(), order = everyday_order(),
          times = sr_lock_] { return metrics_reply(locate_sr(sr_), options_, order, status, times, clock_); },
         std::move(peer));
}

void Service::answer_yield(const std::shared_ptr<Conversation>& peer) {
    yielding_until_ = clock_().now + yielding;
    worker_->dismiss();
    Reply reply;
    reply.document = new_document();
    reply.document["yielding_until"] = to_rfc3339(*yielding_until_);
    peer->finish(reply);
}

void Service::answer_pen(const json::object& request, const std::shared_ptr<Conversation>& peer) {
    const std::string verb = text_argument(request, "verb").value_or("");
    const Reply reply = write_down(request, journal(), clock_().now);
    // The step under way may be one that is not wanted any more; if it still is, it goes on at its cursor.
    const bool keeps_out = verb == "pause" || verb == "hold";
    const bool work_goes_on = worker_->working();
    if (keeps_out) worker_->interrupt();
    const auto pause = current_pause(journal(), clock_().now);
    board_.change([&](ServiceStatus& status) {
        status.text = pause ? pause_text(*pause) : "";
        if (pause)
            status.state = ServiceState::paused;
        else if (status.state == ServiceState::paused)
            status.state = ServiceState::idle;
    });
    want_cycle(std::chrono::milliseconds{0});
    if (keeps_out && work_goes_on)
        answer_when_let_go(reply, peer);
    else
        peer->finish(reply);
}

/// Whoever is told that an SR is paused or a chain held may count on it that nothing is written there any more.
void Service::answer_when_let_go(Reply reply, std::shared_ptr<Conversation> peer) {
    Pending pending{std::move(peer), std::move(reply), std::make_unique<asio::steady_timer>(loop_, longest_letting_go)};
    pending.deadline->async_wait([this, waiting = pending.peer.get()](const boost::system::error_code& error) {
        const auto late = std::ranges::find(pending_, waiting, [](const Pending& entry) { return entry.peer.get(); });
        if (error || late == pending_.end()) return;
        late->reply.failure = Failure{ExitStatus::busy, "retry-later",
                                      "it is written down and nothing new begins, but the work under way has not come "
                                      "to rest yet; 'coppice status' tells when it has",
                                      name_};
        late->reply.status = late->reply.failure->status;
        late->reply.document["error"] = error_json(*late->reply.failure)["error"];
        late->peer->finish(late->reply);
        pending_.erase(late);
    });
    pending_.push_back(std::move(pending));
}

} // namespace coppice
