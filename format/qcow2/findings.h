// What a check has found so far, with its effect on the verdict. A wreck has millions of faults; the first ones are
// kept.
#pragma once

#include "format/check.h"

namespace coppice::qcow2 {

/// From harmless to worst.
enum class Effect {
    remark,     ///< worth telling, changes nothing
    leak,       ///< space is lost, nothing else
    damaged,    ///< counts or flags are wrong: readable, but nothing may be written
    unreadable, ///< guest bytes are in doubt
};

class Findings {
public:
    void add(Effect effect, std::string code, std::optional<Bytes> offset, std::string text);

    Effect worst() const { return worst_; }
    /// Further ones are only counted; a last finding says so.
    std::vector<Finding> take();

private:
    static constexpr std::size_t most_kept = 200;

    Effect worst_ = Effect::remark;
    std::vector<Finding> kept_;
    std::uint64_t dropped_ = 0;
};

} // namespace coppice::qcow2
