#include "tests/support/stored_images.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <vector>

#include <openssl/evp.h>
#include <unistd.h>
#include <zstd.h>

namespace coppice::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t page = 4096;

bool all_zero(std::span<const char> bytes) {
    for (const char byte : bytes)
        if (byte != 0) return false;
    return true;
}

/// Appends to a file, leaving holes for pages of zeros.
class SparseWriter {
public:
    explicit SparseWriter(const fs::path& path) : path_{path}, out_{path, std::ios::binary} {
        if (!out_) throw std::runtime_error{"cannot create " + path.string()};
    }
    void add(std::span<const char> bytes) {
        while (!bytes.empty()) {
            const auto part = bytes.first(std::min(page, bytes.size()));
            if (!all_zero(part)) {
                out_.seekp(static_cast<std::streamoff>(size_));
                out_.write(part.data(), static_cast<std::streamsize>(part.size()));
            }
            size_ += part.size();
            bytes = bytes.subspan(part.size());
        }
    }
    void close() {
        out_.close();
        if (!out_) throw std::runtime_error{"cannot write " + path_.string()};
        fs::resize_file(path_, size_);
    }

private:
    fs::path path_;
    std::ofstream out_;
    std::uint64_t size_ = 0;
};

void unpack_file(const fs::path& from, const fs::path& to) {
    std::ifstream in{from, std::ios::binary};
    SparseWriter out{to};
    const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context{ZSTD_createDCtx(), &ZSTD_freeDCtx};
    std::vector<char> input(64 * 1024);
    std::vector<char> output(1024 * 1024);
    while (in.read(input.data(), static_cast<std::streamsize>(input.size())), in.gcount() > 0) {
        ZSTD_inBuffer source{input.data(), static_cast<std::size_t>(in.gcount()), 0};
        bool more = true;
        while (source.pos < source.size || more) {
            ZSTD_outBuffer target{output.data(), output.size(), 0};
            const std::size_t result = ZSTD_decompressStream(context.get(), &target, &source);
            if (ZSTD_isError(result) != 0) throw std::runtime_error{"cannot unpack " + from.string()};
            out.add({output.data(), target.pos});
            more = target.pos == target.size;
        }
    }
    out.close();
}

} // namespace

fs::path data_directory() {
    const char* source = std::getenv("COPPICE_SOURCE");
    return fs::path{source != nullptr ? source : COPPICE_SOURCE_DIRECTORY} / "tests" / "data";
}

TemporaryDirectory unpack(std::string_view format, std::string_view name) {
    const fs::path from = data_directory() / format / name;
    if (!fs::is_directory(from)) throw std::runtime_error{"no stored images in " + from.string()};
    TemporaryDirectory directory;
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator{from}) {
        if (!entry.is_regular_file() || entry.path().extension() != ".zst") continue;
        const fs::path to = directory.path() / fs::relative(entry.path(), from).replace_extension();
        fs::create_directories(to.parent_path());
        unpack_file(entry.path(), to);
    }
    return directory;
}

struct Sha256::State {
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Sha256::Sha256() : state_{std::make_unique<State>()} {
    EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr);
}

Sha256::~Sha256() = default;

void Sha256::add(std::span<const std::byte> bytes) {
    EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size());
}

std::string Sha256::hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned length = 0;
    EVP_DigestFinal_ex(state_->context.get(), digest.data(), &length);
    std::string text;
    for (unsigned index = 0; index < length; ++index) {
        std::array<char, 3> pair{};
        std::snprintf(pair.data(), pair.size(), "%02x", digest[index]);
        text += pair.data();
    }
    return text;
}

std::string sha256(std::span<const std::byte> bytes) {
    Sha256 hash;
    hash.add(bytes);
    return hash.hex();
}

} // namespace coppice::test
