#include "format/base/header_edit.h"

#include "format/base/error.h"

#include <boost/endian/conversion.hpp>

#include <cstring>

namespace coppice {
namespace {

void append(std::vector<std::byte>& out, std::uint64_t value) {
    const auto big = boost::endian::native_to_big(value);
    const auto bytes = std::as_bytes(std::span{&big, 1});
    out.insert(out.end(), bytes.begin(), bytes.end());
}

class Cursor {
public:
    explicit Cursor(std::span<const std::byte> bytes) : bytes_{bytes} {}

    std::span<const std::byte> take(std::uint64_t count) {
        if (count > bytes_.size()) throw Error{"recorded header edit: cut short"};
        const auto result = bytes_.first(count);
        bytes_ = bytes_.subspan(count);
        return result;
    }
    std::uint64_t number() {
        std::uint64_t big = 0;
        std::memcpy(&big, take(sizeof big).data(), sizeof big);
        return boost::endian::big_to_native(big);
    }
    bool at_end() const { return bytes_.empty(); }

private:
    std::span<const std::byte> bytes_;
};

} // namespace

void apply(BlockDevice& device, const HeaderEdit& edit) {
    for (const auto& phase : edit.phases) {
        std::vector<WriteRequest> requests;
        requests.reserve(phase.size());
        for (const Overwrite& overwrite : phase)
            requests.push_back({overwrite.offset, overwrite.bytes});
        device.write(requests);
        device.flush();
    }
}

void apply_logged(BlockDevice& device, const HeaderEdit& edit, EditLog& log) {
    if (edit.empty()) return;
    log.begin(device.name(), edit);
    apply(device, edit);
    log.end();
}

std::vector<std::byte> pack(const HeaderEdit& edit) {
    std::vector<std::byte> out;
    append(out, edit.phases.size());
    for (const auto& phase : edit.phases) {
        append(out, phase.size());
        for (const Overwrite& overwrite : phase) {
            append(out, overwrite.offset.count());
            append(out, overwrite.bytes.size());
            out.insert(out.end(), overwrite.bytes.begin(), overwrite.bytes.end());
        }
    }
    return out;
}

HeaderEdit unpack_header_edit(std::span<const std::byte> bytes) {
    Cursor cursor{bytes};
    HeaderEdit edit;
    for (std::uint64_t phases = cursor.number(); phases > 0; --phases) {
        auto& phase = edit.phases.emplace_back();
        for (std::uint64_t writes = cursor.number(); writes > 0; --writes) {
            const Bytes offset{cursor.number()};
            const auto content = cursor.take(cursor.number());
            phase.push_back({offset, {content.begin(), content.end()}});
        }
    }
    if (!cursor.at_end()) throw Error{"recorded header edit: trailing bytes"};
    return edit;
}

} // namespace coppice
