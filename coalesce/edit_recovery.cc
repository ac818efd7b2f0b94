#include "coalesce/edit_recovery.h"

#include "coalesce/edit_log.h"
#include "coalesce/edited_view.h"
#include "format/base/error.h"
#include "format/image.h"

#include <algorithm>
#include <optional>

namespace coppice {
namespace {

// What a disk writes as a whole: a torn edit consists of old and new pieces of this size.
constexpr std::size_t piece = sector_size.count();

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

/// Where a reader of the image looks for its parent: of several names the first one.
struct Link {
    std::string name;
    std::optional<Format> format;
    std::optional<Uuid> vhd_uuid;

    bool operator==(const Link&) const = default;
};

/// As the image is with `edits` on top: its link, or no link in a root. nullopt where that cannot be told.
std::optional<std::optional<Link>> link_with(const BlockDevice& device, Format format, std::vector<Overwrite> edits) {
    try {
        const auto parent = open_image(std::make_unique<EditedView>(device, std::move(edits)), format)->parent();
        if (!parent) return std::optional<Link>{};
        return Link{parent->names.front(), parent->format, parent->vhd_uuid};
    } catch (const CorruptImage&) {
        return std::nullopt;
    } catch (const Unsupported&) {
        return std::nullopt; // also what stands there on purpose while a QCOW2 header changes
    }
}

/// Whether the image, half changed, reads as it will when all is done. Only a change of the parent can make a
/// difference to anybody. `done` phases are complete.
bool has_effect(const BlockDevice& device, const journal::PendingEdit& pending, std::size_t done) {
    const auto format = format_of_name(pending.image);
    if (!format) return true;
    const auto with_phases = [&](std::size_t phases) {
        return link_with(device, *format, after_phases(pending.before, pending.edit, phases));
    };
    const auto before = with_phases(0);
    const auto after = with_phases(pending.edit.phases.size());
    if (!before || before == after) return true;
    const auto now = link_with(device, *format, {});
    return (now ? now : with_phases(done)) == after; // a torn write in between can be read by nobody
}

/// The first phase may have made the file longer, which only adds what nobody looks at yet. To take that back is not
/// needed, and to write zeros there would take the end of a VHD away, where its footer is.
bool makes_longer(const BlockDevice& device, std::size_t phase, const Overwrite& before) {
    return phase == 0 && !device.fixed_size() && before.offset + Bytes{before.bytes.size()} >= device.size() &&
           std::ranges::all_of(before.bytes, [](std::byte byte) { return byte == std::byte{}; });
}

/// Back through the states in which the image has been, of which `done` and perhaps a part of the next one were
/// reached.
HeaderEdit way_back(const BlockDevice& device, const journal::PendingEdit& pending, std::size_t done) {
    HeaderEdit back;
    std::size_t index = 0; // pending.before has one place for each overwrite, in the order of the phases
    for (std::size_t phase = 0; phase < std::min(done + 1, pending.edit.phases.size()); ++phase) {
        const std::vector<Overwrite> state = after_phases(pending.before, pending.edit, phase);
        std::vector<Overwrite> undo;
        for (std::size_t i = 0; i < pending.edit.phases[phase].size(); ++i, ++index)
            if (!makes_longer(device, phase, pending.before[index])) undo.push_back(state[index]);
        if (!undo.empty()) back.phases.insert(back.phases.begin(), std::move(undo));
    }
    return back;
}

/// Whoever has the image open, or a lock on it.
std::optional<Opener> user_of(BlockDevice& device, Occupancy& occupancy) {
    const FileIdentity identity = device.identity();
    const auto openers = occupancy.openers({&identity, 1}).front();
    return openers.empty() ? occupancy.lock_holder(device) : openers.front();
}

RecoveredEdit recover(Storage& storage, const journal::PendingEdit& pending, Occupancy& occupancy) {
    using Outcome = RecoveredEdit::Outcome;
    const auto in_use = [&](const Opener& opener) {
        return RecoveredEdit{pending.image, Outcome::in_use,
                             "held by pid " + std::to_string(opener.pid) + " (" + opener.name + ")"};
    };
    if (!storage.exists(pending.image)) return {pending.image, Outcome::foreign, "the image is gone"};
    // Not for writing yet: the end of that would be seen as a change of the image, by ourselves as well.
    if (const auto user = user_of(*storage.open(pending.image, Access::read_only), occupancy)) return in_use(*user);
    const auto device = storage.open(pending.image, Access::read_write);
    if (!device->identity().same_object(pending.identity))
        return {pending.image, Outcome::foreign, "another image has its name now"};
    const FileIdentity identity = device->identity();
    try {
        const auto claim = occupancy.claim(*device, Occupancy::Purpose::write);
        if (const auto openers = occupancy.openers({&identity, 1}).front(); !openers.empty())
            return in_use(openers.front());
        if (!only_torn(*device, pending))
            return {pending.image, Outcome::foreign, "somebody else has changed the header since"};
        // Where nothing was written yet the edit is not forced on the image: much may have happened since it was
        // wanted.
        if (equals(*device, pending.before)) return {pending.image, Outcome::unneeded, "the change had not begun"};
        const std::size_t done = complete_phases(*device, pending);
        device->flush(); // what is there may never have been made durable
        if (!has_effect(*device, pending, done)) {
            apply(*device, way_back(*device, pending, done));
            return {pending.image, Outcome::undone, "an interrupted change of the parent was undone"};
        }
        apply(*device, {{pending.edit.phases.begin() + static_cast<std::ptrdiff_t>(done), pending.edit.phases.end()}});
        return {pending.image, Outcome::applied, "an interrupted change of the header was completed"};
    } catch (const Busy& busy) {
        return {pending.image, Outcome::in_use, busy.what()};
    }
}

} // namespace

std::vector<RecoveredEdit> recover_edits(Storage& storage, journal::Journal& journal, Occupancy& occupancy) {
    std::vector<RecoveredEdit> results;
    for (const journal::PendingEdit& pending : journal.pending_edits()) {
        results.push_back(recover(storage, pending, occupancy));
        if (results.back().outcome != RecoveredEdit::Outcome::in_use) journal.end_edit(pending.id);
    }
    return results;
}

} // namespace coppice
