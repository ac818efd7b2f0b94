// A BlockDevice over a file descriptor: a regular file or a block device node.
#pragma once

#include "format/base/block_device.h"
#include "format/base/unique_fd.h"

namespace coppice {

class FileDevice final : public BlockDevice {
public:
    /// Takes over `fd`, which is open for reading, and for writing where it will be written. Throws SystemError, or
    /// Unsupported where it is neither a regular file nor a block device.
    FileDevice(UniqueFd fd, std::string name);

    const std::string& name() const override { return name_; }
    bool fixed_size() const override { return fixed_size_; }
    Bytes size() const override { return size_; }
    void read(std::span<const ReadRequest> requests) const override;
    void write(std::span<const WriteRequest> requests) override;
    void flush() override;
    void set_size(Bytes size) override;
    void zero(ByteRange range) override;
    std::optional<ByteRange> next_data(Bytes from) const override;
    bool share(const BlockDevice& source, Bytes source_offset, ByteRange target) override;
    FileIdentity identity() const override;
    std::optional<std::int64_t> changed_ns() const override;
    int descriptor() const override { return fd_.get(); }

private:
    void write_zeros(ByteRange range);

    UniqueFd fd_;
    std::string name_;
    bool fixed_size_ = false;
    Bytes size_;
    bool can_punch_ = true;          ///< false once the file system has refused to
    mutable ByteRange known_data_{}; ///< answer of the last SEEK_DATA, so that a scan does not ask for each run again
};

} // namespace coppice
