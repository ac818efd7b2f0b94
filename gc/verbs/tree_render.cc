#include "gc/verbs/tree_render.h"

#include "gc/base/text_output.h"

#include <algorithm>
#include <map>
#include <set>

namespace coppice {
namespace {

using Children = std::map<std::string_view, std::vector<const TreeNode*>>;

/// What a damaged image may depend on is not garbage, whatever else says so.
std::set<std::string_view> suspected_parents(const SrTree& tree) {
    std::set<std::string_view> names;
    for (const TreeNode& node : tree.nodes)
        names.insert(node.suspected_parents.begin(), node.suspected_parents.end());
    return names;
}

/// Adds the tree below `root`, without recursion: a chain may be as long as somebody likes.
void add_rows(const TreeNode& root, const Children& children, std::set<const TreeNode*>& shown,
              std::vector<TreeRow>& rows) {
    std::vector<TreeRow> waiting{{&root, 0, {}, false}};
    while (!waiting.empty()) {
        TreeRow row = std::move(waiting.back());
        waiting.pop_back();
        if (!shown.insert(row.node).second) continue;
        const auto below = children.find(row.node->uuid);
        row.garbage = row.node->hidden && below == children.end() && row.node->state == NodeState::ok;
        if (below != children.end()) {
            const auto& nodes = below->second;
            for (auto child = nodes.rbegin(); child != nodes.rend(); ++child) {
                TreeRow next{*child, row.depth + 1, row.more, false};
                if (next.more.size() < deepest_drawn) next.more.push_back(child != nodes.rbegin());
                waiting.push_back(std::move(next));
            }
        }
        rows.push_back(std::move(row));
    }
}

std::string branches(const TreeRow& row) {
    std::string result;
    for (std::size_t level = 0; level < row.more.size(); ++level) {
        const bool last_level = level + 1 == row.more.size();
        if (last_level)
            result += row.more[level] ? "├─ " : "└─ ";
        else
            result += row.more[level] ? "│  " : "   ";
    }
    if (row.depth > row.more.size()) result += "(+" + std::to_string(row.depth - row.more.size()) + ") ";
    return result;
}

std::string dot_quoted(std::string_view text) {
    std::string result = "\"";
    for (const char c : printable(text)) {
        if (c == '"' || c == '\\') result += '\\';
        result += c;
    }
    return result + '"';
}

std::string joined(const std::vector<std::string>& words) {
    std::string result;
    for (const std::string& word : words)
        result += (result.empty() ? "" : ", ") + word;
    return result;
}

Paint paint_of(const TreeRow& row) {
    if (row.node->state == NodeState::damaged) return Paint::red;
    if (row.node->state == NodeState::unknown || row.garbage) return Paint::yellow;
    return row.node->hidden ? Paint::dim : Paint::bold;
}

std::string counted(std::size_t count, std::string_view what) {
    return std::to_string(count) + ' ' + std::string{what} + (count == 1 ? "" : "s");
}

} // namespace

std::vector<TreeRow> tree_rows(const SrTree& tree) {
    Children children;
    for (const TreeNode& node : tree.nodes)
        if (node.parent) children[*node.parent].push_back(&node);
    std::set<const TreeNode*> shown;
    std::vector<TreeRow> rows;
    rows.reserve(tree.nodes.size());
    for (const TreeNode& node : tree.nodes)
        if (!node.parent || tree.find(*node.parent) == nullptr) add_rows(node, children, shown, rows);
    // What is left hangs below a circle of parents.
    for (const TreeNode& node : tree.nodes)
        add_rows(node, children, shown, rows);
    const auto suspected = suspected_parents(tree);
    for (TreeRow& row : rows)
        row.garbage = row.garbage && tree.complete && row.node->openers.empty() && !suspected.contains(row.node->uuid);
    return rows;
}

std::vector<std::string> tree_flags(const TreeRow& row) {
    const TreeNode& node = *row.node;
    std::vector<std::string> flags;
    if (node.hidden) flags.emplace_back("hidden");
    if (row.garbage) flags.emplace_back("garbage");
    if (node.state != NodeState::ok)
        flags.push_back(std::string{to_string(node.state)} + (node.reason.empty() ? "" : " (" + node.reason + ")"));
    else if (!node.reason.empty())
        flags.push_back(node.reason);
    for (const Opener& opener : node.openers) {
        std::string flag = "open by " + (opener.name.empty() ? std::string{"a program"} : opener.name);
        if (opener.pid != 0) flag += "[" + std::to_string(opener.pid) + "]";
        flags.push_back(std::move(flag));
    }
    return flags;
}

std::string tree_text(const SrTree& tree, const std::string& sr, bool color) {
    const auto rows = tree_rows(tree);
    std::size_t width = display_width("VDI");
    for (const TreeRow& row : rows)
        width = std::max(width, display_width(branches(row)) + display_width(printable(row.node->uuid)));
    const auto chains = static_cast<std::size_t>(std::ranges::count(rows, std::size_t{0}, &TreeRow::depth));

    std::string text = painted("SR " + sr, Paint::bold, color) + ": " + counted(rows.size(), "VDI") + " in " +
                       counted(chains, "tree") + '\n';
    if (!tree.complete)
        text += painted("Not everything could be looked at; nothing that depends on it will be touched.", Paint::yellow,
                        color) +
                '\n';
    if (rows.empty()) return text;
    text += padded("VDI", width) + "  FORMAT    VIRTUAL   PHYSICAL  ALLOCATED  FLAGS\n";
    for (const TreeRow& row : rows) {
        const std::string lines = branches(row);
        const std::string name = padded(printable(row.node->uuid), width - display_width(lines));
        std::string line = lines + painted(name, paint_of(row), color) + "  " + padded(to_string(row.node->format), 6) +
                           ' ' + padded_left(human_size(row.node->virtual_size), 10) + ' ' +
                           padded_left(human_size(row.node->physical_size), 10) + ' ' +
                           padded_left(human_size(row.node->allocated_size), 10);
        if (const std::string flags = joined(tree_flags(row)); !flags.empty())
            line += "  " + painted(flags, paint_of(row) == Paint::bold ? Paint::plain : paint_of(row), color);
        text += line + '\n';
    }
    return text;
}

std::string tree_dot(const SrTree& tree, const std::string& sr) {
    std::string text = "digraph " + dot_quoted("SR " + sr) +
                       " {\n    rankdir=BT;\n    node [shape=box, style=\"rounded,filled\", "
                       "fillcolor=white, fontname=\"monospace\", fontsize=10];\n";
    for (const TreeRow& row : tree_rows(tree)) {
        const TreeNode& node = *row.node;
        const std::string_view fill = node.state == NodeState::damaged                  ? "#f8d0d0"
                                      : node.state == NodeState::unknown || row.garbage ? "#fbeec2"
                                      : node.hidden                                     ? "#e8e8e8"
                                                                                        : "#d9efd9";
        std::string label = dot_quoted(node.uuid);
        label.pop_back();
        label += "\\n" + std::string{to_string(node.format)} + ", " + human_size(node.virtual_size) + " virtual, " +
                 human_size(node.physical_size) + " physical";
        if (const std::string flags = joined(tree_flags(row)); !flags.empty()) {
            std::string quoted = dot_quoted(flags);
            label += "\\n" + quoted.substr(1, quoted.size() - 2);
        }
        text += "    " + dot_quoted(node.uuid) + " [label=" + label + "\", fillcolor=\"" + std::string{fill} + "\"];\n";
        if (node.parent) text += "    " + dot_quoted(node.uuid) + " -> " + dot_quoted(*node.parent) + ";\n";
    }
    return text + "}\n";
}

} // namespace coppice
