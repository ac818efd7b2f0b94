#include "gc/base/text_output.h"
#include "gc/scan/chain_open.h"
#include "gc/service/json_output.h"
#include "gc/service/stop_signals.h"
#include "gc/verbs/command.h"
#include "gc/verbs/guest_stream.h"
#include "gc/volumes/volume_look.h"

#include <boost/json.hpp>
#include <boost/program_options.hpp>

#include <iostream>
#include <unistd.h>

namespace coppice {

namespace po = boost::program_options;

void describe_read(po::options_description& options) {
    options.add_options()                                                                           //
        ("sha256", po::bool_switch(), "print only the SHA-256 of the content")                      //
        ("output", po::value<std::string>()->value_name("FILE"), "write a sparse raw file instead") //
        ("root", po::value<std::string>()->value_name("DIR"),                                       //
         "parents are looked for below this directory (default: the file's own)");
}

namespace {

[[noreturn]] void fail(ExitStatus status, const std::string& code, const std::string& text, const std::string& file) {
    throw CommandFailed{{status, code, text, file}};
}

/// Ends the verb where the chain is not there as a whole.
void require_complete(const OpenChain& chain) {
    const auto& [kind, file, text] = chain.problem;
    switch (kind) {
    case ChainProblemKind::none:
        return;
    case ChainProblemKind::image_damaged:
        fail(ExitStatus::damage_found, "image-damaged", text, file);
    case ChainProblemKind::unsupported_feature:
        fail(ExitStatus::damage_found, "unsupported-feature", text, file);
    case ChainProblemKind::parent_missing:
        fail(ExitStatus::damage_found, "parent-missing", file + ": " + text, file);
    case ChainProblemKind::chain_cycle:
        fail(ExitStatus::damage_found, "chain-cycle", file + ": " + text, file);
    case ChainProblemKind::parent_unusable:
        fail(ExitStatus::damage_found, "image-unknown", file + ": " + text, file);
    case ChainProblemKind::parent_leads_out:
    case ChainProblemKind::parent_elsewhere:
    case ChainProblemKind::parent_format_unknown:
    case ChainProblemKind::chain_too_long:
    case ChainProblemKind::data_file_missing:
    case ChainProblemKind::data_file_leads_out:
    case ChainProblemKind::data_file_unusable:
        fail(ExitStatus::damage_found, "unsupported-feature", file + ": " + text, file);
    }
}

/// Says what is wrong with each layer, and ends the verb where bytes cannot be told.
void judge_layers(const OpenChain& chain) {
    for (const ChainLayer& layer : chain.layers) {
        CheckReport report;
        try {
            report = check_image(layer.image->device(), layer.image->format());
        } catch (const std::overflow_error& error) { // a number in the image that no format allows
            fail(ExitStatus::damage_found, "image-damaged", "damaged image: " + layer.file + ": " + error.what(),
                 layer.file);
        }
        const Finding* const first = report.findings.empty() ? nullptr : &report.findings.front();
        std::string text = layer.file + ": ";
        if (first != nullptr && first->offset) text += "at byte " + std::to_string(first->offset->count()) + ": ";
        text += first != nullptr ? first->text : "its content cannot be told";
        if (!report.readable)
            fail(ExitStatus::damage_found, report.reason.empty() ? "image-damaged" : report.reason, text, layer.file);
        if (report.verdict == Verdict::corrupt || report.reason == "image-damaged")
            std::cerr << "coppice: warning: " << printable(text) << "; its content can be read all the same\n";
    }
}

void stream_to(const Invocation& invocation, const OpenChain& chain, std::stop_token stop, std::string& hash) {
    const auto layers = chain.images();
    if (invocation.flag("sha256")) {
        HashSink sink{stop};
        stream_guest(layers, sink, stop);
        hash = sink.digest();
    } else if (invocation.has("output")) {
        SparseFileSink sink{invocation.text("output"), layers.front()->virtual_size()};
        stream_guest(layers, sink, stop);
        sink.commit();
    } else {
        DescriptorSink sink{STDOUT_FILENO, "standard output", stop};
        stream_guest(layers, sink, stop);
    }
}

} // namespace

ExitStatus run_read(const Invocation& invocation) {
    if (invocation.arguments.size() != 1) throw UsageError{"read takes one image file"};
    if (invocation.flag("sha256") && invocation.has("output"))
        throw UsageError{"--sha256 and --output exclude each other"};
    const bool to_stdout = !invocation.flag("sha256") && !invocation.has("output");
    if (to_stdout && invocation.common.json)
        throw UsageError{"read --json needs --sha256 or --output: standard output is the disk"};
    if (to_stdout && ::isatty(STDOUT_FILENO) == 1)
        throw UsageError{"standard output is a terminal; redirect it, or use --sha256 or --output"};

    const std::string& path = invocation.arguments.front();
    const StopSignals signals;
    std::optional<VolumeLook> look;
    OpenChain chain;
    if (const auto volume = named_volume(path)) {
        look.emplace(volume->sr, invocation.common.run_dir);
        chain = look->chain(volume->file);
    } else {
        const NamedImage image = locate_image(path);
        const ChainRoot root{invocation.has("root") ? invocation.text("root") : image.directory};
        chain = open_chain(root, file_below(root, image), image.format);
    }
    require_complete(chain);
    judge_layers(chain);
    std::string hash;
    stream_to(invocation, chain, signals.token(), hash);
    if (look) look->confirm();

    if (invocation.common.json) {
        boost::json::object document = new_document();
        document["path"] = valid_utf8(invocation.arguments.front());
        document["virtual_size"] = chain.layers.front().image->virtual_size().count();
        document["sha256"] = hash.empty() ? boost::json::value(nullptr) : boost::json::value(hash);
        document["doubtful"] = !chain.mismatches.empty();
        print_json(std::cout, document);
    } else if (!hash.empty()) {
        std::cout << hash << '\n' << std::flush;
    }
    for (const ParentMismatch& mismatch : chain.mismatches)
        std::cerr << "coppice: the content is doubtful: " << printable(mismatch.file + " " + mismatch.text) << '\n';
    return chain.mismatches.empty() ? ExitStatus::done : ExitStatus::damage_found;
}

} // namespace coppice
