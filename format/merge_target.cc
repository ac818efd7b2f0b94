#include "format/merge_target.h"

#include <stdexcept>

namespace coppice {

Transfer plain_transfer(const GuestWrite& write) {
    switch (write.source) {
    case GuestWrite::Source::device:
        return Transfer::from_device(*write.device, write.device_offset, write.guest.begin, write.guest.length());
    case GuestWrite::Source::memory:
        return Transfer::from_memory(write.memory, write.guest.begin);
    case GuestWrite::Source::zeros:
        return Transfer::zeros(write.guest.begin, write.guest.length());
    }
    throw std::logic_error{"a guest write from nowhere"};
}

} // namespace coppice
