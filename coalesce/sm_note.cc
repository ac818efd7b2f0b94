#include "coalesce/sm_note.h"

#include "format/base/log.h"

#include <exception>

namespace coppice {

SmNote::SmNote(Storage& storage, const std::string& vdi) : storage_{storage}, name_{"coalesce_" + vdi} {
    write_small_file(storage_, name_, "1");
}

SmNote::~SmNote() {
    if (!stands_) return;
    try {
        remove();
    } catch (...) { // a destructor; also of a test whose power is gone
        log::error("coalesce", "cannot remove the entry of an ended merge entry=" + name_);
    }
}

void SmNote::remove() {
    storage_.remove(name_);
    stands_ = false;
    storage_.sync();
}

} // namespace coppice
