// What devices that only read have in common.
#pragma once

#include "format/base/block_device.h"

#include <stdexcept>

namespace coppice {

/// Whatever would change it is a mistake of ours: std::logic_error.
class ReadOnlyDevice : public BlockDevice {
public:
    const std::string& name() const override { return name_; }
    bool fixed_size() const override { return true; }
    Bytes size() const override { return size_; }
    void write(std::span<const WriteRequest>) override { refuse(); }
    void flush() override {}
    void set_size(Bytes) override { refuse(); }
    void zero(ByteRange) override { refuse(); }
    bool share(const BlockDevice&, Bytes, ByteRange) override { return false; }
    /// Nobody knows of holes.
    std::optional<ByteRange> next_data(Bytes from) const override {
        if (from >= size_) return std::nullopt;
        return ByteRange{from, size_};
    }

protected:
    ReadOnlyDevice(std::string name, Bytes size) : name_{std::move(name)}, size_{size} {}

private:
    [[noreturn]] void refuse() const { throw std::logic_error{"change of " + name_ + ", which is only read"}; }

    std::string name_;
    Bytes size_;
};

} // namespace coppice
