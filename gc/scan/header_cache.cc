#include "gc/scan/header_cache.h"

#include <algorithm>
#include <set>

namespace coppice {
namespace {

constexpr std::chrono::seconds coarsest_tick{2};

bool old_enough(const FileState& state, const HeaderCache::Moment& moment) {
    const std::chrono::nanoseconds changed{std::max(state.changed_ns, state.identity.modified_ns)};
    return moment.wall.time_since_epoch() >= changed + coarsest_tick;
}

} // namespace

std::optional<ScannedImage> HeaderCache::find(const std::string& file, const FileState& state) const {
    const std::lock_guard lock{mutex_};
    const auto place = entries_.find(file);
    if (place == entries_.end() || !place->second.trusted || !place->second.state.same_content(state))
        return std::nullopt;
    ScannedImage image = place->second.image;
    image.node.physical_size = state.taken; // may change without a new time, when delayed writes find their place
    return image;
}

void HeaderCache::remember(const std::string& file, const FileState& state, const ScannedImage& image,
                           const Moment& moment) {
    const std::lock_guard lock{mutex_};
    const auto place = entries_.find(file);
    const bool known = place != entries_.end() && place->second.state.same_content(state);
    const auto first_seen = known ? place->second.first_seen : moment.steady;
    if (!image.header_read || image.node.state != NodeState::ok || image.node.identity != state.identity) {
        if (place != entries_.end()) entries_.erase(place);
        return;
    }
    const bool trusted =
        moment.steady >= first_seen + coarsest_tick || (stamps_ == Stamps::here && old_enough(state, moment));
    entries_.insert_or_assign(file, Entry{state, first_seen, trusted, image});
}

void HeaderCache::keep_only(const SrTree& tree) {
    std::set<std::string> files;
    for (const TreeNode& node : tree.nodes)
        files.insert(node.file);
    const std::lock_guard lock{mutex_};
    std::erase_if(entries_, [&](const auto& entry) { return !files.contains(entry.first); });
}

} // namespace coppice
