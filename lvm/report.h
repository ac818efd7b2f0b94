// A volume group as one command reported it at one moment: its figures, its PVs, its LVs with their segments. Values
// that contradict each other do not get here: see parse_report().
#pragma once

#include "format/base/units.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::lvm {

enum class Permission { writable, read_only };

struct PvRow {
    std::string name; ///< path of the device as LVM opens it
    std::string uuid;
    Bytes data_start; ///< of extent 0
    Extents extents;
    bool missing = false;

    bool operator==(const PvRow&) const = default;
};

/// Where a linear segment lies.
struct SegmentPlace {
    std::size_t pv = 0; ///< index into VgReport::pvs
    Extents first;

    bool operator==(const SegmentPlace&) const = default;
};

struct Segment {
    Extents start; ///< in the LV
    Extents length;
    std::string type;                  ///< "linear", or something this layer does not read
    std::string devices;               ///< as reported, for messages
    std::optional<SegmentPlace> place; ///< only of linear ones on a PV that is there

    bool operator==(const Segment&) const = default;
};

struct LvRow {
    std::string name;
    std::string uuid;
    Bytes size;
    std::vector<std::string> tags; ///< sorted
    char kind =
        '-'; ///< first character of lv_attr; '-' is what SRs consist of, others are a stranger's (snapshot, pool…)
    Permission permission = Permission::writable; ///< in the metadata
    std::vector<Segment> segments;                ///< gapless from extent 0 where `kind` is '-'

    bool has_tag(std::string_view tag) const;
    bool operator==(const LvRow&) const = default;
};

struct VgReport {
    std::string name;
    std::string uuid;
    std::uint64_t sequence_number = 0; ///< grows with every change of the metadata
    Bytes extent_size;
    Extents extents;
    Extents free;
    Bytes metadata_size; ///< of the smallest metadata area
    Bytes metadata_free; ///< when LVM itself was asked last
    std::uint64_t missing_pvs = 0;
    std::vector<PvRow> pvs;
    std::vector<LvRow> lvs; ///< visible ones, by name

    /// Null where there is none.
    const LvRow* find(std::string_view lv) const;
    /// Throws NotFound.
    const LvRow& at(std::string_view lv) const;
    Bytes to_bytes(Extents count) const { return extent_size * count.count(); }
    /// That are needed for `size`.
    Extents extents_for(Bytes size) const { return Extents{units_needed(size, extent_size)}; }
    bool operator==(const VgReport&) const = default;
};

/// The words of the command that reports `group`: program, arguments. Its report is what parse_report() reads.
std::vector<std::string> report_command(const std::string& group);

/// `json` is what the command wrote, and is not trusted. Throws BadReport where it is cut, lacks a row or a field, is
/// about another group, or where its figures do not fit together.
VgReport parse_report(std::string_view json, const std::string& group);

/// What vgs says of `group`, to see whether anything has changed: its UUID and sequence number.
struct Stamp {
    std::string uuid;
    std::uint64_t sequence_number = 0;

    bool operator==(const Stamp&) const = default;
};

std::vector<std::string> stamp_command(const std::string& group);
/// Throws BadReport.
Stamp parse_stamp(std::string_view json, const std::string& group);

} // namespace coppice::lvm
