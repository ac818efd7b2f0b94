// The journal entries that sm, an older collector or we ourselves leave on a file SR: small files named <type>_<uuid>.
//
// Source: sm 3.2.12, journaler for file SRs. Its listing fails on any stray name that begins like an entry; ours takes
// only exact names, and leaves everything else alone.
#pragma once

#include "format/base/storage.h"

#include <string>
#include <vector>

namespace coppice {

enum class SmEntryType {
    coalesce, ///< a merge of this VDI into its parent is going on
    relink,   ///< its data is in the parent; its children have to be relinked, then it is deleted
    leaf,     ///< this leaf is being merged into the parent that is the entry's value
    clone,    ///< a snapshot is being taken (LVM only)
    zero,     ///< an extension of a raw parent is being zeroed (LVM only)
};

struct SmEntry {
    SmEntryType type;
    std::string vdi;
    std::string value; ///< without line ends and zero bytes behind it
    std::string file;
    std::string trouble; ///< why the value could not be read; empty where it could

    bool operator==(const SmEntry&) const = default;
};

std::string sm_entry_name(SmEntryType type, const std::string& vdi);

/// Sorted by file name. An empty file counts as no entry, as it does for sm; one that holds nothing but zero bytes,
/// which is what a power cut makes of a file that was never flushed, is an entry without a value.
std::vector<SmEntry> list_sm_entries(Storage& storage);

} // namespace coppice
