#include "format/base/flight.h"

#include "format/base/error.h"

#include <algorithm>
#include <utility>

namespace coppice {
namespace {

// Shorter zeros travel with the data around them where that may save a request.
constexpr Bytes zeros_on_board = 64_KiB;
// Pages are what file systems can free.
constexpr Bytes hole_grain = 4_KiB;

} // namespace

Flight::Flight(BlockDevice& target, IoQueue& queue, std::vector<Seat>& seats, std::stop_token stop)
    : target_{target}, queue_{queue}, seats_{seats}, stop_{std::move(stop)} {}

Flight::~Flight() {
    // The kernel reads and writes our memory as long as anything is in flight.
    while (!queue_.empty())
        queue_.wait();
    for (Seat& seat : seats_) {
        seat.load.clear();
        seat.jobs.clear();
        seat.state = Seat::State::free;
    }
}

/// The load that takes what comes next. Waits until there is one.
Flight::Seat& Flight::filling() {
    if (filling_ != nullptr && filling_->load.room() > 0_B) return *filling_;
    depart();
    if (stop_.stop_requested()) throw StopRequested{};
    for (;;) {
        const auto free = std::ranges::find(seats_, Seat::State::free, &Seat::state);
        if (free != seats_.end()) {
            filling_ = &*free;
            return *filling_;
        }
        step();
    }
}

void Flight::depart() {
    if (filling_ == nullptr || filling_->load.empty()) return;
    Seat& seat = *std::exchange(filling_, nullptr);
    start(seat, Seat::State::reading, seat.load.reads());
    if (seat.left == 0) write(seat);
}

void Flight::start(Seat& seat, Seat::State state, std::vector<IoJob> jobs) {
    seat.state = state;
    seat.jobs = std::move(jobs);
    seat.left = 0;
    for (IoJob& job : seat.jobs) {
        job.owner = static_cast<std::size_t>(&seat - seats_.data());
        queue_.submit(job);
        ++seat.left;
    }
}

/// Waits for one request, and goes on with its load.
void Flight::step() {
    IoJob& job = queue_.wait();
    Seat& seat = seats_[job.owner];
    --seat.left;
    if (job.failure) std::rethrow_exception(job.failure);
    if (seat.left > 0) return;
    if (seat.state == Seat::State::reading)
        write(seat);
    else
        land(seat);
}

void Flight::write(Seat& seat) {
    Load::Writes writes = seat.load.writes(target_);
    for (const ByteRange& range : writes.zeros)
        target_.zero(range);
    start(seat, Seat::State::writing, std::move(writes.data));
    if (seat.left == 0) land(seat);
}

/// The load has been written.
void Flight::land(Seat& seat) {
    if (const auto range = seat.load.targets()) target_.start_writeback(*range);
    seat.load.clear();
    seat.state = Seat::State::free;
}

void Flight::add_read(const BlockDevice& source, Bytes offset, Bytes target, Bytes length) {
    while (length > 0_B) {
        Load& load = filling().load;
        const Bytes part = std::min(length, load.room());
        load.add_read(source, offset, target, part);
        offset += part;
        target += part;
        length -= part;
    }
}

void Flight::add_memory(std::span<const std::byte> memory, Bytes target) {
    while (!memory.empty()) {
        Load& load = filling().load;
        const Bytes part = std::min(Bytes{memory.size()}, load.room());
        load.add_memory(memory.first(part.count()), target);
        memory = memory.subspan(part.count());
        target += part;
    }
}

void Flight::add_zeros(Bytes target, Bytes length) {
    const Bytes on_board = target_.fixed_size() ? zeros_on_board : hole_grain - 1_B;
    if (length > on_board) {
        target_.zero(ByteRange::at(target, length));
        return;
    }
    while (length > 0_B) {
        Load& load = filling().load;
        const Bytes part = std::min(length, load.room());
        load.add_zeros(target, part);
        target += part;
        length -= part;
    }
}

void Flight::add_filler(Bytes target, Bytes length) {
    // It joins what is in the same load, or nothing.
    Load& load = filling().load;
    if (!load.empty()) load.add_filler(target, std::min(length, load.room()));
}

void Flight::finish() {
    depart();
    while (!queue_.empty())
        step();
}

} // namespace coppice
