// A PV, only for reading and past the page cache: the cache of its node is not coherent with another host, nor with
// what was written through an LV on it.
#pragma once

#include "format/base/read_only_device.h"
#include "format/base/unique_fd.h"
#include "lvm/report.h"

#include <functional>
#include <optional>
#include <span>

namespace coppice::lvm {

class PvDevice final : public ReadOnlyDevice {
public:
    /// Takes over `fd`, which is a block device or a file, open for reading with O_DIRECT. Throws SystemError.
    PvDevice(UniqueFd fd, std::string name);

    void read(std::span<const ReadRequest> requests) const override;
    FileIdentity identity() const override;
    int descriptor() const override { return fd_.get(); }

private:
    void read_aligned(Bytes offset, std::span<std::byte> buffer) const;

    UniqueFd fd_;
    Bytes alignment_; ///< of offsets, lengths and memory
};

/// Tests open something else.
using PvOpener = std::function<std::shared_ptr<const BlockDevice>(const PvRow&)>;

/// Opens the node of the PV. Throws SystemError.
std::shared_ptr<const BlockDevice> open_pv(const PvRow& pv);

/// The label of a PV, in one of the first sectors.
struct PvLabel {
    std::span<const std::byte> sector; ///< it stands in, from its beginning on
    std::size_t regions = 0;           ///< where in the sector the lists of data and metadata areas begin
};
/// `begin`: the first bytes of the PV, at least four sectors. nullopt where the label of `pv` is not there.
std::optional<PvLabel> find_label(std::span<const std::byte> begin, const PvRow& pv);

/// Whether the label on `device` says that it is this PV: a node may have come to lead to another disk since the
/// report. Throws SystemError, GroupChanged where it is not.
void require_label(const BlockDevice& device, const PvRow& pv, const std::string& group);

} // namespace coppice::lvm
