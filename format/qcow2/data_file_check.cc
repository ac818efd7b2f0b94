#include "format/qcow2/data_file_check.h"

#include "format/qcow2/l2_entry.h"

#include <algorithm>
#include <vector>

namespace coppice::qcow2 {
namespace {

class PlaceCheck {
public:
    PlaceCheck(const Layer& layer, Findings& findings)
        : layer_{layer}, findings_{findings}, rules_{L2Rules::of(layer.header(), layer.limit())} {}

    void run() {
        const auto l1 = layer_.l1_table();
        const auto table_of = [&](std::uint32_t index) { return l1[index] & disk::offset_mask; };
        std::vector<std::uint32_t> indices;
        for (std::uint32_t index = 0; index < l1.size(); ++index)
            if (possible_table(Bytes{table_of(index)})) indices.push_back(index);
        std::ranges::sort(indices, {}, table_of);
        for (auto at = indices.begin(); at != indices.end();) {
            const auto next =
                std::find_if(at, indices.end(), [&](std::uint32_t index) { return table_of(index) != table_of(*at); });
            check_table(Bytes{table_of(*at)}, *at, *(next - 1));
            at = next;
        }
    }

private:
    /// Of the others the walk of the metadata has told.
    bool possible_table(Bytes offset) const {
        const Bytes cluster = rules_.cluster_size();
        return offset != 0_B && is_aligned(offset, cluster) && offset + cluster <= layer_.limit();
    }

    /// `first` and `last` are entries of the L1 table that name it, nearly always the same one. What two name holds no
    /// place that is right for both.
    void check_table(Bytes offset, std::uint32_t first, std::uint32_t last) {
        const Bytes covers = layer_.header().l2_covers();
        const std::size_t step = rules_.extended ? 2 : 1;
        const auto words = layer_.read_words(offset, rules_.cluster_size().count() / 8);
        for (std::size_t word = 0; word < words.size(); word += step) {
            const Bytes inside = rules_.cluster_size() * (word / step);
            const L2Entry entry = decode_l2_entry(words[word], words[word + step - 1], rules_);
            auto defect = place_defect(entry, covers * first + inside, rules_);
            if (!defect) defect = place_defect(entry, covers * last + inside, rules_);
            const Bytes place = offset + Bytes{word * 8};
            if (defect)
                findings_.add(Effect::unreadable, std::string{defect->code}, place,
                              "expected " + std::string{defect->expectation});
            else if (!entry.compressed && entry.host != 0_B && !entry.copied)
                findings_.add(Effect::damaged, "copied-flag-missing", place, "not flagged as used once");
        }
    }

    const Layer& layer_;
    Findings& findings_;
    L2Rules rules_;
};

} // namespace

void check_data_places(const Layer& layer, Findings& findings) {
    if (layer.header().data_file) PlaceCheck{layer, findings}.run();
}

} // namespace coppice::qcow2
