#include "lvm/metadata_area.h"

#include "lvm/error.h"
#include "lvm/pv_device.h"

#include <algorithm>
#include <array>
#include <boost/endian/buffers.hpp>
#include <cstring>

namespace coppice::lvm {
namespace {

using boost::endian::little_uint32_buf_t;
using boost::endian::little_uint64_buf_t;

constexpr Bytes header_size = 512_B;
constexpr Bytes beginning = 8_KiB; // the label, and the header of the usual area
constexpr Bytes largest_text = 64_MiB;
constexpr std::string_view area_magic{"\x20LVM2\x20x[5A%r0N*>", 16};
constexpr std::uint32_t ignored = 1;

struct Region {
    little_uint64_buf_t offset;
    little_uint64_buf_t size;
};

struct TextPlace {
    little_uint64_buf_t offset;
    little_uint64_buf_t size;
    little_uint32_buf_t checksum;
    little_uint32_buf_t flags;
};

struct AreaHeader {
    little_uint32_buf_t checksum; // of what follows, up to the end of its sector
    char magic[16];
    little_uint32_buf_t version;
    little_uint64_buf_t start;
    little_uint64_buf_t size;
    TextPlace committed;
};
static_assert(sizeof(AreaHeader) == 64);

/// CRC-32, as LVM starts it and without the inversion at the end.
std::uint32_t checksum(std::span<const std::byte> bytes) {
    static const auto table = [] {
        std::array<std::uint32_t, 256> result{};
        for (std::uint32_t i = 0; i < result.size(); ++i) {
            std::uint32_t value = i;
            for (int bit = 0; bit < 8; ++bit)
                value = (value & 1) != 0 ? value >> 1 ^ 0xedb88320 : value >> 1;
            result[i] = value;
        }
        return result;
    }();
    std::uint32_t value = 0xf597a6cf;
    for (const std::byte byte : bytes)
        value = value >> 8 ^ table[(value ^ static_cast<std::uint32_t>(byte)) & 0xff];
    return value;
}

template <typename Struct>
Struct at(std::span<const std::byte> bytes, std::size_t offset) {
    Struct result{};
    std::memcpy(&result, bytes.data() + offset, sizeof result);
    return result;
}

MetadataPlace place_in(const BlockDevice& device, std::span<const std::byte> begin, Bytes area, Bytes length,
                       const std::string& group) {
    const auto fail = [&](const char* cause) {
        throw BadReport{group, device.name() + ", metadata area at " + std::to_string(area.count()), cause};
    };
    if (area >= device.size() || device.size() - area < header_size) fail("it lies behind the end");
    std::vector<std::byte> sector(header_size.count());
    if (area + header_size <= Bytes{begin.size()})
        std::ranges::copy(begin.subspan(area.count(), sector.size()), sector.begin());
    else
        device.read_at(area, sector);
    const auto header = at<AreaHeader>(sector, 0);
    if (std::string_view{header.magic, sizeof header.magic} != area_magic || header.version.value() != 1 ||
        header.start.value() != area.count() || header.size.value() != length.count())
        fail("its header is none");
    if (checksum(std::span{sector}.subspan(sizeof header.checksum)) != header.checksum.value())
        fail("its header has a wrong checksum");
    if ((header.committed.flags.value() & ignored) != 0) fail("it is not in use");
    const MetadataPlace place{area, length, Bytes{header.committed.offset.value()},
                              Bytes{header.committed.size.value()}, header.committed.checksum.value()};
    if (place.size == 0_B || place.size > largest_text || length <= header_size || place.size > length - header_size ||
        place.offset < header_size || place.offset >= length)
        fail("its text does not lie in it");
    return place;
}

/// The regions from `at` on, which an empty one ends.
std::vector<Region> regions(std::span<const std::byte> sector, std::size_t& place) {
    std::vector<Region> result;
    for (; place + sizeof(Region) <= sector.size(); place += sizeof(Region)) {
        const auto region = at<Region>(sector, place);
        if (region.offset.value() == 0) {
            place += sizeof(Region);
            break;
        }
        result.push_back(region);
    }
    return result;
}

} // namespace

std::vector<MetadataPlace> metadata_places(const BlockDevice& device, const PvRow& pv, const std::string& group) {
    if (device.size() < beginning) throw BadReport{group, device.name(), "it is too small"};
    const auto begin = device.read_at(0_B, beginning);
    const auto label = find_label(begin, pv);
    if (!label) throw BadReport{group, device.name(), "it does not have the label of PV " + pv.uuid};
    std::size_t place = label->regions;
    static_cast<void>(regions(label->sector, place)); // of the data
    std::vector<MetadataPlace> places;
    for (const Region& area : regions(label->sector, place))
        places.push_back(place_in(device, begin, Bytes{area.offset.value()}, Bytes{area.size.value()}, group));
    return places;
}

std::string metadata_text(const BlockDevice& device, const MetadataPlace& place, const std::string& group) {
    std::string text(place.size.count(), '\0');
    const auto bytes = std::as_writable_bytes(std::span{text});
    const std::size_t straight = std::min(place.size, place.length - place.offset).count();
    std::vector<ReadRequest> requests{{place.area + place.offset, bytes.first(straight)}};
    if (straight < bytes.size()) requests.push_back({place.area + header_size, bytes.subspan(straight)});
    device.read(requests);
    if (checksum(bytes) != place.checksum) throw BadReport{group, device.name(), "its metadata have a wrong checksum"};
    return text;
}

} // namespace coppice::lvm
