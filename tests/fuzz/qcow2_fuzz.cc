// Fuzz target: a whole QCOW2 file. Whatever the bytes, opening, mapping, reading, checking and editing the header end
// in an answer or an Error; what the check calls readable can be read; what a header edit makes can be read back.

#include "format/base/error.h"
#include "format/qcow2/check.h"
#include "format/qcow2/header.h"
#include "format/qcow2/header_edit.h"
#include "format/qcow2/image.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/support/memory_device.h"

#include <cstdint>

namespace {

using namespace coppice;
using test::require;

std::unique_ptr<BlockDevice> device_of(std::span<const std::byte> bytes) {
    return test::memory_device({bytes.begin(), bytes.end()});
}

void read_some(const Image& image) {
    std::vector<std::byte> buffer;
    test::map_some(image, [&](const MapRun& run) {
        if (run.content != Content::compressed) return;
        buffer.resize(run.guest.length().count());
        image.read_compressed(run, run.guest, buffer);
    });
}

void edit(const Image& image, std::span<const std::byte> bytes) {
    const auto copy = device_of(bytes);
    try {
        apply(*copy, image.relinked(NewParent{"5b2c3d4e-1111-4222-8333-944455556666.qcow2", Format::qcow2, {}, 0}));
    } catch (const Unsupported&) {
        return;
    }
    const qcow2::Header header = qcow2::read_header(*copy);
    require(header.backing_file == "5b2c3d4e-1111-4222-8333-944455556666.qcow2" && header.backing_format() == "qcow2",
            "a relinked image has its new parent");
    require(header.hidden() == image.hidden(), "relinking leaves the hidden flag alone");
    try {
        apply(*copy, qcow2::hidden_edit(*copy, header, !header.hidden()));
    } catch (const Unsupported&) {
        return;
    }
    require(qcow2::read_header(*copy).hidden() != header.hidden(), "the flag has changed");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span{data, size});
    const auto report = qcow2::check(*device_of(bytes));
    std::unique_ptr<Image> image;
    try {
        image = qcow2::open(device_of(bytes));
    } catch (const Error&) {
        require(report.verdict != Verdict::ok && report.verdict != Verdict::leaks, "a sound image can be opened");
        return 0;
    }
    try {
        read_some(*image);
        image->allocated_size();
        image->physical_size();
    } catch (const Error& error) {
        require(!report.readable, error.what());
    }
    try {
        edit(*image, bytes);
    } catch (const Error& error) {
        require(false, error.what());
    }
    return 0;
}
