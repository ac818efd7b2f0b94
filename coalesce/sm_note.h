// `coalesce_<VDI>` on the SR: tells sm, and whoever activates a disk of the chain, that the VDI is just being merged.
//
// Without a live merge it must not be there: who activates a QCOW2 disk waits for the end of the merge that it tells
// of. So it goes on every way out; what a kill leaves is removed by the next replay, ours and sm's.
#pragma once

#include "format/base/storage.h"

#include <string>

namespace coppice {

class SmNote {
public:
    SmNote(Storage& storage, const std::string& vdi);
    ~SmNote();
    SmNote(const SmNote&) = delete;
    SmNote& operator=(const SmNote&) = delete;

    /// Durably gone on return. Throws SystemError.
    void remove();

private:
    Storage& storage_;
    std::string name_;
    bool stands_ = true;
};

} // namespace coppice
