#include "gc/verbs/guest_stream.h"

#include "format/base/data_mover.h"
#include "format/base/error.h"
#include "format/base/file_device.h"
#include "format/base/uuid.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdexcept>
#include <sys/stat.h>

namespace coppice {
namespace {

// With a mapping for each sector, a window has some ten thousand runs: a few megabytes.
constexpr Bytes window_size = 16_MiB;
constexpr Bytes piece_size = 1_MiB;
constexpr std::size_t zero_size = 256 * 1024;

const std::vector<std::byte>& zero_bytes() {
    static const std::vector<std::byte> bytes(zero_size);
    return bytes;
}

/// The first offset at or behind `from` that some layer may map; behind it there is nothing but zeros until the end.
std::optional<Bytes> next_mapped(const std::vector<const Image*>& layers, Bytes from, Bytes end) {
    std::optional<Bytes> first;
    for (const Image* layer : layers) {
        if (from >= layer->virtual_size()) continue;
        const auto mapped = layer->next_mapped(from);
        if (mapped && (!first || *mapped < *first)) first = mapped;
    }
    if (!first || *first >= end) return std::nullopt;
    return std::max(*first, from);
}

class Stream {
public:
    Stream(const std::vector<const Image*>& layers, GuestSink& sink, std::stop_token stop)
        : layers_{layers}, sink_{sink}, stop_{std::move(stop)}, buffer_(piece_size.count()) {}

    void run() {
        const Bytes size = layers_.front()->virtual_size();
        while (at_ < size) {
            const auto mapped = next_mapped(layers_, at_, size);
            zeros_until(mapped.value_or(size));
            if (!mapped) break;
            window({at_, std::min(size, round_down(at_, window_size) + window_size)});
        }
    }

private:
    void zeros_until(Bytes end) {
        if (at_ < end) sink_.zeros({at_, end});
        at_ = std::max(at_, end);
    }

    void window(ByteRange range) {
        for (const ChainRun& run : composite_map(layers_, range)) {
            if (run.content == Content::zero) continue;
            zeros_until(run.guest.begin);
            pour(run);
        }
        zeros_until(range.end);
    }

    void pour(const ChainRun& run) {
        while (at_ < run.guest.end) {
            if (stop_.stop_requested()) throw StopRequested{};
            ChainRun piece = run;
            piece.guest = {at_, std::min(run.guest.end, at_ + piece_size)};
            if (run.content == Content::data) {
                piece.run.guest = piece.guest;
                piece.run.host = run.run.host + (at_ - run.guest.begin);
            }
            const auto bytes = std::span{buffer_}.first(piece.guest.length().count());
            read_run(piece, bytes);
            if (all_zero(bytes))
                sink_.zeros(piece.guest);
            else
                sink_.data(at_, bytes);
            at_ = piece.guest.end;
        }
    }

    const std::vector<const Image*>& layers_;
    GuestSink& sink_;
    std::stop_token stop_;
    std::vector<std::byte> buffer_;
    Bytes at_;
};

template <class Take>
void in_pieces(ByteRange range, const std::stop_token& stop, Take take) {
    const auto& zeros = zero_bytes();
    for (Bytes left = range.length(); left != 0_B;) {
        if (stop.stop_requested()) throw StopRequested{};
        const Bytes piece = std::min(left, Bytes{zeros.size()});
        take(std::span{zeros}.first(piece.count()));
        left -= piece;
    }
}

std::string directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == path.npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

void sync_directory(const std::string& directory) {
    const UniqueFd fd{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!fd || ::fsync(fd.get()) != 0) throw SystemError::from_errno("flush directory", directory);
}

} // namespace

void stream_guest(const std::vector<const Image*>& layers, GuestSink& sink, std::stop_token stop) {
    try {
        Stream{layers, sink, std::move(stop)}.run();
    } catch (const std::overflow_error& error) { // a number in an image that no format allows
        throw CorruptImage{layers.front()->name(), error.what()};
    }
}

DescriptorSink::DescriptorSink(int descriptor, std::string name, std::stop_token stop)
    : descriptor_{descriptor}, name_{std::move(name)}, stop_{std::move(stop)} {}

void DescriptorSink::data(Bytes, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) throw SystemError::from_errno("write", name_);
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
}

void DescriptorSink::zeros(ByteRange range) {
    in_pieces(range, stop_, [this](std::span<const std::byte> piece) { data(0_B, piece); });
}

struct HashSink::Context {
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> digest{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

HashSink::HashSink(std::stop_token stop) : context_{std::make_unique<Context>()}, stop_{std::move(stop)} {
    if (!context_->digest || EVP_DigestInit_ex(context_->digest.get(), EVP_sha256(), nullptr) != 1)
        throw Error{"the cryptographic library offers no SHA-256"};
}

HashSink::~HashSink() = default;

void HashSink::data(Bytes, std::span<const std::byte> bytes) {
    if (EVP_DigestUpdate(context_->digest.get(), bytes.data(), bytes.size()) != 1)
        throw Error{"the cryptographic library refused to hash"};
}

void HashSink::zeros(ByteRange range) {
    in_pieces(range, stop_, [this](std::span<const std::byte> piece) { data(0_B, piece); });
}

std::string HashSink::digest() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
    unsigned length = 0;
    if (EVP_DigestFinal_ex(context_->digest.get(), bytes.data(), &length) != 1)
        throw Error{"the cryptographic library refused to finish a hash"};
    static constexpr std::string_view digits = "0123456789abcdef";
    std::string result;
    for (unsigned i = 0; i < length; ++i) {
        result += digits[bytes[i] >> 4];
        result += digits[bytes[i] & 15];
    }
    return result;
}

SparseFileSink::SparseFileSink(std::string path, Bytes size) : path_{std::move(path)} {
    refuse_overwriting();
    const std::string directory = directory_of(path_);
    // Without a name, nothing is left whatever ends us. Not every file system can.
    UniqueFd fd{::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666)};
    if (!fd && (errno == ENOENT || errno == ENOTDIR)) throw NotFound{directory, "no such directory"};
    if (!fd && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        temporary_ = path_ + '.' + Uuid::random().text();
        fd = UniqueFd{::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
    }
    if (!fd) {
        temporary_.clear();
        throw SystemError::from_errno("create", path_);
    }
    try {
        device_ = std::make_unique<FileDevice>(std::move(fd), path_);
        device_->set_size(size);
    } catch (...) { // the destructor does not run
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
        throw;
    }
}

SparseFileSink::~SparseFileSink() {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void SparseFileSink::refuse_overwriting() const {
    struct stat status {};
    if (::lstat(path_.c_str(), &status) != 0) return;
    if (!S_ISREG(status.st_mode) || status.st_size != 0)
        throw SystemError{"create", path_, std::make_error_code(std::errc::file_exists)};
}

void SparseFileSink::data(Bytes offset, std::span<const std::byte> bytes) {
    device_->write_at(offset, bytes);
}

void SparseFileSink::commit() {
    device_->flush();
    if (temporary_.empty()) {
        temporary_ = path_ + '.' + Uuid::random().text();
        const std::string descriptor = "/proc/self/fd/" + std::to_string(device_->descriptor());
        if (::linkat(AT_FDCWD, descriptor.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) != 0) {
            temporary_.clear();
            throw SystemError::from_errno("name", path_);
        }
    }
    refuse_overwriting();
    if (::rename(temporary_.c_str(), path_.c_str()) != 0)
        throw SystemError::from_errno("rename to " + path_, temporary_);
    temporary_.clear();
    sync_directory(directory_of(path_));
}

} // namespace coppice
