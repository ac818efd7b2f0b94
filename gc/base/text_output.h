// How quantities and states are written for people.
#pragma once

#include "coalesce/plan_text.h"
#include "format/base/printable.h"

#include <chrono>
#include <string>
#include <string_view>

namespace coppice {

/// "0:07", "12:30", "3:05:00".
std::string human_duration(std::chrono::seconds duration);

enum class Paint { plain, bold, dim, red, green, yellow, blue };
/// `text` in a colour where `color` says so. Control characters in it are replaced: names come from other people's
/// files.
std::string painted(std::string_view text, Paint paint, bool color);
/// How many columns `text` takes, which holds UTF-8 and no control characters.
std::size_t display_width(std::string_view text);
/// `text` filled up with blanks to `width` columns.
std::string padded(std::string_view text, std::size_t width);
std::string padded_left(std::string_view text, std::size_t width);

} // namespace coppice
