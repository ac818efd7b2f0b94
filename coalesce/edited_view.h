// An image as it would be if a header edit had come further, or not so far.
#pragma once

#include "format/base/header_edit.h"
#include "format/base/read_only_device.h"

#include <vector>

namespace coppice {

/// Reads as `device` with `edits` on top, in their order. Refers to `device`, which must outlive it.
class EditedView final : public ReadOnlyDevice {
public:
    EditedView(const BlockDevice& device, std::vector<Overwrite> edits);

    bool fixed_size() const override { return device_.fixed_size(); }
    void read(std::span<const ReadRequest> requests) const override;
    FileIdentity identity() const override { return device_.identity(); }

private:
    const BlockDevice& device_;
    std::vector<Overwrite> edits_;
};

} // namespace coppice
