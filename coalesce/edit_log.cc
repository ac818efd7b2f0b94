#include "coalesce/edit_log.h"

#include "format/base/error.h"

#include <algorithm>

namespace coppice {
namespace {

// What a disk writes as a whole: a torn edit consists of old and new pieces of this size.
constexpr std::size_t piece = sector_size.count();

/// The bytes that stand in every place that the edit overwrites, each place once, in the order of first mention.
std::vector<Overwrite> current_bytes(const BlockDevice& device, const HeaderEdit& edit) {
    std::vector<Overwrite> before;
    for (const auto& phase : edit.phases)
        for (const Overwrite& overwrite : phase) {
            std::vector<std::byte> bytes(overwrite.bytes.size());
            device.read_padded(overwrite.offset, bytes);
            before.push_back({overwrite.offset, std::move(bytes)});
        }
    return before;
}

/// Whether each sector-sized piece of `now` is one of the pieces that `allowed` have in its place.
bool made_of(const Overwrite& now, const std::vector<const Overwrite*>& allowed) {
    for (std::size_t at = 0; at < now.bytes.size();) {
        const Bytes offset = now.offset + Bytes{at};
        const std::size_t length = std::min(piece - offset.count() % piece, now.bytes.size() - at);
        const auto found = std::span{now.bytes}.subspan(at, length);
        const bool known = std::ranges::any_of(allowed, [&](const Overwrite* candidate) {
            if (candidate->offset > offset ||
                candidate->offset + Bytes{candidate->bytes.size()} < offset + Bytes{length})
                return false;
            return std::ranges::equal(
                found, std::span{candidate->bytes}.subspan((offset - candidate->offset).count(), length));
        });
        if (!known) return false;
        at += length;
    }
    return true;
}

bool equals(const BlockDevice& device, const std::vector<Overwrite>& expected) {
    return std::ranges::all_of(expected, [&](const Overwrite& overwrite) {
        std::vector<std::byte> bytes(overwrite.bytes.size());
        device.read_padded(overwrite.offset, bytes);
        return bytes == overwrite.bytes;
    });
}

/// What the places of `before` hold when the first `phases` phases of the edit are complete. Places may overlap.
std::vector<Overwrite> after_phases(std::vector<Overwrite> before, const HeaderEdit& edit, std::size_t phases) {
    for (std::size_t phase = 0; phase < phases; ++phase)
        for (const Overwrite& overwrite : edit.phases[phase])
            for (Overwrite& place : before) {
                const Bytes begin = std::max(place.offset, overwrite.offset);
                const Bytes end = std::min(place.offset + Bytes{place.bytes.size()},
                                           overwrite.offset + Bytes{overwrite.bytes.size()});
                if (begin >= end) continue;
                const auto part =
                    std::span{overwrite.bytes}.subspan((begin - overwrite.offset).count(), (end - begin).count());
                std::ranges::copy(part,
                                  place.bytes.begin() + static_cast<std::ptrdiff_t>((begin - place.offset).count()));
            }
    return before;
}

/// How many phases are known to be complete: those up to the last one behind which the image is but for a torn next
/// one.
///
/// Going on there, instead of at the beginning, keeps what the phases promise: each state between two of them can be
/// read, but going back from a later one to an earlier one passes states that nobody has thought of.
std::size_t complete_phases(const BlockDevice& device, const journal::PendingEdit& pending) {
    const std::vector<Overwrite> now = current_bytes(device, pending.edit);
    for (std::size_t done = pending.edit.phases.size(); done > 0; --done) {
        const std::vector<Overwrite> expected = after_phases(pending.before, pending.edit, done);
        std::vector<const Overwrite*> allowed;
        if (done < pending.edit.phases.size())
            for (const Overwrite& overwrite : pending.edit.phases[done])
                allowed.push_back(&overwrite);
        for (const Overwrite& place : expected)
            allowed.push_back(&place);
        if (std::ranges::all_of(now, [&](const Overwrite& place) { return made_of(place, allowed); })) return done;
    }
    return 0;
}

/// Whether the image holds nothing but old and new pieces of the edit.
bool only_torn(const BlockDevice& device, const journal::PendingEdit& pending) {
    std::vector<const Overwrite*> allowed;
    for (const Overwrite& before : pending.before)
        allowed.push_back(&before);
    for (const auto& phase : pending.edit.phases)
        for (const Overwrite& overwrite : phase)
            allowed.push_back(&overwrite);
    return std::ranges::all_of(current_bytes(device, pending.edit),
                               [&](const Overwrite& now) { return made_of(now, allowed); });
}

RecoveredEdit recover(Storage& storage, const journal::PendingEdit& pending, Occupancy& occupancy) {
    using Outcome = RecoveredEdit::Outcome;
    if (!storage.exists(pending.image)) return {pending.image, Outcome::foreign, "the image is gone"};
    const auto device = storage.open(pending.image, Access::read_write);
    if (!device->identity().same_object(pending.identity))
        return {pending.image, Outcome::foreign, "another image has its name now"};
    const FileIdentity identity = device->identity();
    const auto openers = occupancy.openers({&identity, 1}).front();
    if (!openers.empty())
        return {pending.image, Outcome::in_use,
                "held by pid " + std::to_string(openers.front().pid) + " (" + openers.front().name + ")"};
    try {
        const auto claim = occupancy.claim(*device, Occupancy::Purpose::write);
        if (!only_torn(*device, pending))
            return {pending.image, Outcome::foreign, "somebody else has changed the header since"};
        // Where nothing was written yet the edit is not forced on the image: much may have happened since it was
        // wanted.
        if (equals(*device, pending.before)) return {pending.image, Outcome::unneeded, "the change had not begun"};
        const auto done = static_cast<std::ptrdiff_t>(complete_phases(*device, pending));
        device->flush(); // what is there may never have been made durable
        apply(*device, {{pending.edit.phases.begin() + done, pending.edit.phases.end()}});
        return {pending.image, Outcome::applied, "an interrupted change of the header was completed"};
    } catch (const Busy& busy) {
        return {pending.image, Outcome::in_use, busy.what()};
    }
}

} // namespace

void JournalEditLog::begin(const std::string& image, const HeaderEdit& edit) {
    const auto device = storage_.open(image, Access::read_only);
    open_.push_back(journal_.begin_edit(image, device->identity(), edit, current_bytes(*device, edit)));
}

void JournalEditLog::end() {
    journal_.end_edit(open_.back());
    open_.pop_back();
}

std::vector<RecoveredEdit> recover_edits(Storage& storage, journal::Journal& journal, Occupancy& occupancy) {
    std::vector<RecoveredEdit> results;
    for (const journal::PendingEdit& pending : journal.pending_edits()) {
        results.push_back(recover(storage, pending, occupancy));
        if (results.back().outcome != RecoveredEdit::Outcome::in_use) journal.end_edit(pending.id);
    }
    return results;
}

} // namespace coppice
