// One pass of writing: everything is planned in memory first, then carried out in an order that any crash survives.
//
//   counts of all new clusters, data, complete new L2 tables → flush
//   entries of L2 tables in use, L1 entries                  → flush
//   counts of what was replaced go down, on disk together with the counts of the next round
//
// Nothing on disk refers to a new cluster before the first flush, so that up to there the order is free. A crash before
// the second leaves what was taken as leaks. Data that is overwritten in place is masked from every guest, which the
// caller knows.
#pragma once

#include "format/merge_target.h"
#include "format/qcow2/cluster_plan.h"
#include "format/qcow2/pieces.h"
#include "format/qcow2/writable.h"

#include <deque>
#include <span>
#include <vector>

namespace coppice::qcow2 {

class WriteRound {
public:
    /// Guest bytes at and behind `visible_end` do not exist. All references outlive it.
    WriteRound(Writable& image, const Beneath& beneath, Bytes visible_end);
    /// Leaves the image in doubt when the round has been neither carried out nor given up.
    ~WriteRound();
    WriteRound(const WriteRound&) = delete;
    WriteRound& operator=(const WriteRound&) = delete;

    /// `writes` are those that overlap the range of L1 entry `index`, ascending. Throws NoSpace, CorruptImage,
    /// Unsupported; nothing has been written then.
    void plan_table(std::uint64_t index, std::span<const GuestWrite> writes);
    /// Enough has been planned for one round.
    bool full() const;
    /// After an exception the round has to be given up.
    void carry_out(DataMover& mover);
    /// Gives back what a round that failed has taken, unless the image is in doubt anyway. Reads and writes counts
    /// where there are many, and throws what that throws; then the round is still open.
    void give_up();

private:
    /// A part of an L2 table, in whole sectors, as it is to become.
    struct Slice {
        std::uint64_t index; ///< in L1
        Bytes former;        ///< table on disk, 0 for none
        bool in_place;       ///< the former table belongs to this entry alone
        std::uint64_t first; ///< word
        std::vector<std::uint64_t> words;
        std::vector<bool> changed; ///< by sector
        Bytes place;               ///< new table, where one is needed
    };
    struct Release {
        ByteRange host;
        bool all_references;
        bool moved; ///< its content stands elsewhere now, and was read by more than what has been written over
    };

    void plan_cluster(Slice& slice, std::uint64_t cluster, std::span<const GuestWrite> writes);
    void add_pieces(const GuestCluster& cluster, const ClusterPlan& plan, Bytes host, bool in_place,
                    std::span<const GuestWrite> writes);
    void add_unit(const GuestCluster& cluster, unsigned unit, Bytes host, bool in_place,
                  std::span<const GuestWrite> writes);
    void add_fill(const GuestCluster& cluster, ByteRange guest, Bytes host, unsigned unit);
    void write_tables();
    void write_entries();

    Writable& image_;
    const Beneath& beneath_;
    Bytes visible_end_;
    L2Rules rules_;
    ClusterPlanner planner_;
    std::deque<Slice> slices_;
    Pieces pieces_;
    std::vector<Release> releases_;
    std::size_t words_ = 0;
    bool open_ = true; ///< neither carried out nor given up
};

/// Writes ascending, disjoint ranges in as many rounds as it takes. Durable on return, apart from counts going down.
void write_ranges(Writable& image, std::span<const GuestWrite> writes, const Beneath& beneath, Bytes visible_end,
                  DataMover& mover);

} // namespace coppice::qcow2
