// A buffer of a mover, and what is in flight from and to it.
#pragma once

#include "format/base/io_queue.h"
#include "format/base/load.h"

#include <cstddef>
#include <vector>

namespace coppice {

class Flight;

struct FlightSeat {
    explicit FlightSeat(Bytes size) : load{size} {}

    Load load;
    std::vector<IoJob> jobs;
    std::size_t left = 0; ///< of them
    enum class State { free, reading, writing } state = State::free;
};

} // namespace coppice
