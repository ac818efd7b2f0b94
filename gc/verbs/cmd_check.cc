#include "format/base/directory_storage.h"
#include "format/base/uuid.h"
#include "gc/base/text_output.h"
#include "gc/scan/chain_open.h"
#include "gc/scan/scan.h"
#include "gc/service/json_output.h"
#include "gc/service/stop_signals.h"
#include "gc/verbs/command.h"
#include "gc/verbs/verb_support.h"
#include "gc/volumes/volume_look.h"

#include <boost/json.hpp>
#include <boost/program_options.hpp>

#include <algorithm>
#include <iostream>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice {

namespace json = boost::json;
namespace po = boost::program_options;

void describe_check(po::options_description& options) {
    options.add_options()("root", po::value<std::string>()->value_name("DIR"),
                          "parents are looked for below this directory (default: the file's own)");
}

namespace {

struct CheckedImage {
    std::string path; ///< as the user would name it
    CheckReport report;
};

CheckReport unreadable(const std::string& code, const std::string& text) {
    CheckReport report{Verdict::unsupported, false, false, "image-unknown", {}};
    report.findings.push_back({code, std::nullopt, text});
    return report;
}

CheckReport check_layer(const BlockDevice& device, Format format) {
    try {
        return check_image(device, format);
    } catch (const std::overflow_error& error) { // a number in the image that no format allows
        return {Verdict::corrupt, false, false, "image-damaged", {{"number-too-large", std::nullopt, error.what()}}};
    }
}

CheckReport check_file(const ChainRoot& root, const std::string& file, Format format) {
    CheckReport report = check_layer(*root.open(file), format);
    add_chain_findings(report, open_chain(root, file, format), format);
    return report;
}

CheckedImage check_volume(VolumeLook& look, const std::string& file) {
    const Format format = format_of_name(file).value();
    OpenChain chain = look.chain(file);
    CheckReport report = check_layer(*look.open(file), format);
    add_chain_findings(report, chain, format);
    return {look.path(file), std::move(report)};
}

std::vector<CheckedImage> check_volumes(const SrLocation& sr, const std::string& run_dir, const std::stop_token& stop) {
    VolumeLook look{sr, run_dir};
    std::vector<CheckedImage> images;
    for (const std::string& file : look.files()) {
        if (stop.stop_requested()) throw StopRequested{};
        try {
            images.push_back(check_volume(look, file));
        } catch (const Error& error) {
            images.push_back({look.path(file), unreadable("cannot-open", error.what())});
        }
    }
    look.confirm();
    return images;
}

/// One of the files that a user named: what cannot be opened ends the verb.
CheckedImage check_named(const std::string& path, const Invocation& invocation) {
    if (const auto volume = named_volume(path)) {
        VolumeLook look{volume->sr, invocation.common.run_dir};
        CheckedImage checked = check_volume(look, volume->file);
        look.confirm();
        return checked;
    }
    const NamedImage image = locate_image(path);
    const ChainRoot root{invocation.has("root") ? invocation.text("root") : image.directory};
    return {path, check_file(root, file_below(root, image), image.format)};
}

/// One of the files of an SR: what cannot be opened is one finding among others.
CheckedImage check_in_sr(const ChainRoot& root, const std::string& directory, const std::string& file, Format format) {
    const std::string path = directory + '/' + file;
    try {
        return {path, check_file(root, file, format)};
    } catch (const Refused& error) {
        return {path, unreadable("not-a-file", error.what())};
    } catch (const Error& error) {
        return {path, unreadable("cannot-open", error.what())};
    }
}

bool is_sr(const std::string& argument) {
    struct stat status {};
    if (::stat(argument.c_str(), &status) == 0) return S_ISDIR(status.st_mode);
    return is_uuid(argument) || argument.starts_with("vg:");
}

/// Of an SR, every image. A stop is looked at between two of them.
std::vector<CheckedImage> check_sr(const std::string& name, const std::string& run_dir) {
    const SrLocation sr = locate_sr(name);
    const StopSignals signals;
    if (!sr.group.empty()) return check_volumes(sr, run_dir, signals.token());
    const ChainRoot root{sr.directory};
    std::vector<CheckedImage> images;
    for (const StorageEntry& entry : DirectoryStorage{sr.directory}.list()) {
        if (signals.token().stop_requested()) throw StopRequested{};
        const auto format = format_of_name(entry.name);
        if (!format || !node_of_file(entry.name)) continue;
        images.push_back(check_in_sr(root, sr.directory, entry.name, *format));
    }
    return images;
}

/// An image that is merely not for us is no damage, as long as its content can be told.
bool is_damage(const CheckReport& report) {
    if (report.verdict == Verdict::corrupt) return true;
    return report.verdict == Verdict::unsupported && (!report.readable || report.reason != "unsupported-feature");
}

void print_text(const std::vector<CheckedImage>& images, bool color) {
    for (const auto& [path, report] : images) {
        const Paint paint = is_damage(report)               ? Paint::red
                            : report.verdict == Verdict::ok ? Paint::green
                                                            : Paint::yellow;
        std::cout << printable(path) << ": " << painted(to_string(report.verdict), paint, color);
        if (!report.reason.empty()) std::cout << " (" << report.reason << ')';
        if (!report.readable)
            std::cout << ", not readable";
        else if (report.verdict != Verdict::ok)
            std::cout << ", readable";
        if (!report.mergeable) std::cout << ", not mergeable";
        std::cout << '\n';
        for (const Finding& finding : report.findings) {
            std::cout << "    ";
            if (finding.offset) std::cout << "at byte " << finding.offset->count() << ": ";
            std::cout << finding.code << ": " << printable(finding.text) << '\n';
        }
    }
}

} // namespace

ExitStatus run_check(const Invocation& invocation) {
    if (invocation.arguments.empty()) throw UsageError{"an SR or an image file is missing"};
    std::vector<CheckedImage> images;
    if (invocation.arguments.size() == 1 && is_sr(invocation.arguments.front())) {
        if (invocation.has("root")) throw UsageError{"--root goes with image files, not with an SR"};
        images = check_sr(invocation.arguments.front(), invocation.common.run_dir);
    } else {
        for (const std::string& path : invocation.arguments)
            images.push_back(check_named(path, invocation));
        std::ranges::stable_sort(images, {}, &CheckedImage::path);
    }
    if (invocation.common.json) {
        json::object document = new_document();
        json::array entries;
        for (const auto& [path, report] : images)
            entries.push_back(check_json(path, report));
        document["images"] = std::move(entries);
        print_json(std::cout, document);
    } else {
        print_text(images, use_color(invocation.common.color, STDOUT_FILENO));
        if (images.empty()) std::cout << "no images\n";
    }
    const bool damage = std::ranges::any_of(images, [](const CheckedImage& image) { return is_damage(image.report); });
    return damage ? ExitStatus::damage_found : ExitStatus::done;
}

} // namespace coppice
