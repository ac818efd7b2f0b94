#include "tests/support/fixtures.h"

#include <boost/json.hpp>
#include <openssl/evp.h>
#include <zstd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>

namespace coppice::test {
namespace {

namespace json = boost::json;

// Read in pieces, so that disks of gibibytes can be hashed too.
constexpr std::uint64_t hash_step = 4 << 20;

std::filesystem::path data_folder(const std::string& format) {
    const char* source = std::getenv("COPPICE_SOURCE");
    return std::filesystem::path{source != nullptr ? source : COPPICE_SOURCE_DIR} / "tests" / "data" / format;
}

std::filesystem::path packed(const std::string& format, const std::string& path) {
    return data_folder(format) / (path + ".zst");
}

std::string content(const std::filesystem::path& path) {
    std::ifstream stream{path, std::ios::binary};
    if (!stream) throw std::runtime_error{"cannot open " + path.string()};
    return {std::istreambuf_iterator<char>{stream}, {}};
}

std::optional<std::string> text(const json::object& entry, const char* key) {
    const json::value* value = entry.if_contains(key);
    if (value == nullptr || !value->is_string()) return std::nullopt;
    return std::string{value->as_string()};
}

std::optional<std::uint64_t> number(const json::object& entry, const char* key) {
    const json::value* value = entry.if_contains(key);
    if (value == nullptr || !value->is_number()) return std::nullopt;
    return value->to_number<std::uint64_t>();
}

Fixture fixture(const json::object& entry) {
    Fixture result;
    result.name = text(entry, "case").value();
    result.file = text(entry, "file").value();
    result.sound = entry.at("sound").as_bool();
    result.virtual_size = number(entry, "virtual_size");
    result.guest_sha256 = text(entry, "guest_sha256");
    result.uuid = text(entry, "uuid");
    if (const auto hidden = number(entry, "hidden")) result.hidden = *hidden != 0;
    result.type = text(entry, "type");
    result.chain_reason = text(entry, "chain_reason").value_or("");
    result.sound_note = text(entry, "sound_note").value_or("");
    if (const json::value* blocks = entry.if_contains("allocated_blocks"))
        for (const json::value& block : blocks->as_array())
            result.allocated_blocks.push_back(block.to_number<std::uint64_t>());
    if (const json::value* ranges = entry.if_contains("guest_ranges"))
        for (const json::value& range : ranges->as_array())
            result.guest_ranges.push_back({number(range.as_object(), "offset").value(),
                                           number(range.as_object(), "length").value(),
                                           text(range.as_object(), "sha256").value()});
    if (const json::value* query = entry.if_contains("query"))
        if (const auto size = text(query->as_object(), "physical_bytes"); size && !size->starts_with("error"))
            result.physical_size = std::stoull(*size);
    return result;
}

} // namespace

std::vector<Fixture> fixtures(const std::string& format) {
    std::vector<Fixture> result;
    const json::value manifest = json::parse(content(data_folder(format) / "manifest.json"));
    for (const json::value& entry : manifest.as_object().at("entries").as_array())
        result.push_back(fixture(entry.as_object()));
    return result;
}

bool fixture_exists(const std::string& format, const std::string& path) {
    return std::filesystem::exists(packed(format, path));
}

std::vector<std::byte> unpack_fixture(const std::string& format, const std::string& path) {
    const std::string frame = content(packed(format, path));
    const std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context{ZSTD_createDCtx(), ZSTD_freeDCtx};
    std::vector<std::byte> result;
    ZSTD_inBuffer in{frame.data(), frame.size(), 0};
    std::vector<std::byte> piece(1 << 20);
    while (in.pos < in.size) {
        ZSTD_outBuffer out{piece.data(), piece.size(), 0};
        const std::size_t status = ZSTD_decompressStream(context.get(), &out, &in);
        if (ZSTD_isError(status) != 0) throw std::runtime_error{path + ": " + ZSTD_getErrorName(status)};
        result.insert(result.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(out.pos));
    }
    for (std::size_t got = piece.size(); got == piece.size();) {
        ZSTD_outBuffer out{piece.data(), piece.size(), 0};
        ZSTD_decompressStream(context.get(), &out, &in);
        got = out.pos;
        result.insert(result.end(), piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(got));
    }
    return result;
}

std::string sha256(const GuestView& view, std::uint64_t offset, std::uint64_t length) {
    const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
    EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr);
    std::vector<std::byte> buffer(std::min(length, hash_step));
    for (std::uint64_t done = 0; done < length;) {
        const auto part = std::span{buffer}.first(std::min<std::uint64_t>(buffer.size(), length - done));
        view.read(Bytes{offset + done}, part);
        EVP_DigestUpdate(context.get(), part.data(), part.size());
        done += part.size();
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context.get(), digest, &size);
    static constexpr char digits[] = "0123456789abcdef";
    std::string result;
    for (unsigned int i = 0; i < size; ++i) {
        result += digits[digest[i] >> 4];
        result += digits[digest[i] & 15];
    }
    return result;
}

std::string sha256(const GuestView& view) {
    return sha256(view, 0, view.size().count());
}

} // namespace coppice::test
