#include "format/base/printable.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

TEST(Printable, KeepsText) {
    for (const char* const text : {"", "plain, with blanks", "M\u00fcller", "\u65e5\u672c\u8a9e", "\U0001f333"})
        EXPECT_EQ(printable(text), text);
}

TEST(Printable, IsOneLineWithoutCommandsToATerminal) {
    EXPECT_EQ(printable("a\x1b[31mb\nc\td\re\x7f"), "a?[31mb?c?d?e?");
    EXPECT_EQ(printable(std::string_view{"a\0b", 3}), "a?b");
    EXPECT_EQ(printable("\xc2\x9b"
                        "31m"),
              "?31m"); // U+009B: what ESC [ stands for
    EXPECT_EQ(printable("\xc2\xa0"), "\xc2\xa0");
    EXPECT_EQ(printable("a\xe2\x80\xa8z\xe2\x80\xaez\xe2\x81\xa6z\xe2\x80\x8fz"), "a?z?z?z?z");
}

TEST(Printable, ReplacesWhatIsNoUtf8) {
    EXPECT_EQ(printable("\x9b"
                        "31m"),
              "?31m");
    EXPECT_EQ(printable("a\xff\xc3"), "a??");
    EXPECT_EQ(printable("\xc0\x9b"), "??"); // ESC in two bytes
    EXPECT_EQ(printable("\xed\xa0\x80"), "???");
}

} // namespace
} // namespace coppice
