#include "lvm/pause.h"

#include <thread>

namespace coppice::lvm {

Pause real_pause() {
    return [](std::chrono::milliseconds time) { std::this_thread::sleep_for(time); };
}

} // namespace coppice::lvm
