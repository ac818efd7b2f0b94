// Decompression of one cluster: raw deflate with a 4 KiB window, or zstd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace coppice::qcow2 {

/// Fills `cluster` from `stream`, which may be longer than what is needed. `compression_type` as in the header. False
/// where the stream is bad or ends before the cluster is full; the content of `cluster` is then unspecified.
bool decompress(std::uint8_t compression_type, std::span<const std::byte> stream, std::span<std::byte> cluster);

} // namespace coppice::qcow2
