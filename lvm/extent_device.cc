#include "lvm/extent_device.h"

namespace coppice::lvm {
namespace {

std::uint64_t fnv1a(std::string_view text, std::uint64_t start) {
    std::uint64_t hash = start;
    for (const char c : text)
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return hash;
}

} // namespace

FileIdentity volume_identity(std::string_view uuid, Bytes size, std::int64_t modified_ns) {
    return {fnv1a(uuid, 0xcbf29ce484222325), fnv1a(uuid, 0x9e3779b97f4a7c15), size.count(), modified_ns};
}

ExtentDevice::ExtentDevice(std::string name, std::string uuid, ExtentMap map, PvDevices pvs)
    : ReadOnlyDevice{std::move(name), map.size()}, uuid_{std::move(uuid)}, map_{std::move(map)}, pvs_{std::move(pvs)} {}

void ExtentDevice::read(std::span<const ReadRequest> requests) const {
    std::vector<std::vector<ReadRequest>> by_pv(pvs_.size());
    for (const ReadRequest& request : requests)
        for (const Piece& piece : map_.locate(ByteRange::at(request.offset, Bytes{request.buffer.size()})))
            by_pv[piece.pv].push_back(
                {piece.place, request.buffer.subspan((piece.offset - request.offset).count(), piece.length.count())});
    for (std::size_t pv = 0; pv < by_pv.size(); ++pv)
        if (!by_pv[pv].empty()) pvs_[pv]->read(by_pv[pv]);
}

FileIdentity ExtentDevice::identity() const {
    return volume_identity(uuid_, size(), 0);
}

} // namespace coppice::lvm
