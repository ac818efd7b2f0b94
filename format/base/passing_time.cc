#include "format/base/passing_time.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace coppice {
namespace {

using std::chrono::system_clock;

#ifdef COPPICE_FAULTS
struct Speed {
    double factor = 1;
    std::chrono::duration<double> start{};

    static Speed of_environment() {
        const char* const text = std::getenv("COPPICE_TEST_TIME_FACTOR");
        if (text == nullptr) return {};
        const std::string given{text};
        const std::size_t at = given.find('@');
        if (at == std::string::npos) throw std::invalid_argument{"COPPICE_TEST_TIME_FACTOR is not FACTOR@START"};
        Speed speed{std::stod(given.substr(0, at)), std::chrono::duration<double>{std::stod(given.substr(at + 1))}};
        if (speed.factor < 1) throw std::invalid_argument{"COPPICE_TEST_TIME_FACTOR is below 1"};
        return speed;
    }
};

const Speed& speed() {
    static const Speed result = Speed::of_environment();
    return result;
}

system_clock::duration since_1970() {
    const system_clock::duration real = system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<system_clock::duration>(speed().start + (real - speed().start) * speed().factor);
}
#else
system_clock::duration since_1970() {
    return system_clock::now().time_since_epoch();
}
#endif

} // namespace

std::int64_t unix_time() {
    return std::chrono::floor<std::chrono::seconds>(since_1970()).count();
}

#ifdef COPPICE_FAULTS
std::chrono::steady_clock::duration real_wait(std::chrono::milliseconds wait) {
    // Longer rather than shorter: who wakes at a time must find that it has come.
    return std::chrono::ceil<std::chrono::steady_clock::duration>(std::chrono::duration<double>{wait} / speed().factor);
}
#endif

} // namespace coppice
