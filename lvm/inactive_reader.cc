#include "lvm/inactive_reader.h"

#include "lvm/error.h"
#include "lvm/names.h"

namespace coppice::lvm {

InactiveReader::InactiveReader(VolumeGroup& group, DeviceMapper& devices, PvOpener opener)
    : group_{group}, devices_{devices}, opener_{std::move(opener)}, report_{group.report()}, active_{active_uuids()},
      pvs_(report_.pvs.size()) {}

InactiveReader::InactiveReader(VolumeGroup& group, DeviceMapper& devices, VgReport report, PvOpener opener)
    : group_{group}, devices_{devices}, opener_{std::move(opener)}, report_{std::move(report)}, active_{active_uuids()},
      pvs_(report_.pvs.size()) {
    require_same();
}

std::set<std::string> InactiveReader::active_uuids() const {
    std::set<std::string> uuids;
    for (DmRow& row : devices_.list())
        uuids.insert(std::move(row.uuid));
    return uuids;
}

void InactiveReader::require_same() const {
    const Stamp now = group_.stamp();
    if (now.uuid != report_.uuid) throw GroupChanged{report_.name, "another group has this name"};
    if (now.sequence_number != report_.sequence_number)
        throw GroupChanged{report_.name, report_.sequence_number, now.sequence_number};
}

bool InactiveReader::is_active(const LvRow& lv) const {
    return active_.contains(mapper_uuid(report_.uuid, lv.uuid));
}

void InactiveReader::need_pv(std::size_t index) {
    if (pvs_[index]) return;
    const PvRow& row = report_.pvs[index];
    auto device = opener_(row);
    require_label(*device, row, report_.name);
    if (row.data_start + report_.to_bytes(row.extents) > device->size())
        throw GroupChanged{report_.name, row.name + " is smaller than its extents"};
    pvs_[index] = std::move(device);
}

std::unique_ptr<BlockDevice> InactiveReader::open(const std::string& lv) {
    const LvRow& row = report_.at(lv);
    if (is_active(row)) throw Busy{qualified(report_.name, lv), "it is active: its own device shows what was written"};
    ExtentMap map = ExtentMap::of(report_, row);
    for (const Piece& piece : map.pieces())
        need_pv(piece.pv);
    opened_.insert(lv);
    return std::make_unique<ExtentDevice>(qualified(report_.name, lv), row.uuid, std::move(map), pvs_);
}

std::vector<std::string> InactiveReader::finish() {
    const std::set<std::string> now = active_uuids();
    require_same();
    std::vector<std::string> active_since;
    for (const std::string& lv : opened_)
        if (now.contains(mapper_uuid(report_.uuid, report_.at(lv).uuid))) active_since.push_back(lv);
    return active_since;
}

} // namespace coppice::lvm
