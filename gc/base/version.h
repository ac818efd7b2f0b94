// The version of the program, as its build system numbers it.
#pragma once

namespace coppice {

extern const char version[];

} // namespace coppice
