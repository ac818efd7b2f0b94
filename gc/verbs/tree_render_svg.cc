#include "gc/base/text_output.h"
#include "gc/verbs/tree_render.h"

#include <algorithm>

namespace coppice {
namespace {

constexpr std::size_t row_height = 46;
constexpr std::size_t card_height = 36;
constexpr std::size_t indent = 28;
constexpr std::size_t card_width = 640;
constexpr std::size_t margin = 20;
constexpr std::size_t title_height = 56;
constexpr std::size_t bar_width = 120;

/// Text and attribute values alike.
std::string escaped(std::string_view text) {
    std::string result;
    for (const char c : printable(text)) {
        switch (c) {
        case '&':
            result += "&amp;";
            break;
        case '<':
            result += "&lt;";
            break;
        case '>':
            result += "&gt;";
            break;
        case '"':
            result += "&quot;";
            break;
        default:
            result += c;
        }
    }
    return result;
}

std::string number(std::size_t value) {
    return std::to_string(value);
}

std::string_view class_of(const TreeRow& row) {
    if (row.node->state == NodeState::damaged) return "damaged";
    if (row.node->state == NodeState::unknown || row.garbage) return "doubtful";
    return row.node->hidden ? "hidden" : "visible";
}

std::size_t x_of(std::size_t depth) {
    return margin + std::min(depth, deepest_drawn) * indent;
}
std::size_t y_of(std::size_t row) {
    return title_height + margin + row * row_height;
}

std::string text_at(std::size_t x, std::size_t y, std::string_view style, std::string_view text) {
    return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" class=\"" + std::string{style} + "\">" +
           escaped(text) + "</text>\n";
}

std::string rectangle(std::size_t x, std::size_t y, std::size_t width, std::size_t height, std::string_view style) {
    return "<rect x=\"" + number(x) + "\" y=\"" + number(y) + "\" width=\"" + number(width) + "\" height=\"" +
           number(height) + "\" rx=\"5\" class=\"" + std::string{style} + "\"/>\n";
}

std::string card(const TreeRow& row, std::size_t index) {
    const TreeNode& node = *row.node;
    const std::size_t x = x_of(row.depth);
    const std::size_t y = y_of(index);
    std::string flags;
    for (const std::string& flag : tree_flags(row))
        flags += (flags.empty() ? "" : ", ") + flag;
    std::string out = "<g>\n<title>" + escaped(node.uuid + (node.text.empty() ? "" : "\n" + node.text)) + "</title>\n";
    out += rectangle(x, y, card_width, card_height, "card " + std::string{class_of(row)});
    out += text_at(x + 12, y + 15, "uuid", node.uuid);
    out +=
        text_at(x + 12, y + 30, "facts",
                std::string{to_string(node.format)} + "   virtual " + human_size(node.virtual_size) + "   physical " +
                    human_size(node.physical_size) + "   allocated " + human_size(node.allocated_size));
    if (!flags.empty()) out += text_at(x + 300, y + 15, "flags", flags);
    // How much of the disk this one image holds.
    const std::size_t bar_x = x + card_width - bar_width - 12;
    const double share = node.virtual_size == 0_B ? 0.0
                                                  : static_cast<double>(node.allocated_size.count()) /
                                                        static_cast<double>(node.virtual_size.count());
    const auto filled = static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(bar_width));
    out += rectangle(bar_x, y + 22, bar_width, 7, "bar");
    if (filled > 0) out += rectangle(bar_x, y + 22, filled, 7, "used");
    return out + "</g>\n";
}

constexpr std::string_view style = R"(<style>
svg { background: #ffffff; }
text { font-family: ui-monospace, "DejaVu Sans Mono", monospace; fill: #1d2a23; }
.title { font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 18px; font-weight: 600; }
.uuid { font-size: 12px; font-weight: 600; } .facts { font-size: 11px; fill: #56625b; white-space: pre; }
.flags { font-size: 11px; fill: #8a4b08; }
.card { stroke-width: 1; } .visible { fill: #e6f4e8; stroke: #5d9b69; } .hidden { fill: #f1f1f1; stroke: #b5b5b5; }
.doubtful { fill: #fdf3d3; stroke: #cfa53a; } .damaged { fill: #fbe1e1; stroke: #c94f4f; }
.bar { fill: #d5ddd7; } .used { fill: #3f8150; } .line { fill: none; stroke: #9aa79e; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
svg { background: #161c18; } text { fill: #e4ebe6; } .facts { fill: #a5b1a9; } .flags { fill: #f0b66a; }
.visible { fill: #1f3626; } .hidden { fill: #262b28; stroke: #5a635d; } .doubtful { fill: #3a3116; } .damaged { fill: #3f1d1d; }
.bar { fill: #38423b; } }
</style>
)";

} // namespace

std::string tree_svg(const SrTree& tree, const std::string& sr) {
    const auto rows = tree_rows(tree);
    std::size_t deepest = 0;
    for (const TreeRow& row : rows)
        deepest = std::max(deepest, std::min(row.depth, deepest_drawn));
    const std::size_t width = x_of(deepest) + card_width + margin;
    const std::size_t height = y_of(rows.size()) + margin;
    std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + number(width) + "\" height=\"" +
                      number(height) + "\" viewBox=\"0 0 " + number(width) + ' ' + number(height) +
                      "\" role=\"img\">\n<title>Trees of SR " + escaped(sr) + "</title>\n";
    out += style;
    out += text_at(margin, margin + 18, "title",
                   "SR " + sr + (tree.complete ? "" : " (not everything could be looked at)"));
    std::vector<std::size_t> last_at_depth; // the row of the nearest node above, for each depth
    for (std::size_t index = 0; index < rows.size(); ++index) {
        const std::size_t depth = rows[index].depth;
        last_at_depth.resize(depth + 1);
        last_at_depth[depth] = index;
        if (depth == 0 || depth > deepest_drawn) continue;
        const std::size_t x = x_of(depth - 1) + 12;
        const std::size_t middle = y_of(index) + card_height / 2;
        out += "<path class=\"line\" d=\"M" + number(x) + ' ' + number(y_of(last_at_depth[depth - 1]) + card_height) +
               " V" + number(middle) + " H" + number(x_of(depth)) + "\"/>\n";
    }
    for (std::size_t index = 0; index < rows.size(); ++index)
        out += card(rows[index], index);
    return out + "</svg>\n";
}

} // namespace coppice
