// The bytes a guest would read at some level of a chain.
#pragma once

#include "format/base/byte_range.h"

#include <cstddef>
#include <span>

namespace coppice {

class GuestView {
public:
    virtual ~GuestView() = default;
    GuestView() = default;
    GuestView(const GuestView&) = delete;
    GuestView& operator=(const GuestView&) = delete;

    /// Size of the topmost layer; everything at or behind it reads as zeros.
    virtual Bytes size() const = 0;
    virtual void read(Bytes offset, std::span<std::byte> buffer) const = 0;
    /// False only where the maps alone show that the whole range reads as zeros.
    virtual bool may_hold_data(ByteRange range) const = 0;
};

/// Nothing below: reads as zeros.
class EmptyView final : public GuestView {
public:
    Bytes size() const override { return 0_B; }
    void read(Bytes, std::span<std::byte> buffer) const override {
        for (std::byte& byte : buffer)
            byte = std::byte{0};
    }
    bool may_hold_data(ByteRange) const override { return false; }
};

} // namespace coppice
