// A recorded header edit is completed from the phase that it had reached: no state on the way is one that its phases do
// not pass through. INV-1, INV-3.

#include "coalesce/edit_log.h"
#include "tests/support/memory_storage.h"

#include <gtest/gtest.h>

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

} // namespace
} // namespace coppice::test
