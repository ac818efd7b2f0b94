// What a guest reads from a chain, in order from its first byte to its last, for whoever takes it.
//
// Memory is bounded whatever the images hold: maps are asked for in windows, data is read in pieces. What no layer maps
// is passed over without reading anything, so that a huge and empty disk takes no time of ours.
#pragma once

#include "format/chain.h"

#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace coppice {

/// Takes a disk. Calls come in ascending order without gaps.
class GuestSink {
public:
    virtual ~GuestSink() = default;
    GuestSink() = default;
    GuestSink(const GuestSink&) = delete;
    GuestSink& operator=(const GuestSink&) = delete;

    virtual void data(Bytes offset, std::span<const std::byte> bytes) = 0;
    virtual void zeros(ByteRange range) = 0;
};

/// `layers` newest first, not empty. Throws CorruptImage or SystemError at the place that cannot be read, and
/// StopRequested.
void stream_guest(const std::vector<const Image*>& layers, GuestSink& sink, std::stop_token stop);

/// Writes everything, zeros too, to a file descriptor that need not be seekable.
class DescriptorSink final : public GuestSink {
public:
    DescriptorSink(int descriptor, std::string name, std::stop_token stop);
    void data(Bytes offset, std::span<const std::byte> bytes) override;
    void zeros(ByteRange range) override;

private:
    int descriptor_;
    std::string name_;
    std::stop_token stop_;
};

/// SHA-256 of all bytes.
class HashSink final : public GuestSink {
public:
    explicit HashSink(std::stop_token stop);
    ~HashSink() override;
    void data(Bytes offset, std::span<const std::byte> bytes) override;
    void zeros(ByteRange range) override;
    /// 64 hexadecimal digits. Once.
    std::string digest();

private:
    struct Context;
    std::unique_ptr<Context> context_;
    std::stop_token stop_;
};

/// A raw file with holes for zeros. Nothing is left of it unless commit() returns.
class SparseFileSink final : public GuestSink {
public:
    /// The file gets the name `path` at the end. Refused where something else than an empty file has that name.
    SparseFileSink(std::string path, Bytes size);
    ~SparseFileSink() override;
    void data(Bytes offset, std::span<const std::byte> bytes) override;
    void zeros(ByteRange) override {}
    /// Durable under its name when it returns.
    void commit();

private:
    void refuse_overwriting() const;

    std::string path_;
    std::string temporary_; ///< empty where the file has no name at all yet
    std::unique_ptr<BlockDevice> device_;
};

} // namespace coppice
