#include "gc/scan/scan.h"

#include "format/parent_name.h"
#include "gc/scan/header_cache.h"
#include "gc/scan/scan_link.h"
#include "gc/scan/scan_read.h"

#include <algorithm>
#include <set>

namespace coppice {

std::optional<Bytes> SizeCache::find(const std::string& file, const FileIdentity& identity) const {
    const std::lock_guard lock{mutex_};
    const auto place = entries_.find(file);
    if (place == entries_.end() || place->second.identity != identity) return std::nullopt;
    return place->second.allocated;
}

void SizeCache::remember(const std::string& file, const FileIdentity& identity, Bytes allocated) {
    const std::lock_guard lock{mutex_};
    entries_.insert_or_assign(file, Entry{identity, allocated});
}

void SizeCache::keep_only(const SrTree& tree) {
    std::set<std::string> files;
    for (const TreeNode& node : tree.nodes)
        files.insert(node.file);
    const std::lock_guard lock{mutex_};
    std::erase_if(entries_, [&](const auto& entry) { return !files.contains(entry.first); });
}

ParentResolver inside_directory(std::string directory) {
    return [directory = std::move(directory)](std::string_view stored) { return name_inside_sr(stored, directory); };
}

SrTree scan_sr(Storage& storage, const ScanOptions& options) {
    // sm renames and deletes while we read. A second look settles what the first one found half done; what still does
    // not fit then is reported as it is.
    for (const bool last : {false, true}) {
        std::vector<ScannedImage> images = read_images(storage, image_files(storage), options);
        const bool vanished = std::ranges::any_of(images, &ScannedImage::vanished);
        Linked linked = link_images(storage, std::move(images), options);
        if (last || (!vanished && !linked.unsteady)) {
            // Renamed while we looked, twice in a row: under its new name it may be somebody's child.
            if (vanished) linked.tree.complete = false;
            if (options.sizes != nullptr) options.sizes->keep_only(linked.tree);
            if (options.headers != nullptr) options.headers->keep_only(linked.tree);
            return std::move(linked.tree);
        }
    }
    return {}; // not reached
}

} // namespace coppice
