// Fuzz target: a whole VHD file. Checksums are mended first, so that changes reach the code behind them. Whatever the
// bytes, opening, mapping, checking, editing headers and merging end in an answer or an Error; what the check calls
// sound can be read and written, and is sound afterwards.

#include "format/base/error.h"
#include "format/merge_target.h"
#include "format/vhd/check.h"
#include "format/vhd/checksum.h"
#include "format/vhd/headers.h"
#include "format/vhd/image.h"
#include "tests/fuzz/fuzz_support.h"
#include "tests/support/memory_device.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace {

using namespace coppice;
using test::require;

using FileBytes = std::vector<std::byte>;

std::unique_ptr<BlockDevice> device_of(const FileBytes& bytes) {
    return test::memory_device(bytes);
}

void mend(std::span<std::byte> structure, std::string_view cookie, std::size_t field) {
    if (!vhd::equals_text(structure.first(cookie.size()), cookie)) return;
    const std::uint32_t sum = vhd::structure_checksum(structure, field);
    for (std::size_t i = 0; i < 4; ++i)
        structure[field + i] = static_cast<std::byte>(sum >> (24 - 8 * i));
}

void mend_checksums(FileBytes& bytes) {
    const std::span all{bytes};
    if (all.size() < 2048) return;
    mend(all.first(512), "conectix", offsetof(vhd::disk::Footer, checksum));
    mend(all.last(512), "conectix", offsetof(vhd::disk::Footer, checksum));
    mend(all.subspan(512, 1024), "cxsparse", offsetof(vhd::disk::DynamicHeader, checksum));
}

class NoLog final : public EditLog {
public:
    void begin(const std::string&, const HeaderEdit&) override {}
    void end() override {}
};

void read_some(const Image& image) {
    test::map_some(image, [&](const MapRun& run) {
        require(run.host + run.guest.length() <= image.device().size(), "data lies inside the file");
    });
}

void edit(const Image& image, const FileBytes& bytes, bool sound) {
    const NewParent parent{"5b2c3d4e-1111-4222-8333-944455556666.vhd", Format::vhd, Uuid{{std::byte{7}}}, 0};
    for (const int kind : {0, 1, 2}) {
        const auto copy = std::make_shared<test::MemoryFile>();
        copy->bytes = bytes;
        const auto device = [&] { return std::make_unique<test::MemoryDevice>(copy, "image"); };
        try {
            apply(*device(), kind == 0   ? image.with_hidden(true)
                             : kind == 1 ? image.relinked(std::nullopt)
                                         : image.relinked(parent));
        } catch (const Error&) {
            continue; // refused; nothing was written
        }
        const auto edited = vhd::open(device());
        require(edited->virtual_size() == image.virtual_size(), "an edit keeps the size");
        if (kind == 0) require(edited->hidden(), "the flag is set");
        if (kind == 1) require(!edited->parent(), "a root has no parent");
        if (kind == 2) require(edited->parent()->vhd_uuid == parent.vhd_uuid, "a relinked image has its new parent");
        if (sound) require(vhd::check(*device()).readable, "an edit leaves a sound image readable");
    }
}

void merge(const FileBytes& bytes, bool sound) {
    const auto copy = std::make_shared<test::MemoryFile>();
    copy->bytes = bytes;
    copy->flush();
    const auto device = [&] { return std::make_unique<test::MemoryDevice>(copy, "image"); };
    NoLog log;
    const auto image = vhd::open(device());
    std::unique_ptr<MergeTarget> target;
    try {
        target = image->merge_target(log);
    } catch (const Error&) {
        require(!sound, "a sound image can be merged into");
        return;
    }
    BufferedMover mover{BufferedMover::Sharing::never};
    const EmptyView nothing;
    target->prepare();
    const Bytes size = image->virtual_size();
    if (size >= 4_KiB) {
        const std::vector<std::byte> data(1024, std::byte{0x5A});
        const Bytes last = size - 1_KiB;
        const std::array batch{GuestWrite{{512_B, 1536_B}, GuestWrite::Source::memory, nullptr, 0_B, data},
                               GuestWrite{{last, size}, GuestWrite::Source::memory, nullptr, 0_B, data}};
        target->write(batch, {nothing, nothing}, mover);
        target->finish(MergeTarget::Becomes::child);
        const auto again = vhd::open(device());
        const auto runs = again->map({last, size});
        require(!runs.empty() && again->device().read_at(runs.front().host, 512_B) == std::vector(512, std::byte{0x5A}),
                "what was written can be read");
    }
    if (sound) require(vhd::check(*device()).verdict == Verdict::ok, "a merge leaves a sound image sound");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    FileBytes bytes(size);
    if (size != 0) std::memcpy(bytes.data(), data, size);
    mend_checksums(bytes);
    const auto report = vhd::check(*device_of(bytes));
    const bool sound = report.verdict == Verdict::ok;
    std::unique_ptr<Image> image;
    try {
        image = vhd::open(device_of(bytes));
    } catch (const Error&) {
        require(!sound, "a sound image can be opened");
        return 0;
    }
    try {
        read_some(*image);
        image->allocated_size();
        image->physical_size();
    } catch (const Error&) {
        require(!sound || !report.readable, "a sound image can be read");
    }
    try {
        edit(*image, bytes, sound);
        merge(bytes, sound);
    } catch (const Error& error) {
        require(!sound, error.what());
    }
    return 0;
}
