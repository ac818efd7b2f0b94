#include "lvm/report.h"

#include "format/base/error.h"

#include <algorithm>

namespace coppice::lvm {

bool LvRow::has_tag(std::string_view tag) const {
    return std::ranges::binary_search(tags, tag);
}

const LvRow* VgReport::find(std::string_view lv) const {
    const auto found = std::ranges::lower_bound(lvs, lv, {}, &LvRow::name);
    return found != lvs.end() && found->name == lv ? &*found : nullptr;
}

const LvRow& VgReport::at(std::string_view lv) const {
    if (const LvRow* const row = find(lv)) return *row;
    throw NotFound{name + "/" + std::string{lv}, "there is no such LV"};
}

} // namespace coppice::lvm
