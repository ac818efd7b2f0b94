#include "tests/support/memory_device.h"

#include "format/base/data_mover.h"
#include "format/base/error.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace coppice::test {
namespace {

constexpr std::size_t sector = 512;
constexpr Bytes page = 4_KiB;

std::int64_t next_tick() {
    static std::atomic<std::int64_t> ticks{0};
    return ++ticks;
}

} // namespace

void PowerSupply::change() {
    if (left_ && *left_ == 0) throw PowerLost{};
    if (left_) --*left_;
    ++changes_;
}

void MemoryFile::note_write(Bytes offset, std::size_t length) {
    const std::size_t first = offset.count() / sector;
    const std::size_t last = (offset.count() + length + sector - 1) / sector;
    if (touched_.size() < last) touched_.resize(last, false);
    std::fill(touched_.begin() + static_cast<std::ptrdiff_t>(first),
              touched_.begin() + static_cast<std::ptrdiff_t>(last), true);
    modified_ns = changed_ns = next_tick();
}

void MemoryFile::note_resize() {
    modified_ns = changed_ns = next_tick();
}

void MemoryFile::note_rename() {
    changed_ns = next_tick();
}

void MemoryFile::flush() {
    durable_ = bytes;
    touched_.assign(touched_.size(), false);
}

void MemoryFile::resize_durably(Bytes size, std::span<const std::byte> end) {
    for (std::vector<std::byte>* state : {&bytes, &durable_}) {
        state->resize(size.count());
        std::ranges::copy(end, state->end() - static_cast<std::ptrdiff_t>(end.size()));
    }
    touched_.resize(std::min(touched_.size(), static_cast<std::size_t>(size.count() / sector)));
    note_resize();
}

void MemoryFile::lose_power(Unsynced unsynced, std::mt19937_64& random) {
    if (unsynced == Unsynced::lost) bytes = durable_;
    if (unsynced == Unsynced::torn) {
        // The size is metadata of the file system: the longer of the two, so that torn data can be seen.
        std::vector<std::byte> after = durable_;
        if (after.size() < bytes.size() && (random() & 1) != 0) after.resize(bytes.size());
        for (std::size_t index = 0; index < touched_.size(); ++index) {
            const std::size_t begin = index * sector;
            if (!touched_[index] || begin >= after.size() || begin >= bytes.size() || (random() & 1) == 0) continue;
            const std::size_t length = std::min({sector, after.size() - begin, bytes.size() - begin});
            std::memcpy(after.data() + begin, bytes.data() + begin, length);
        }
        bytes = std::move(after);
    }
    flush();
}

MemoryDevice::MemoryDevice(std::shared_ptr<MemoryFile> file, std::string name, PowerSupply* power, bool fixed)
    : file_{std::move(file)}, name_{std::move(name)}, power_{power}, fixed_{fixed} {}

void MemoryDevice::change() {
    if (power_ != nullptr) power_->change();
}

void MemoryDevice::read(std::span<const ReadRequest> requests) const {
    for (const ReadRequest& request : requests) {
        if (request.offset + Bytes{request.buffer.size()} > size())
            throw SystemError{"read at byte " + std::to_string(request.offset.count()), name_,
                              std::make_error_code(std::errc::io_error)};
        std::memcpy(request.buffer.data(), file_->bytes.data() + request.offset.count(), request.buffer.size());
    }
}

void MemoryDevice::write(std::span<const WriteRequest> requests) {
    for (const WriteRequest& request : requests) {
        change();
        const Bytes end = request.offset + Bytes{request.buffer.size()};
        if (end > size()) {
            if (fixed_)
                throw SystemError{"write at byte " + std::to_string(request.offset.count()), name_,
                                  std::make_error_code(std::errc::no_space_on_device)};
            file_->bytes.resize(end.count());
        }
        std::memcpy(file_->bytes.data() + request.offset.count(), request.buffer.data(), request.buffer.size());
        file_->note_write(request.offset, request.buffer.size());
    }
}

void MemoryDevice::flush() {
    change();
    file_->flush();
}

void MemoryDevice::set_size(Bytes size) {
    if (fixed_) throw Unsupported{name_, "fixed size"};
    change();
    file_->bytes.resize(size.count());
    file_->note_resize();
}

void MemoryDevice::zero(ByteRange range) {
    if (range.empty()) return;
    change();
    if (range.end > size()) {
        if (fixed_)
            throw SystemError{"zero at byte " + std::to_string(range.begin.count()), name_,
                              std::make_error_code(std::errc::no_space_on_device)};
        file_->bytes.resize(range.end.count());
    }
    std::fill(file_->bytes.begin() + static_cast<std::ptrdiff_t>(range.begin.count()),
              file_->bytes.begin() + static_cast<std::ptrdiff_t>(range.end.count()), std::byte{0});
    file_->note_write(range.begin, range.length().count());
}

std::optional<ByteRange> MemoryDevice::next_data(Bytes from) const {
    if (from >= size()) return std::nullopt;
    const auto page_is_zero = [&](Bytes begin) {
        const Bytes end = std::min(begin + page, size());
        return all_zero(std::span{file_->bytes}.subspan(begin.count(), (end - begin).count()));
    };
    Bytes begin = round_down(from, page);
    while (begin < size() && page_is_zero(begin))
        begin += page;
    if (begin >= size()) return std::nullopt;
    Bytes end = begin;
    while (end < size() && !page_is_zero(end))
        end += page;
    return ByteRange{std::max(begin, from), std::min(end, size())};
}

FileIdentity MemoryDevice::identity() const {
    return {1, file_->inode, file_->bytes.size(), file_->modified_ns};
}

std::unique_ptr<MemoryDevice> memory_device(std::vector<std::byte> bytes, std::string name) {
    static std::atomic<std::uint64_t> next_inode{1};
    auto file = std::make_shared<MemoryFile>();
    file->bytes = std::move(bytes);
    file->inode = next_inode++;
    file->flush();
    return std::make_unique<MemoryDevice>(std::move(file), std::move(name));
}

} // namespace coppice::test
