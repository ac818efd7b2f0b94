// Who may use the free extents of a volume group: what is reserved for operations that run, what is promised to those
// that will come, and what is left.
//
//     reserved + promised <= free        as long as nobody else takes extents away
//
// A step reserves before it starts, tells what its commands have taken and given back, and returns the rest. Nothing
// here does I/O or knows LVM: whoever changes the metadata says so, and observe() brings in what others have done. May
// be used by several threads; observe() and a change by LVM with its spend() or give_back() must not interleave, which
// the SR's lock ensures. The ledger outlives everything that it hands out.
#pragma once

#include "format/base/units.h"

#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace coppice::lvm {

class Ledger;

/// Extents that belong to one operation for as long as this lives. Used by one thread at a time.
class Reservation {
public:
    Reservation(Reservation&& other) noexcept;
    Reservation& operator=(Reservation&&) = delete;
    /// Returns what is left.
    ~Reservation();

    Extents held() const;
    /// Throws Refused("no-space"); then nothing has changed.
    void grow(Extents more);
    /// Returns a part early. At most held().
    void shrink(Extents less);
    /// An LV has taken `extents` of the VG: they are no longer free, and no longer reserved. At most held().
    void spend(Extents extents);
    /// An LV has given up `extents`, which this operation goes on holding.
    void take_back(Extents extents);
    /// All of it, for an operation of another name, without a moment in which others could take it. *this* holds
    /// nothing afterwards.
    Reservation hand_over(const std::string& operation);

private:
    friend class Ledger;
    Reservation(Ledger& ledger, std::uint64_t number) : ledger_{&ledger}, number_{number} {}

    Ledger* ledger_; ///< null: moved from
    std::uint64_t number_;
};

class Ledger {
public:
    enum class Kind {
        running, ///< counts as reserved
        promise, ///< counts as promised: for a step that has not begun
    };
    struct Entry {
        std::string operation;
        Kind kind;
        Extents extents;

        bool operator==(const Entry&) const = default;
    };

    /// `free`: of the VG. `extent`: its extent size, for messages in bytes.
    explicit Ledger(Extents free, Bytes extent = 4_MiB);
    Ledger(const Ledger&) = delete;
    Ledger& operator=(const Ledger&) = delete;

    /// Throws Refused("no-space") naming need and what is left.
    Reservation reserve(const std::string& operation, Extents need);
    Reservation promise(const std::string& operation, Extents need);

    /// LVs have given up extents for anybody to take.
    void give_back(Extents extents);
    /// What the VG reports. Others may have taken extents that are reserved here: see shortfall().
    void observe(Extents free);

    Extents free() const;
    Extents reserved() const;
    Extents promised() const;
    /// Neither reserved nor promised.
    Extents available() const;
    /// By how much more is reserved and promised than there is. Nothing can be reserved until it is 0.
    Extents shortfall() const;
    /// In the order in which they were made.
    std::vector<Entry> entries() const;

private:
    friend class Reservation;

    Reservation add(const std::string& operation, Kind kind, Extents need);
    Extents sum(Kind kind) const;
    Extents left() const;
    void require(const std::string& operation, Extents need) const;

    mutable std::mutex mutex_;
    Bytes extent_;
    Extents free_;
    std::map<std::uint64_t, Entry> entries_;
    std::uint64_t next_ = 0;
};

} // namespace coppice::lvm
