// A temporary directory with a journal in it, for tests.
#pragma once

#include "journal/database.h"
#include "journal/journal.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

namespace coppice::journal {

class JournalDirectory {
public:
    const std::filesystem::path& root() const { return directory_.path(); }
    std::string path() const { return directory_ / "journal.db"; }
    std::unique_ptr<Journal> open(Journal::Create create = Journal::Create::yes) const {
        return Journal::open(path(), create);
    }

    void write(const std::string& content) const { std::ofstream{path(), std::ios::binary} << content; }
    static std::string content(const std::filesystem::path& file) {
        std::ifstream stream{file, std::ios::binary};
        return {std::istreambuf_iterator<char>{stream}, {}};
    }
    /// Every file below, with its content.
    std::map<std::string, std::string> snapshot() const {
        std::map<std::string, std::string> result;
        for (const auto& entry : std::filesystem::directory_iterator{root()})
            result[entry.path().filename()] = content(entry.path());
        return result;
    }

private:
    test::TemporaryDirectory directory_;
};

inline Operation merge_of(const std::string& vdi) {
    Operation operation;
    operation.kind = "coalesce";
    operation.vdi = vdi;
    operation.into = "parent-of-" + vdi;
    operation.direction = "down";
    operation.step = R"({"op":"coalesce"})";
    operation.sources = {{vdi, {7, 0xFFFF'FFFF'FFFF'FFFE, 4096, -5}}, {"other", {7, 9, 0, 11}}};
    operation.started = 1000;
    return operation;
}

inline void expect_same(const Operation& a, const Operation& b) {
    EXPECT_EQ(a.kind, b.kind);
    EXPECT_EQ(a.vdi, b.vdi);
    EXPECT_EQ(a.into, b.into);
    EXPECT_EQ(a.direction, b.direction);
    EXPECT_EQ(a.step, b.step);
    EXPECT_EQ(a.state, b.state);
    EXPECT_EQ(a.cursor, b.cursor);
    EXPECT_EQ(a.copied_bytes, b.copied_bytes);
    EXPECT_EQ(a.shared_bytes, b.shared_bytes);
    EXPECT_EQ(a.sources, b.sources);
    EXPECT_EQ(a.started, b.started);
    EXPECT_EQ(a.error, b.error);
}

} // namespace coppice::journal
