#include "gc/service/sr_watch.h"

#include "format/base/error.h"
#include "tests/support/temporary_directory.h"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace coppice {
namespace {

class SrWatchTest : public testing::Test {
protected:
    void read_image() { std::ifstream{image_}.get(); }
    /// What the watch has told since the last question, as far as the kernel knows.
    int told() {
        watch_->catch_up();
        loop_.poll();
        return std::exchange(count_, 0);
    }

    coppice::test::TemporaryDirectory directory_;
    std::string sr_ = directory_ / "sr";
    std::string image_ = sr_ + "/image";
    boost::asio::io_context loop_;
    int count_ = 0;
    std::unique_ptr<SrWatch> watch_ = std::make_unique<SrWatch>(loop_, sr_, [this] { ++count_; });
};

/// The event loop makes it: it must not wait for a file server that is away.
TEST_F(SrWatchTest, LooksAtTheDirectoryOnlyWhenItIsArmed) {
    EXPECT_TRUE(watch_->alive()); // though there is no such directory
    watch_->mind_readers(true);
    EXPECT_TRUE(watch_->alive());
    EXPECT_THROW(SrWatch::arm(*watch_->parts()), SystemError);
    EXPECT_FALSE(watch_->alive());
}

TEST_F(SrWatchTest, TellsOfWhatChanges) {
    std::filesystem::create_directory(sr_);
    SrWatch::arm(*watch_->parts());
    EXPECT_EQ(told(), 0);
    std::ofstream{image_} << "x";
    EXPECT_GT(told(), 0);
    SrWatch::arm(*watch_->parts()); // the same again
    EXPECT_EQ(told(), 0);
    std::filesystem::remove_all(sr_);
    EXPECT_GT(told(), 0);
    EXPECT_FALSE(watch_->alive());
}

TEST_F(SrWatchTest, TellsOnlyOfNamesWithItsPrefix) {
    std::filesystem::create_directory(sr_);
    watch_ = std::make_unique<SrWatch>(
        loop_, sr_, [this] { ++count_; }, "VG--x-");
    SrWatch::arm(*watch_->parts());
    for (const char* const name : {"control", "VG--y-VHD--a", "VG--x", "other-VG--x-VHD--a"})
        std::ofstream{sr_ + "/" + name} << "x";
    EXPECT_EQ(told(), 0);
    std::ofstream{sr_ + "/VG--x-VHD--a"} << "x";
    EXPECT_GT(told(), 0);
    std::filesystem::remove(sr_ + "/VG--x-VHD--a");
    EXPECT_GT(told(), 0);
    std::filesystem::remove_all(sr_);
    EXPECT_GT(told(), 0) << "the directory itself has no name";
}

TEST_F(SrWatchTest, TellsOfReadersThatLetGoOnlyWhileItMindsThem) {
    std::filesystem::create_directory(sr_);
    std::ofstream{image_} << "x";
    SrWatch::arm(*watch_->parts());
    read_image();
    EXPECT_EQ(told(), 0);
    read_image(); // what we have read ourselves is no change, though its event is still to be read
    watch_->mind_readers(true);
    EXPECT_EQ(told(), 0);
    read_image();
    EXPECT_GT(told(), 0);
    std::filesystem::directory_iterator{sr_}; // somebody lists it
    EXPECT_EQ(told(), 0);
    read_image(); // by somebody, before we begin to read
    watch_->mind_readers(false);
    EXPECT_GT(told(), 0);
}

TEST_F(SrWatchTest, MayGoWhileSomebodyArmsIt) {
    std::filesystem::create_directory(sr_);
    const auto parts = watch_->parts();
    watch_.reset();
    SrWatch::arm(*parts);
    std::ofstream{image_} << "x";
    loop_.poll();
    EXPECT_EQ(count_, 0);
}

} // namespace
} // namespace coppice
