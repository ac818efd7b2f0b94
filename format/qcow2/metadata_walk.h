// Walks everything in an image that refers to host clusters, and counts the references.
//
// Each L2 table is read once per round, in the order of the file, however many L1 entries name it. Only the first walk
// reports what it finds wrong with the structures, and may decompress compressed clusters.
#pragma once

#include "format/check.h"
#include "format/qcow2/findings.h"
#include "format/qcow2/l2_entry.h"
#include "format/qcow2/layer.h"
#include "format/qcow2/reference_counts.h"

#include <vector>

namespace coppice::qcow2 {

class MetadataWalk {
public:
    /// Reads the refcount table and all L1 tables; reports what is wrong with them. All references outlive it.
    MetadataWalk(const Layer& layer, Findings& findings, CheckDepth depth);

    /// Adds all references to `counts`.
    void count(ReferenceCounts& counts);
    /// Entries of the refcount table; 0 where there is no block, or none at a possible place.
    const std::vector<std::uint64_t>& refcount_table() const { return refcount_table_; }

private:
    /// A stretch of the file that serves as `owner`.
    struct Area {
        Bytes offset;
        Bytes length;
    };
    struct L2Use {
        std::uint64_t offset;
        std::uint32_t active;    ///< entries of the active L1 table that name it
        std::uint32_t snapshots; ///< entries of others
    };

    void report(Effect effect, std::string_view code, Bytes offset, std::string_view expectation);
    bool inside_file(Bytes offset, Bytes length) const { return offset <= limit_ && length <= limit_ - offset; }
    bool possible_cluster(Bytes offset) const {
        return is_aligned(offset, cluster_size_) && inside_file(offset, cluster_size_);
    }

    void read_refcount_table();
    void read_active_l1();
    void read_snapshots();
    void read_snapshot_l1(const disk::SnapshotEntry& entry, Bytes place);
    void read_bitmaps();
    void count_bitmap(ReferenceCounts& counts, const Area& table);
    /// Whether there can be one more table of this length. As tables do not overlap, all of them together are not
    /// longer than the file; otherwise it is refused, so that the walk takes no longer than reading the file.
    bool has_room_for_table(Bytes length, Bytes place);
    /// The L2 table that an L1 entry names, if it is a possible one.
    std::optional<Bytes> table_of(std::uint64_t entry, Bytes place, Effect effect);
    void use_table(Bytes offset, bool active);
    void compact_tables();

    void add_area(ReferenceCounts& counts, Owner owner, Area area) const;
    void count_l2_table(ReferenceCounts& counts, const L2Use& use);
    void count_entry(ReferenceCounts& counts, const L2Entry& entry, const L2Use& use) const;
    void try_compressed(std::vector<L2Entry>& entries, Effect effect);

    const Layer& layer_;
    Findings& findings_;
    CheckDepth depth_;
    Bytes cluster_size_;
    Bytes limit_;
    L2Rules rules_;
    std::vector<std::uint64_t> refcount_table_;
    std::vector<Area> tables_; ///< L1 tables, snapshot table, bitmap directory, bitmap tables
    std::vector<Area> bitmap_tables_;
    Bytes tables_length_;
    std::vector<L2Use> l2_tables_; ///< after compact_tables(): by offset, each once
    std::size_t compacted_ = 0;    ///< leading part of l2_tables_ that is sorted and unique
    unsigned bad_streams_ = 0;
    bool first_walk_ = true;
};

} // namespace coppice::qcow2
