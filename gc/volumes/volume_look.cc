#include "gc/volumes/volume_look.h"

#include "format/base/error.h"
#include "gc/volumes/volume_names.h"
#include "lvm/error.h"

#include <set>

namespace coppice {
namespace {

constexpr std::string_view nodes = "/dev/";

ChainProblem problem_of(const TreeNode& node) {
    ChainProblemKind kind = ChainProblemKind::image_damaged;
    if (node.reason == "parent-missing") kind = ChainProblemKind::parent_missing;
    if (node.reason == "chain-cycle") kind = ChainProblemKind::chain_cycle;
    if (node.reason == "unsupported-feature") kind = ChainProblemKind::unsupported_feature;
    if (node.state == NodeState::unknown) kind = ChainProblemKind::parent_unusable;
    return {kind, node.file, node.text};
}

} // namespace

std::optional<NamedVolume> named_volume(const std::string& path) {
    if (!path.starts_with(nodes)) return std::nullopt;
    const auto slash = path.find('/', nodes.size());
    if (slash == std::string::npos) return std::nullopt;
    const auto file = file_of_volume(path.substr(slash + 1));
    if (!file) return std::nullopt;
    const std::string group = path.substr(nodes.size(), slash - nodes.size());
    return NamedVolume{locate_sr("vg:" + group), *file, format_of_name(*file).value()};
}

VolumeLook::VolumeLook(const SrLocation& sr, const std::string& run_dir)
    : host_{sr.group, sr.uuid, run_dir}, storage_{host_}, trees_{storage_, ScanOptions{}}, tree_{trees_.current()} {}

std::vector<std::string> VolumeLook::files() const {
    std::vector<std::string> result;
    for (const TreeNode& node : tree_.nodes)
        result.push_back(node.file);
    return result;
}

std::string VolumeLook::path(const std::string& file) const {
    return std::string{nodes} + storage_.name() + '/' + volume_of_file(file).value_or(file);
}

OpenChain VolumeLook::chain(const std::string& file) {
    const auto uuid = node_of_file(file);
    const TreeNode* node = uuid ? tree_.find(*uuid) : nullptr;
    if (node == nullptr || node->file != file) throw NotFound{path(file), "no such image in this SR"};
    OpenChain chain;
    std::set<std::string> seen;
    for (;;) {
        if (!seen.insert(node->uuid).second) {
            chain.problem = {ChainProblemKind::chain_cycle, node->file, "its ancestors form a cycle"};
            return chain;
        }
        try {
            chain.layers.push_back(
                {node->file, open_image(storage_.open(node->file, Access::read_only), node->format)});
        } catch (const Unsupported& error) {
            chain.problem = {ChainProblemKind::unsupported_feature, node->file, error.what()};
            return chain;
        } catch (const CorruptImage& error) {
            chain.problem = {ChainProblemKind::image_damaged, node->file, error.what()};
            return chain;
        }
        if (node->state != NodeState::ok) {
            chain.problem = problem_of(*node);
            return chain;
        }
        if (!node->parent) return chain;
        const TreeNode* parent = tree_.find(*node->parent);
        if (parent == nullptr) {
            chain.problem = {ChainProblemKind::parent_missing, node->file, "its parent is not in the SR"};
            return chain;
        }
        node = parent;
    }
}

void VolumeLook::confirm() {
    try {
        storage_.confirm();
    } catch (const lvm::GroupChanged& error) {
        throw Busy{storage_.name(),
                   "it was changed while it was read, and what was read may be wrong: " + std::string{error.what()}};
    }
}

} // namespace coppice
