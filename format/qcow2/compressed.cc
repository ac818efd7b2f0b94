#include "format/qcow2/compressed.h"

#include <memory>
#include <new>

#include <zlib.h>
#include <zstd.h>

namespace coppice::qcow2 {
namespace {

constexpr int raw_deflate_window = -12; // negative: no zlib header

bool decompress_deflate(std::span<const std::byte> stream, std::span<std::byte> cluster) {
    z_stream state{};
    // zlib declares its input without const where ZLIB_CONST is not defined; it does not write to it.
    state.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(stream.data()));
    state.avail_in = static_cast<uInt>(stream.size());
    state.next_out = reinterpret_cast<Bytef*>(cluster.data());
    state.avail_out = static_cast<uInt>(cluster.size());
    if (inflateInit2(&state, raw_deflate_window) != Z_OK) throw std::bad_alloc{};
    const int result = inflate(&state, Z_FINISH);
    inflateEnd(&state);
    // Z_BUF_ERROR: the cluster is full and the stream has not seen its end mark, which nobody needs.
    return (result == Z_STREAM_END || result == Z_BUF_ERROR) && state.avail_out == 0;
}

bool decompress_zstd(std::span<const std::byte> stream, std::span<std::byte> cluster) {
    const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context{ZSTD_createDCtx(), &ZSTD_freeDCtx};
    if (!context) throw std::bad_alloc{};
    ZSTD_inBuffer in{stream.data(), stream.size(), 0};
    ZSTD_outBuffer out{cluster.data(), cluster.size(), 0};
    while (out.pos < out.size) {
        const std::size_t before_in = in.pos;
        const std::size_t before_out = out.pos;
        const std::size_t result = ZSTD_decompressStream(context.get(), &out, &in);
        if (ZSTD_isError(result) != 0) return false;
        if (in.pos == before_in && out.pos == before_out) return false; // ends too early
    }
    return true;
}

} // namespace

bool decompress(std::uint8_t compression_type, std::span<const std::byte> stream, std::span<std::byte> cluster) {
    return compression_type == 0 ? decompress_deflate(stream, cluster) : decompress_zstd(stream, cluster);
}

} // namespace coppice::qcow2
