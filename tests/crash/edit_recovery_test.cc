// A recorded header edit is completed from the phase that it had reached: no state on the way is one that its phases do
// not pass through. INV-1, INV-3.

#include "coalesce/edit_log.h"
#include "coalesce/edit_recovery.h"
#include "format/image.h"
#include "format/qcow2/create.h"
#include "format/vhd/create.h"
#include "tests/support/memory_storage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <unistd.h>

namespace coppice::test {
namespace {

class Nobody final : public Occupancy {
public:
    std::unique_ptr<Claim> claim(BlockDevice&, Purpose) override { return std::make_unique<Claim>(); }
    std::optional<Opener> lock_holder(const BlockDevice&) override { return {}; }
    std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) override {
        return std::vector<std::vector<Opener>>(images.size());
    }
};

class JournalDirectory {
public:
    JournalDirectory() {
        std::string name = (std::filesystem::temp_directory_path() / "coppice-edit-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error{"mkdtemp"};
        path = name;
    }
    ~JournalDirectory() { std::filesystem::remove_all(path); }
    JournalDirectory(const JournalDirectory&) = delete;
    JournalDirectory& operator=(const JournalDirectory&) = delete;

    std::filesystem::path path;
};

std::vector<std::byte> sectors(std::initializer_list<int> values) {
    std::vector<std::byte> bytes;
    for (const int value : values)
        bytes.insert(bytes.end(), 512, std::byte(value));
    return bytes;
}

constexpr const char* image = "image";

/// The first sector says which of the other two counts; it changes twice, as the header of a VHD does.
const HeaderEdit edit{{{{512_B, sectors({12})}}, // into the place that does not count
                       {{0_B, sectors({1})}},
                       {{1024_B, sectors({13})}}, // the place that counted
                       {{0_B, sectors({0})}}}};
const std::vector<std::vector<std::byte>> states{sectors({0, 2, 3}), sectors({0, 12, 3}), sectors({1, 12, 3}),
                                                 sectors({1, 12, 13}), sectors({0, 12, 13})};

/// The states that the image passes through when power is lost after each number of changes of the recovery.
std::vector<std::vector<std::byte>> states_of_recovery(std::size_t begun) {
    std::vector<std::vector<std::byte>> seen;
    for (std::uint64_t kept = 0;; ++kept) {
        PowerSupply power;
        MemoryStorage storage{&power};
        storage.put(image, states[0]);
        const JournalDirectory directory;
        const auto journal =
            journal::Journal::open((directory.path / "journal.db").string(), journal::Journal::Create::yes);
        JournalEditLog{storage, *journal}.begin(image, edit);
        apply(*storage.open(image, Access::read_write), {{edit.phases.begin(), edit.phases.begin() + begun}});
        power.fail_after(kept);
        Nobody nobody;
        try {
            const auto recovered = recover_edits(storage, *journal, nobody);
            EXPECT_EQ(recovered.size(), 1U);
            seen.push_back(storage.bytes(image));
            return seen;
        } catch (const PowerLost&) {
            seen.push_back(storage.bytes(image));
        }
    }
}

TEST(EditRecovery, GoesOnWhereTheEditStopped) {
    for (std::size_t begun = 1; begun < states.size(); ++begun) {
        const auto seen = states_of_recovery(begun);
        EXPECT_EQ(seen.back(), states.back()) << "stopped after phase " << begun;
        for (const auto& state : seen)
            EXPECT_NE(std::find(states.begin() + static_cast<std::ptrdiff_t>(begun), states.end(), state), states.end())
                << "stopped after phase " << begun << ": an unknown or an earlier state";
    }
}

TEST(EditRecovery, DropsAnEditThatHadNotBegun) {
    const auto seen = states_of_recovery(0);
    EXPECT_EQ(seen.back(), states.front());
}

/// A reader has every image open.
class Somebody final : public Occupancy {
public:
    std::unique_ptr<Claim> claim(BlockDevice&, Purpose) override { return std::make_unique<Claim>(); }
    std::optional<Opener> lock_holder(const BlockDevice&) override { return {}; }
    std::vector<std::vector<Opener>> openers(std::span<const FileIdentity> images) override {
        return std::vector<std::vector<Opener>>(images.size(), {{4711, "tapdisk"}});
    }
};

TEST(EditRecovery, OpensNothingForWritingThatSomebodyHasOpen) {
    MemoryStorage storage;
    storage.put(image, states[0]);
    const JournalDirectory directory;
    const auto journal =
        journal::Journal::open((directory.path / "journal.db").string(), journal::Journal::Create::yes);
    JournalEditLog{storage, *journal}.begin(image, edit);
    Somebody somebody;
    const auto recovered = recover_edits(storage, *journal, somebody);
    ASSERT_EQ(recovered.size(), 1U);
    EXPECT_EQ(recovered[0].outcome, RecoveredEdit::Outcome::in_use);
    EXPECT_EQ(storage.opened_for_writing, std::set<std::string>{});
    EXPECT_EQ(journal->pending_edits().size(), 1U);
}

const Uuid old_uuid = Uuid::random();
const Uuid new_uuid = Uuid::random();

/// A child of "old.vhd" or "old.qcow2", with or without data of its own: an empty VHD grows when its parent changes.
void make_child(BlockDevice& device, Format format, const std::string& old_parent) {
    if (format == Format::qcow2) {
        qcow2::CreateOptions options;
        options.size = 4_MiB;
        options.backing_name = old_parent;
        options.backing_format = Format::qcow2;
        options.hidden = true;
        qcow2::create(device, options);
        return;
    }
    vhd::NewDisk disk{4_MiB};
    disk.parent = NewParent{old_parent, Format::vhd, old_uuid, 0};
    vhd::create(device, disk);
}

std::size_t first_difference(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
    return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

struct Relink {
    Format format;
    std::string old_name; ///< without extension
    std::string new_name;
};

class ChangeOfParent : public testing::TestWithParam<Relink> {
protected:
    std::unique_ptr<MemoryStorage> rebooted_;

    std::string file() const { return "child" + std::string{extension(GetParam().format)}; }
    std::string name_of(const std::string& stem) const { return stem + std::string{extension(GetParam().format)}; }
    NewParent new_parent() const {
        return {name_of(GetParam().new_name), GetParam().format,
                GetParam().format == Format::vhd ? std::optional{new_uuid} : std::nullopt, 0};
    }
    /// How many phases must be complete before the image names its new parent.
    std::size_t first_phase_of_new_name(const MemoryStorage& fresh, const HeaderEdit& change) const {
        const auto copy = fresh.copy();
        const auto link = [&]() -> std::optional<std::pair<std::string, std::optional<Uuid>>> {
            try {
                const auto parent = open_image(copy->open(file(), Access::read_only), GetParam().format)->parent();
                return std::pair{parent->names.front(), parent->vhd_uuid};
            } catch (const Unsupported&) { // on purpose, in between
                return std::nullopt;
            }
        };
        apply(*copy->open(file(), Access::read_write), change);
        const auto complete = link();
        copy->put(file(), fresh.bytes(file()));
        std::size_t phases = 0;
        for (; link() != complete; ++phases)
            apply(*copy->open(file(), Access::read_write), {{change.phases[phases]}});
        return phases;
    }
    /// The change is cut off when `begun` phases are complete, and the recovery after `kept` changes; what the second
    /// recovery leaves is rebooted_. False when the first one had no more than `kept` changes to make.
    bool recover_with_cut(const MemoryStorage& fresh, const HeaderEdit& change, std::size_t begun, std::uint64_t kept,
                          std::mt19937_64& random) {
        PowerSupply power;
        rebooted_ = fresh.copy(&power);
        const JournalDirectory directory;
        const auto journal =
            journal::Journal::open((directory.path / "journal.db").string(), journal::Journal::Create::yes);
        JournalEditLog{*rebooted_, *journal}.begin(file(), change);
        apply(*rebooted_->open(file(), Access::read_write),
              {{change.phases.begin(), change.phases.begin() + static_cast<std::ptrdiff_t>(begun)}});
        Nobody nobody;
        power.fail_after(kept);
        bool cut = false;
        try {
            recover_edits(*rebooted_, *journal, nobody);
        } catch (const PowerLost&) {
            cut = true;
        }
        power.never_fail();
        constexpr Unsynced kinds[]{Unsynced::kept, Unsynced::lost, Unsynced::torn};
        rebooted_->lose_power(kinds[kept % std::size(kinds)], random);
        recover_edits(*rebooted_, *journal, nobody);
        EXPECT_TRUE(journal->pending_edits().empty());
        return cut;
    }
    std::string first_name(MemoryStorage& storage) const {
        return open_image(storage.open(file(), Access::read_only), GetParam().format)->parent()->names.front();
    }
};

/// Whatever the crash left: the child then has its old parent and all that it was before, or where it already named the
/// new one, all of the change. Also when the recovery itself is cut off anywhere and begins again.
TEST_P(ChangeOfParent, GoesTheWayThatTheImageAlreadyReads) {
    MemoryStorage fresh;
    make_child(*fresh.create(file()), GetParam().format, name_of(GetParam().old_name));
    const std::string old_name = first_name(fresh);
    const std::size_t old_size = fresh.bytes(file()).size();
    const HeaderEdit relinking =
        open_image(fresh.open(file(), Access::read_only), GetParam().format)->relinked(new_parent());
    MemoryStorage relinked;
    relinked.put(file(), fresh.bytes(file()));
    apply(*relinked.open(file(), Access::read_write), relinking);
    const std::size_t flip = first_phase_of_new_name(fresh, relinking);
    std::size_t undone = 0;
    std::mt19937_64 random{1};
    for (std::size_t begun = 0; begun <= relinking.phases.size(); ++begun)
        for (std::uint64_t kept = 0;; ++kept) {
            const bool cut = recover_with_cut(fresh, relinking, begun, kept, random);
            const bool back = first_name(*rebooted_) == old_name;
            undone += back ? 1 : 0;
            EXPECT_EQ(back, begun < flip) << "begun " << begun << ", cut after " << kept;
            auto now = rebooted_->bytes(file());
            const auto wanted = (back ? fresh : relinked).bytes(file());
            if (back) now.resize(old_size); // longer is harmless
            EXPECT_EQ(first_difference(now, wanted), wanted.size()) << "begun " << begun << ", cut after " << kept;
            if (!cut) break;
        }
    EXPECT_GE(undone, flip);
}

INSTANTIATE_TEST_SUITE_P(Formats, ChangeOfParent,
                         testing::Values(Relink{Format::qcow2, "old", "new"},
                                         Relink{Format::qcow2, "old", std::string(700, 'n')},
                                         Relink{Format::qcow2, std::string(700, 'o'), "new"},
                                         Relink{Format::vhd, "old", "new"},
                                         Relink{Format::vhd, "old", std::string(200, 'n')},
                                         Relink{Format::vhd, std::string(200, 'o'), "new"}));

} // namespace
} // namespace coppice::test
