// Reads the headers of all images of a file SR, in process and in parallel, and puts the trees together.
//
// One bad image never ends a scan: it becomes a node that says what is wrong with it, and what may depend on its
// missing word is named in suspected_parents, or else makes the tree incomplete. Only `<uuid>.vhd`, `.qcow2`, `.raw`
// and the same names with "OLD_" in front are images; everything else in the SR is left alone. Nothing is written, and
// no file is held open after its header was read.
#pragma once

#include "coalesce/sr_tree.h"
#include "format/base/block_device.h"
#include "format/base/storage.h"
#include "journal/journal.h"

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace coppice {

/// Allocated sizes by file and state, so that only images that changed have their tables read again. Thread-safe.
class SizeCache {
public:
    std::optional<Bytes> find(const std::string& file, const FileIdentity& identity) const;
    void remember(const std::string& file, const FileIdentity& identity, Bytes allocated);
    /// Forgets files that `tree` does not name.
    void keep_only(const SrTree& tree);

private:
    struct Entry {
        FileIdentity identity;
        Bytes allocated;
    };
    mutable std::mutex mutex_;
    std::map<std::string, Entry> entries_;
};

class HeaderCache;

using ParentResolver = std::function<std::optional<std::string>(std::string_view stored)>;
/// Of an SR that is a directory, with its canonical path; empty where it has none.
ParentResolver inside_directory(std::string directory);

struct ScanOptions {
    /// The object of the SR that the name of a parent, as an image records it, means; nullopt where it leads out.
    ParentResolver inside_sr = inside_directory({});
    unsigned threads = 2;
    /// What the journal knows of a VDI (Journal::last_known), asked only for what cannot be read. Called by one thread.
    std::function<std::optional<journal::NodeVersion>(const std::string& vdi)> last_known;
    SizeCache* sizes = nullptr;
    HeaderCache* headers = nullptr; ///< what earlier scans of the same SR have read
};

/// Throws SystemError only where the SR itself cannot be listed.
SrTree scan_sr(Storage& storage, const ScanOptions& options);

/// The uuid of a node ("OLD_" included) for the name of an image file; nullopt for every other name.
std::optional<std::string> node_of_file(std::string_view file);

} // namespace coppice
