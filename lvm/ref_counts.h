// sm's counts of who needs an LV active on this host: <root>/lvm-<SR>/<uuid>, "<normal> <binary>\n".
//
// A file that is missing says 0 0, and one that reaches 0 0 is removed. `normal` counts members of chains and temporary
// use; `binary` says that the disk itself is attached. Callers hold sm's lock lvm-<SR>/<uuid> around every call.
// Source: sm 3.2.12, refcounter.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace coppice::lvm {

struct RefCount {
    std::uint64_t normal = 0;
    bool binary = false;

    std::uint64_t sum() const { return normal + (binary ? 1 : 0); }
    bool operator==(const RefCount&) const = default;
};

/// What tells one life of a count from the next: it dies at 0 0, and when sm resets the counts of an SR.
struct CountLife {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;

    bool operator==(const CountLife&) const = default;
};

class RefCounts {
public:
    /// `space` is "lvm-<SR>".
    RefCounts(const std::string& root, const std::string& space);

    /// Throws SystemError; Error where the file says something else: then nothing may be changed.
    RefCount get(const std::string& uuid) const;
    /// In place, as sm does, so that the count keeps its life.
    void set(const std::string& uuid, RefCount count) const;
    /// nullopt where there is no file.
    std::optional<CountLife> life(const std::string& uuid) const;

private:
    std::string path(const std::string& uuid) const;

    std::string root_;
    std::string directory_;
};

} // namespace coppice::lvm
