#include "coalesce/plan_price.h"

namespace coppice {
namespace {

/// The runs for which `into` may need room of its own, and those that only need an entry in a table.
struct Touched {
    GuestMap stored;
    GuestMap mapped;
};

void append_edges(GuestMap& stored, ByteRange zeros, Bytes fill_unit) {
    // A unit that is zeroed in part only has to hold the rest of its content.
    if (!is_aligned(zeros.begin, fill_unit)) append(stored, {ByteRange::at(zeros.begin, 1_B)});
    if (!is_aligned(zeros.end, fill_unit) && zeros.length() > 1_B) append(stored, {{zeros.end - 1_B, zeros.end}});
}

Touched touched(const Growth& target, const GuestMap& incoming) {
    Touched result;
    for (GuestRun run : incoming) {
        if (run.zero) {
            run.guest = intersection(run.guest, {0_B, std::max(target.beneath, run.guest.begin)});
            if (run.guest.empty()) continue;
            if (target.shape.marks_zeros)
                append_edges(result.stored, run.guest, target.shape.fill_unit);
            else
                append(result.stored, {run.guest});
        } else {
            append(result.stored, {run.guest});
        }
        append(result.mapped, {run.guest});
    }
    return result;
}

std::uint64_t new_units(const GuestMap& wanted, const GuestMap& present, Bytes unit) {
    std::uint64_t count = 0;
    for (const GuestRun& run : without(coarsened(wanted, unit), coarsened(present, unit)))
        count += units_needed(run.guest.length(), unit);
    return count;
}

/// Room for a longer first-level table, and for what had to make way for it.
Bytes index_growth(const Growth& target) {
    const TargetShape& shape = target.shape;
    if (target.new_size <= target.old_size || shape.index_covers == 0_B) return 0_B;
    constexpr Bytes widest_entry = 8_B;
    return round_up(widest_entry * units_needed(target.new_size, shape.index_covers), 4_KiB) +
           2 * (shape.unit + shape.unit_overhead);
}

} // namespace

Bytes growth(const Growth& target, const GuestMap& incoming) {
    const TargetShape& shape = target.shape;
    GuestMap writable; // a compressed cluster is replaced, not written over
    for (const GuestRun& run : target.into)
        if (!run.zero && !run.compressed) append(writable, {run.guest});
    const Touched wanted = touched(target, incoming);
    const std::uint64_t units = new_units(wanted.stored, writable, shape.unit);
    const std::uint64_t tables =
        shape.table_covers == 0_B ? 0 : new_units(wanted.mapped, target.into, shape.table_covers);
    Bytes sum = units * (shape.unit + shape.unit_overhead) + tables * (shape.table_size + shape.unit_overhead) +
                index_growth(target);
    if (sum > 0_B) sum += shape.fixed_overhead;
    return sum;
}

} // namespace coppice
