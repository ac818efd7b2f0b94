// An active volume, read and written through its node.
#pragma once

#include "format/base/file_device.h"

#include <functional>
#include <string>

namespace coppice {

class VolumeDevice final : public BlockDevice {
public:
    /// `uuid` is that of the volume. `since`: when it became active for us, in nanoseconds since 1970-01-01; 0 where it
    /// may become inactive at any time. nullopt: the metadata of the group do not let anybody write to it.
    /// `before_write` is called before the first change, and may throw; without it nothing has to be done for one.
    VolumeDevice(UniqueFd fd, std::string name, std::string uuid, std::optional<std::int64_t> since,
                 std::function<void()> before_write = {});

    const std::string& name() const override { return device_.name(); }
    bool fixed_size() const override { return true; }
    Bytes size() const override { return device_.size(); }
    void read(std::span<const ReadRequest> requests) const override { device_.read(requests); }
    void write(std::span<const WriteRequest> requests) override { writable().write(requests); }
    void flush() override { device_.flush(); }
    void set_size(Bytes size) override { device_.set_size(size); }
    void zero(ByteRange range) override { writable().zero(range); }
    std::optional<ByteRange> next_data(Bytes from) const override { return device_.next_data(from); }
    bool share(const BlockDevice&, Bytes, ByteRange) override { return false; }
    /// By the UUID, so that it is the same whether the volume is active or not. The time of change is made of `since`
    /// and of what has been written to the device, by anybody on this host: it only grows, and stays the same as long
    /// as nobody writes. 0 for what nobody may write to.
    FileIdentity identity() const override;
    int descriptor() const override { return device_.descriptor(); }

private:
    FileDevice& writable();

    FileDevice device_;
    std::string uuid_;
    std::optional<std::int64_t> since_;
    std::function<void()> before_write_;
};

} // namespace coppice
