// Reports of a group by reading its metadata from the PVs: a thousandth of what a command costs, without LVM's locks.
//
// Only for groups of which LVM has said the same as we have read, and only as long as nothing strange stands there: for
// all else LVM is asked. What is read counts if its checksums are right and all PVs agree; a commit in this moment
// shows in one of the two. Nothing is ever written. Used by one thread at a time.
#pragma once

#include "lvm/metadata_area.h"
#include "lvm/pv_device.h"
#include "lvm/report.h"

namespace coppice::lvm {

class MetadataReader {
public:
    explicit MetadataReader(PvOpener opener = open_pv) : opener_{std::move(opener)} {}

    /// `by_lvm` is what LVM has just said: from now on read() answers, if our own reading says the same.
    void compare(const VgReport& by_lvm);
    /// nullopt: LVM has to be asked.
    std::optional<VgReport> read();
    /// The same without reading the text, where nothing was committed since the last read().
    std::optional<Stamp> stamp();

private:
    using Places = std::vector<std::vector<MetadataPlace>>; ///< of each PV
    using Devices = std::vector<std::shared_ptr<const BlockDevice>>;

    Devices open(const VgReport& like) const;
    static Places places(const Devices& devices, const VgReport& like);
    static VgReport text_of(const Devices& devices, const Places& places, const VgReport& like);
    bool renew();

    PvOpener opener_;
    std::optional<VgReport> known_; ///< as the text at `places_` has it
    Places places_;
};

} // namespace coppice::lvm
