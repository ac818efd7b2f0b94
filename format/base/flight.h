// One move into one target: loads that are filled, read and written at the same time, each in its own buffer.
#pragma once

#include "format/base/flight_seat.h"

#include <stop_token>
#include <vector>

namespace coppice {

class Flight {
public:
    using Seat = FlightSeat;

    /// All references outlive it; nothing else uses `queue` and `seats` meanwhile.
    Flight(BlockDevice& target, IoQueue& queue, std::vector<Seat>& seats, std::stop_token stop);
    /// Returns when nothing is in flight any more, whatever has failed.
    ~Flight();
    Flight(const Flight&) = delete;
    Flight& operator=(const Flight&) = delete;

    /// In ascending order of targets. What is thrown (SystemError, and StopRequested between two loads) may be of
    /// something that was added earlier. `length` bytes at `offset` in the source are below its end.
    void add_read(const BlockDevice& source, Bytes offset, Bytes target, Bytes length);
    void add_memory(std::span<const std::byte> memory, Bytes target);
    void add_zeros(Bytes target, Bytes length);
    void add_filler(Bytes target, Bytes length);
    /// Everything that was added has been written.
    void finish();

private:
    Seat& filling();
    void depart();
    void step();
    void write(Seat& seat);
    void land(Seat& seat);
    void start(Seat& seat, Seat::State state, std::vector<IoJob> jobs);

    BlockDevice& target_;
    IoQueue& queue_;
    std::vector<Seat>& seats_;
    std::stop_token stop_;
    Seat* filling_ = nullptr;
};

} // namespace coppice
