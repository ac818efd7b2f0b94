#include "format/base/engine.h"

#include <algorithm>
#include <array>
#include <utility>

namespace coppice {
namespace {

constexpr std::array<std::pair<Engine, std::string_view>, 5> names{{{Engine::automatic, "auto"},
                                                                    {Engine::share, "share"},
                                                                    {Engine::uring, "uring"},
                                                                    {Engine::threads, "threads"},
                                                                    {Engine::plain, "plain"}}};

} // namespace

std::string_view to_string(Engine engine) {
    return std::ranges::find(names, engine, [](const auto& entry) { return entry.first; })->second;
}

std::optional<Engine> engine_from(std::string_view name) {
    const auto found = std::ranges::find(names, name, [](const auto& entry) { return entry.second; });
    if (found == names.end()) return std::nullopt;
    return found->first;
}

std::string engine_names() {
    std::string result;
    for (const auto& [engine, name] : names)
        result += (result.empty() ? "" : "|") + std::string{name};
    return result;
}

} // namespace coppice
