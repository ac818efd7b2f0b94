#include "coalesce/sr_gate.h"

namespace coppice {
namespace {

class NothingHeld final : public Passage {};

class NobodyWaits final : public LeafGuard {
public:
    bool is_wanted() const override { return false; }
};

class NobodyListens final : public SrGate::Announcement {
public:
    bool stop_wanted() const override { return false; }
};

} // namespace

std::unique_ptr<Passage> OpenGate::enter(const std::set<std::string>&, const std::stop_token&) {
    return std::make_unique<NothingHeld>();
}

std::unique_ptr<LeafGuard> OpenGate::guard(const std::string&) {
    return std::make_unique<NobodyWaits>();
}

std::unique_ptr<SrGate::Announcement> OpenGate::announce(const std::string&) {
    return std::make_unique<NobodyListens>();
}

} // namespace coppice
