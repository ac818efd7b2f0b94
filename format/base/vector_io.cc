#include "format/base/vector_io.h"

#include "format/base/error.h"

#include <algorithm>
#include <cerrno>

namespace coppice {
namespace {

using Call = ssize_t (*)(int, const iovec*, int, off_t);

IoOutcome do_all(Call call, bool reading, int fd, Bytes offset, std::span<iovec> parts) {
    IoOutcome outcome;
    consume(parts, 0);
    while (!parts.empty()) {
        const ssize_t count = call(fd, parts.data(), static_cast<int>(std::min(parts.size(), most_parts)),
                                   static_cast<off_t>((offset + outcome.done).count()));
        if (count < 0) {
            if (errno == EINTR) continue;
            outcome.error = errno;
            return outcome;
        }
        if (count == 0) {
            outcome.ended = reading;
            outcome.error = reading ? 0 : EIO;
            return outcome;
        }
        outcome.done += Bytes{static_cast<std::uint64_t>(count)};
        consume(parts, static_cast<std::size_t>(count));
    }
    return outcome;
}

std::string at(Bytes offset) {
    return "at byte " + std::to_string(offset.count());
}

} // namespace

void consume(std::span<iovec>& parts, std::size_t count) {
    while (!parts.empty() && parts.front().iov_len <= count) {
        count -= parts.front().iov_len;
        parts = parts.subspan(1);
    }
    if (count == 0) return;
    parts.front().iov_base = static_cast<std::byte*>(parts.front().iov_base) + count;
    parts.front().iov_len -= count;
}

IoOutcome read_all(int fd, Bytes offset, std::span<iovec> parts) {
    return do_all(::preadv, true, fd, offset, parts);
}

IoOutcome write_all(int fd, Bytes offset, std::span<iovec> parts) {
    return do_all(::pwritev, false, fd, offset, parts);
}

void require_read(const IoOutcome& outcome, Bytes offset, const std::string& name) {
    const std::string attempt = "read " + at(offset + outcome.done);
    if (outcome.error != 0) throw SystemError{attempt, name, {outcome.error, std::generic_category()}};
    if (outcome.ended)
        throw SystemError{attempt, name + ": the file ends here, it was longer before",
                          std::make_error_code(std::errc::io_error)};
}

void require_written(const IoOutcome& outcome, Bytes offset, const std::string& name) {
    if (outcome.error != 0)
        throw SystemError{"write " + at(offset + outcome.done), name, {outcome.error, std::generic_category()}};
}

} // namespace coppice
