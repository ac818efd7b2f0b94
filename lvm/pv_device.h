// A PV, only for reading and past the page cache: the cache of its node is not coherent with another host, nor with
// what was written through an LV on it.
#pragma once

#include "format/base/unique_fd.h"
#include "format/base/read_only_device.h"
#include "lvm/report.h"

#include <functional>

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

/// Whether the label on `device` says that it is this PV: a node may have come to lead to another disk since the
/// report. Throws SystemError, GroupChanged where it is not.
void require_label(const BlockDevice& device, const PvRow& pv, const std::string& group);

} // namespace coppice::lvm
