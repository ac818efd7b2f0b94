#include "lvm/metadata_reader.h"

#include "format/base/log.h"
#include "lvm/error.h"
#include "lvm/metadata_text.h"

namespace coppice::lvm {
namespace {

// As often may a commit get in between, before LVM is asked, which waits for the end of it.
constexpr int attempts = 3;

} // namespace

/// Anew each time: a node may have come to lead to another disk, and a disk that is taken away must not be kept open.
MetadataReader::Devices MetadataReader::open(const VgReport& like) const {
    Devices devices;
    for (const PvRow& pv : like.pvs) {
        if (pv.missing) throw BadReport{like.name, pv.name, "it is missing"};
        devices.push_back(opener_(pv));
    }
    return devices;
}

MetadataReader::Places MetadataReader::places(const Devices& devices, const VgReport& like) {
    Places places;
    for (std::size_t pv = 0; pv < devices.size(); ++pv)
        places.push_back(metadata_places(*devices[pv], like.pvs[pv], like.name));
    return places;
}

VgReport MetadataReader::text_of(const Devices& devices, const Places& places, const VgReport& like) {
    std::optional<VgReport> report;
    std::string parsed;
    for (std::size_t pv = 0; pv < places.size(); ++pv)
        for (const MetadataPlace& place : places[pv]) {
            std::string text = metadata_text(*devices[pv], place, like.name);
            if (text == parsed) continue;
            VgReport found = parse_metadata(text, like);
            if (report && *report != found) throw BadReport{like.name, "metadata", "the PVs do not agree"};
            report = std::move(found);
            parsed = std::move(text);
        }
    if (!report) throw BadReport{like.name, "metadata", "there are none"};
    return std::move(*report);
}

void MetadataReader::compare(const VgReport& by_lvm) {
    known_.reset();
    try {
        const Devices devices = open(by_lvm);
        Places found = places(devices, by_lvm);
        VgReport report = text_of(devices, found, by_lvm);
        if (report == by_lvm) {
            known_ = std::move(report);
            places_ = std::move(found);
        } else if (report.sequence_number == by_lvm.sequence_number) {
            log::notice("lvm",
                        "understands the metadata in another way than LVM and does not read them group=" + by_lvm.name);
        }
    } catch (const Error& error) {
        log::debug("lvm", std::string{"asks LVM for every report: "} + error.what());
    }
}

/// Whether `known_` is what stands there now.
bool MetadataReader::renew() {
    if (!known_) return false;
    for (int attempt = 1; attempt <= attempts; ++attempt) {
        try {
            const Devices devices = open(*known_);
            Places now = places(devices, *known_);
            if (now == places_) return true;
            VgReport report = text_of(devices, now, *known_);
            if (places(devices, *known_) != now) continue;
            known_ = std::move(report);
            places_ = std::move(now);
            return true;
        } catch (const Error& error) {
            log::debug("lvm", error.what());
        }
    }
    known_.reset();
    return false;
}

std::optional<VgReport> MetadataReader::read() {
    return renew() ? known_ : std::nullopt;
}

std::optional<Stamp> MetadataReader::stamp() {
    if (!renew()) return std::nullopt;
    return Stamp{known_->uuid, known_->sequence_number};
}

} // namespace coppice::lvm
