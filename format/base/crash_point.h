// Where a test may kill or stop the program: right before every change of an image, of a name or of the journal.
//
// Only in builds with COPPICE_FAULTS (the presets of developers and CI): with COPPICE_TEST_KILL_AFTER_CHANGES=N in the
// environment the process sends itself SIGKILL when N changes have been made; with COPPICE_TEST_STOP_AFTER_CHANGES=N it
// sends itself SIGSTOP then, once, so that the world can be changed under it, and with N,M,… once more after M further
// changes, and so on. Elsewhere this is nothing at all.
// The third variable of such builds, COPPICE_TEST_TIME_FACTOR, is told of in format/base/passing_time.h.
#pragma once

namespace coppice {

#ifdef COPPICE_FAULTS
void about_to_change();
#else
inline void about_to_change() {}
#endif

} // namespace coppice
