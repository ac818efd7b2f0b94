// Text of unknown origin as it may stand in a line for people: names of files, reasons that somebody gave, what an
// image or another program says. The one place that decides what is safe to print on a terminal or to a log.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace coppice {

/// Length of the well-formed UTF-8 sequence at the beginning of `text`, which is not empty; 0 where there is none.
std::size_t utf8_length(std::string_view text);

/// `text` as one line: a '?' stands for each control character (of ASCII and of Latin-1, which begin the commands of
/// terminals), each character that breaks lines or turns the direction of writing, and each byte that is no UTF-8.
std::string printable(std::string_view text);

} // namespace coppice
