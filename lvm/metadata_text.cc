#include "lvm/metadata_text.h"

#include "lvm/error.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <variant>

namespace coppice::lvm {
namespace {

constexpr int deepest = 8; // sections in sections; the format needs four

/// "name = value" and "name { … }".
struct Section {
    using Words = std::vector<std::string>;
    std::map<std::string, std::variant<std::uint64_t, std::string, Words>, std::less<>> values;
    std::map<std::string, Section, std::less<>> sections;
};

class Parser {
public:
    Parser(std::string_view text, const std::string& group) : text_{text}, group_{group} {}

    Section whole() {
        Section top = section(0);
        require(at_ == text_.size(), "more is closed than was opened");
        return top;
    }

private:
    void require(bool good, const char* cause) const {
        if (!good) throw BadReport{group_, "metadata, byte " + std::to_string(at_), cause};
    }

    /// The character that comes next, blanks and comments left out; NUL at the end.
    char next() {
        for (; at_ < text_.size(); ++at_) {
            const char c = text_[at_];
            if (c == '#')
                at_ = std::min(text_.find('\n', at_), text_.size() - 1);
            else if (c != ' ' && c != '\t' && c != '\n' && c != '\0')
                return c;
        }
        return '\0';
    }

    bool take(char wanted) {
        if (next() != wanted) return false;
        ++at_;
        return true;
    }

    std::string name() {
        const std::size_t begin = at_;
        while (at_ < text_.size() && std::string_view{" \t\n={}[]\"#,"}.find(text_[at_]) == std::string_view::npos)
            ++at_;
        require(at_ > begin, "a name is missing");
        return std::string{text_.substr(begin, at_ - begin)};
    }

    std::string quoted() {
        require(take('"'), "a text is missing");
        std::string result;
        for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
            if (text_[at_] == '\\') ++at_;
            require(at_ < text_.size(), "a text has no end");
            result += text_[at_];
        }
        require(take('"'), "a text has no end");
        return result;
    }

    std::uint64_t number() {
        std::uint64_t result = 0;
        const char* const begin = text_.data() + at_;
        const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), result);
        require(error == std::errc{}, "a number is missing");
        at_ += static_cast<std::size_t>(end - begin);
        return result;
    }

    Section::Words list() {
        Section::Words words;
        require(take('['), "a list is missing");
        while (!take(']')) {
            words.push_back(next() == '"' ? quoted() : std::to_string(number()));
            require(take(',') || next() == ']', "a list has no end");
        }
        return words;
    }

    Section section(int depth) {
        require(depth < deepest, "sections are too deep");
        Section result;
        while (next() != '\0' && next() != '}') {
            const std::string key = name();
            if (take('{')) {
                require(result.sections.emplace(key, section(depth + 1)).second, "a section is there twice");
                require(take('}'), "a section has no end");
                continue;
            }
            require(take('='), "a value is missing");
            const char c = next();
            auto& value = result.values[key];
            if (c == '[')
                value = list();
            else if (c == '"')
                value = quoted();
            else
                value = number();
        }
        return result;
    }

    std::string_view text_;
    const std::string& group_;
    std::size_t at_ = 0;
};

class Reader {
public:
    Reader(const Section& top, const VgReport& like) : like_{like} {
        const auto group = top.sections.find(like.name);
        require(group != top.sections.end() && top.sections.size() == 1, like.name, "it is not about this group");
        vg_ = &group->second;
    }

    VgReport read() {
        VgReport report = like_;
        report.lvs.clear();
        report.uuid = text(*vg_, "id", like_.name);
        require(report.uuid == like_.uuid, like_.name, "another group has this name");
        report.sequence_number = number(*vg_, "seqno", like_.name);
        report.extent_size = sectors(*vg_, "extent_size", like_.name);
        require(report.extent_size == like_.extent_size, like_.name, "its extents have another size");
        require_states(*vg_, like_.name, {"RESIZEABLE", "READ", "WRITE"});
        read_pvs(report);
        report.free = report.extents;
        if (const auto lvs = vg_->sections.find("logical_volumes"); lvs != vg_->sections.end())
            for (const auto& [name, section] : lvs->second.sections)
                report.lvs.push_back(lv(name, section, report));
        std::ranges::sort(report.lvs, {}, &LvRow::name);
        return report;
    }

private:
    void require(bool good, const std::string& place, const char* cause) const {
        if (!good) throw BadReport{like_.name, "metadata of " + place, cause};
    }

    template <typename Value>
    const Value& value(const Section& section, const char* name, const std::string& place) const {
        const auto found = section.values.find(name);
        if (found == section.values.end() || !std::holds_alternative<Value>(found->second))
            throw BadReport{like_.name, "metadata of " + place, std::string{"this is missing: "} + name};
        return std::get<Value>(found->second);
    }
    const std::string& text(const Section& section, const char* name, const std::string& place) const {
        return value<std::string>(section, name, place);
    }
    std::uint64_t number(const Section& section, const char* name, const std::string& place) const {
        return value<std::uint64_t>(section, name, place);
    }
    Bytes sectors(const Section& section, const char* name, const std::string& place) const {
        return sector_size * number(section, name, place);
    }

    /// Whatever else is said of it changes what it is.
    void require_states(const Section& section, const std::string& place, const Section::Words& usual) const {
        for (const std::string& state : value<Section::Words>(section, "status", place))
            require(std::ranges::find(usual, state) != usual.end(), place, "it has a state that no SR has");
        require(value<Section::Words>(section, "flags", place).empty(), place, "it has a flag that no SR has");
    }

    void read_pvs(VgReport& report) {
        const auto list = vg_->sections.find("physical_volumes");
        require(list != vg_->sections.end() && list->second.sections.size() == report.pvs.size(), like_.name,
                "it has other PVs");
        report.extents = Extents{0};
        for (const auto& [name, section] : list->second.sections) {
            const auto pv = std::ranges::find(report.pvs, text(section, "id", name), &PvRow::uuid);
            require(pv != report.pvs.end() && !pv->missing, name, "it is another PV");
            require_states(section, name, {"ALLOCATABLE"});
            pv->data_start = sectors(section, "pe_start", name);
            pv->extents = Extents{number(section, "pe_count", name)};
            report.extents += pv->extents;
            places_[name] = static_cast<std::size_t>(pv - report.pvs.begin());
        }
        require(places_.size() == report.pvs.size(), like_.name, "a PV is there twice");
    }

    Segment segment(const Section& section, const std::string& lv, const VgReport& report) const {
        require(text(section, "type", lv) == "striped" && number(section, "stripe_count", lv) == 1, lv,
                "it is not linear");
        const auto& stripes = value<Section::Words>(section, "stripes", lv);
        require(stripes.size() == 2, lv, "its segment has not one place");
        const auto pv = places_.find(stripes.front());
        require(pv != places_.end(), lv, "its segment lies on an unknown PV");
        const PvRow& row = report.pvs[pv->second];
        Segment result{.start = Extents{number(section, "start_extent", lv)},
                       .length = Extents{number(section, "extent_count", lv)},
                       .type = "linear",
                       .devices = row.name + '(' + stripes.back() + ')'};
        std::uint64_t first = 0;
        std::from_chars(stripes.back().data(), stripes.back().data() + stripes.back().size(), first);
        require(Extents{first} + result.length <= row.extents, lv, "its segment reaches behind its PV");
        result.place = SegmentPlace{pv->second, Extents{first}};
        return result;
    }

    LvRow lv(const std::string& name, const Section& section, VgReport& report) const {
        LvRow row{.name = name, .uuid = text(section, "id", name)};
        require_states(section, name, {"READ", "WRITE", "VISIBLE"});
        const auto& states = value<Section::Words>(section, "status", name);
        const auto has = [&](const char* state) { return std::ranges::find(states, state) != states.end(); };
        require(has("READ") && has("VISIBLE"), name, "it cannot be seen");
        row.permission = has("WRITE") ? Permission::writable : Permission::read_only;
        if (section.values.contains("tags")) row.tags = value<Section::Words>(section, "tags", name);
        std::ranges::sort(row.tags);
        for (const auto& [number, part] : section.sections)
            row.segments.push_back(segment(part, name, report));
        std::ranges::sort(row.segments, {}, &Segment::start);
        require(row.segments.size() == number(section, "segment_count", name), name, "segments are missing");
        Extents end;
        for (const Segment& part : row.segments) {
            require(part.start == end && part.length.count() > 0, name, "its segments have gaps or overlap");
            end += part.length;
        }
        require(end <= report.free, name, "more is taken than there is");
        report.free -= end;
        row.size = report.to_bytes(end);
        return row;
    }

    const VgReport& like_;
    const Section* vg_ = nullptr;
    std::map<std::string, std::size_t, std::less<>> places_; ///< of PVs, by their names in the text
};

} // namespace

VgReport parse_metadata(std::string_view text, const VgReport& like) {
    const Section top = Parser{text, like.name}.whole();
    try {
        return Reader{top, like}.read();
    } catch (const std::overflow_error& error) {
        throw BadReport{like.name, "metadata", error.what()};
    }
}

} // namespace coppice::lvm
