#include "format/qcow2/findings.h"

namespace coppice::qcow2 {

void Findings::add(Effect effect, std::string code, std::optional<Bytes> offset, std::string text) {
    worst_ = std::max(worst_, effect);
    if (kept_.size() < most_kept)
        kept_.push_back({std::move(code), offset, std::move(text)});
    else
        ++dropped_;
}

std::vector<Finding> Findings::take() {
    if (dropped_ != 0) kept_.push_back({"more-findings", std::nullopt, std::to_string(dropped_) + " further findings"});
    return std::move(kept_);
}

} // namespace coppice::qcow2
