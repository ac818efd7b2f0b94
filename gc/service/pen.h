// What administrators write into the journal: pauses and holds. The same for the service and for a verb that works by
// itself.
#pragma once

#include "gc/base/wall_time.h"
#include "gc/service/control_message.h"
#include "journal/journal.h"

namespace coppice {

/// Whether `verb` is one of pause, resume, hold, release.
bool is_pen_verb(std::string_view verb);

/// Carries out the request: pause {until?, until_danger, owner, reason}, resume {}, hold {vdi, until?, owner, reason},
/// release {hold}. Throws Error, NotFound where there is no such hold.
Reply write_down(const boost::json::object& request, journal::Journal& journal, UnixSeconds now);

/// What write_down() would answer, with "dry_run" set, without writing anything. `journal` is null where there is none
/// yet. Throws NotFound as above.
Reply foretell(const boost::json::object& request, const journal::Journal* journal, UnixSeconds now);

boost::json::object hold_json(const journal::Hold& hold);
/// For people, with a line end.
std::string hold_line(const journal::Hold& hold);

} // namespace coppice
