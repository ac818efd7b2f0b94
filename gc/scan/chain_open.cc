#include "gc/scan/chain_open.h"

#include "format/base/error.h"
#include "format/base/file_device.h"
#include "format/parent_name.h"
#include "gc/base/exit_status.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <stdexcept>
#include <sys/stat.h>

namespace coppice {
namespace {

std::string canonical(const std::string& path) {
    const std::unique_ptr<char, decltype(&std::free)> resolved{::realpath(path.c_str(), nullptr), &std::free};
    if (resolved) return resolved.get();
    if (errno == ENOENT || errno == ENOTDIR) throw NotFound{path, "no such file or directory"};
    throw SystemError::from_errno("resolve", path);
}

std::vector<std::string_view> components(std::string_view path) {
    std::vector<std::string_view> result;
    while (!path.empty()) {
        const auto slash = path.find('/');
        const auto component = path.substr(0, slash);
        if (!component.empty() && component != ".") result.push_back(component);
        path = slash == path.npos ? std::string_view{} : path.substr(slash + 1);
    }
    return result;
}

/// Where LVM SRs have their volumes: a name that sm writes on purpose, and that no directory can resolve.
bool names_lvm_volume(std::string_view stored) {
    return stored.starts_with("/dev/VG_XenStorage-") || stored.starts_with("/dev/mapper/VG_XenStorage-");
}

std::string parent_directory(std::string_view file) {
    const auto slash = file.rfind('/');
    return slash == file.npos ? std::string{} : std::string{file.substr(0, slash)};
}

std::optional<Format> format_of_parent(const ParentReference& parent, const std::string& file) {
    if (parent.format) return parent.format;
    if (parent.vhd_uuid && !parent.vhd_uuid->is_null()) return Format::vhd;
    return format_of_name(file);
}

/// Follows one chain; its state is what has been opened so far.
class ChainWalk {
public:
    ChainWalk(const ChainRoot& root, OpenChain& chain) : root_{root}, chain_{chain} {}

    void walk(std::unique_ptr<BlockDevice> device, std::string file, Format format) {
        while (true) {
            if (!open_layer(std::move(device), file, format)) return;
            const auto parent = chain_.layers.back().image->parent();
            if (!parent) return;
            auto found = find_parent(*parent);
            if (!found) return;
            if (closes_cycle(*found->device)) return;
            if (chain_.layers.size() >= longest_chain)
                return fail(ChainProblemKind::chain_too_long,
                            "the chain is longer than " + std::to_string(longest_chain) + " images");
            const auto parent_format = format_of_parent(*parent, found->file);
            if (!parent_format)
                return fail(ChainProblemKind::parent_format_unknown,
                            "records no format of its parent '" + found->file + "', and its name tells none");
            expected_ = parent->vhd_uuid;
            device = std::move(found->device);
            file = std::move(found->file);
            format = *parent_format;
        }
    }

private:
    struct Found {
        std::string file;
        std::unique_ptr<BlockDevice> device;
    };

    void fail(ChainProblemKind kind, std::string text) {
        chain_.problem = {kind, chain_.layers.back().file, std::move(text)};
    }

    bool open_layer(std::unique_ptr<BlockDevice> device, const std::string& file, Format format) {
        try {
            chain_.layers.push_back({file, open_image(std::move(device), format)});
        } catch (const Unsupported& error) {
            chain_.problem = {ChainProblemKind::unsupported_feature, file, error.what()};
            return false;
        } catch (const Error& error) {
            chain_.problem = {ChainProblemKind::image_damaged, file, error.what()};
            return false;
        } catch (const std::overflow_error& error) { // a number in the image that no format allows
            chain_.problem = {ChainProblemKind::image_damaged, file,
                              std::string{"damaged image: "} + file + ": " + error.what()};
            return false;
        }
        compare_uuid();
        return open_data_file();
    }

    /// False where the image has a data file that cannot be read.
    bool open_data_file() {
        const ChainLayer& layer = chain_.layers.back();
        const auto stored = layer.image->data_file();
        if (!stored) return true;
        const auto problem = [&](ChainProblemKind kind, std::string text) {
            fail(kind, std::move(text));
            return false;
        };
        const auto file = root_.resolve_data_file(*stored, layer.file);
        if (!file)
            return problem(ChainProblemKind::data_file_leads_out,
                           "its data file '" + *stored + "' is not a file beside it, and is not opened");
        try {
            auto device = root_.open(*file);
            if (device->identity().same_object(layer.image->device().identity()))
                return problem(ChainProblemKind::data_file_unusable, "names itself as its data file");
            layer.image->attach_data_file(std::move(device));
            return true;
        } catch (const NotFound&) {
            return problem(ChainProblemKind::data_file_missing, "its data file '" + *file + "' does not exist");
        } catch (const Refused& error) {
            return problem(ChainProblemKind::data_file_leads_out, error.what());
        } catch (const Error& error) {
            return problem(ChainProblemKind::data_file_unusable, error.what());
        }
    }

    void compare_uuid() {
        const auto wanted = std::exchange(expected_, std::nullopt);
        if (!wanted || wanted->is_null()) return;
        const ChainLayer& parent = chain_.layers.back();
        const auto actual = parent.image->vhd_uuid();
        if (actual == wanted) return;
        const ChainLayer& child = chain_.layers[chain_.layers.size() - 2];
        chain_.mismatches.push_back({child.file, "was made on the image with UUID " + wanted->text() +
                                                     ", but its parent '" + parent.file + "' has " +
                                                     (actual ? actual->text() : std::string{"none"})});
    }

    bool closes_cycle(const BlockDevice& device) {
        const FileIdentity identity = device.identity();
        const auto again = std::ranges::find_if(chain_.layers, [&](const ChainLayer& layer) {
            return layer.image->device().identity().same_object(identity);
        });
        if (again == chain_.layers.end()) return false;
        fail(ChainProblemKind::chain_cycle, "the chain comes back to '" + again->file + "'");
        return true;
    }

    /// The first recorded name that leads to something wins, as for every other reader of the format.
    std::optional<Found> find_parent(const ParentReference& parent) {
        const std::string child = chain_.layers.back().file;
        ChainProblem reason{ChainProblemKind::parent_missing, child, "records no usable name of its parent"};
        for (const std::string& name : parent.names) {
            const auto file = root_.resolve(name, child);
            if (!file) {
                const bool elsewhere = names_lvm_volume(name);
                reason = {elsewhere ? ChainProblemKind::parent_elsewhere : ChainProblemKind::parent_leads_out, child,
                          elsewhere ? "its parent '" + name + "' is a volume of an LVM SR"
                                    : "its parent '" + name + "' is not a file below " + root_.path() +
                                          ", and is not opened"};
                continue;
            }
            try {
                return Found{*file, root_.open(*file)};
            } catch (const NotFound&) {
                // A name inside the root that is missing says more than one that leads out.
                reason = {ChainProblemKind::parent_missing, child, "its parent '" + *file + "' does not exist"};
            } catch (const Refused& error) {
                reason = {ChainProblemKind::parent_leads_out, child, error.what()};
                break;
            } catch (const Error& error) {
                reason = {ChainProblemKind::parent_unusable, child, error.what()};
                break;
            }
        }
        chain_.problem = std::move(reason);
        return std::nullopt;
    }

    const ChainRoot& root_;
    OpenChain& chain_;
    std::optional<Uuid> expected_; ///< that the next layer must carry
};

struct ProblemNames {
    std::string_view finding;
    std::string_view reason;
};

ProblemNames names_of(ChainProblemKind kind) {
    switch (kind) {
    case ChainProblemKind::none:
        return {"", ""};
    case ChainProblemKind::image_damaged:
        return {"parent-damaged", "image-damaged"};
    case ChainProblemKind::unsupported_feature:
        return {"parent-unsupported", "unsupported-feature"};
    case ChainProblemKind::parent_missing:
        return {"parent-missing", "parent-missing"};
    case ChainProblemKind::parent_leads_out:
        return {"parent-outside", "unsupported-feature"};
    case ChainProblemKind::parent_elsewhere:
        return {"parent-elsewhere", ""};
    case ChainProblemKind::parent_unusable:
        return {"parent-unusable", "image-unknown"};
    case ChainProblemKind::parent_format_unknown:
        return {"parent-format-unknown", "unsupported-feature"};
    case ChainProblemKind::chain_cycle:
        return {"chain-cycle", "chain-cycle"};
    case ChainProblemKind::chain_too_long:
        return {"chain-too-long", "unsupported-feature"};
    case ChainProblemKind::data_file_missing:
        return {"data-file-missing", "unsupported-feature"};
    case ChainProblemKind::data_file_leads_out:
        return {"data-file-outside", "unsupported-feature"};
    case ChainProblemKind::data_file_unusable:
        return {"data-file-unusable", "unsupported-feature"};
    }
    return {"", ""};
}

void raise(CheckReport& report, Verdict verdict, std::string_view reason) {
    // What the image's own bytes say is worse than what its parents do, and the first reason is kept.
    if (report.verdict == Verdict::corrupt || report.verdict == Verdict::unsupported) return;
    report.verdict = verdict;
    report.reason = reason;
}

} // namespace

std::vector<const Image*> OpenChain::images() const {
    std::vector<const Image*> result;
    for (const ChainLayer& layer : layers)
        result.push_back(layer.image.get());
    return result;
}

ChainRoot::ChainRoot(const std::string& path)
    : path_{canonical(path)}, directory_{::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)} {
    if (directory_) return;
    if (errno == ENOTDIR) throw NotFound{path, "is not a directory"};
    throw SystemError::from_errno("open directory", path);
}

std::unique_ptr<BlockDevice> ChainRoot::open(const std::string& file) const {
    const auto names = components(file);
    if (names.empty()) throw NotFound{file, path_};
    UniqueFd held; // of the directory reached so far, where that is not the root
    int directory = directory_.get();
    for (std::size_t i = 0; i < names.size(); ++i) {
        const bool last = i + 1 == names.size();
        const int mode = last ? O_RDONLY | O_NONBLOCK : O_PATH | O_DIRECTORY; // a FIFO must not make us wait
        UniqueFd next{::openat(directory, std::string{names[i]}.c_str(), mode | O_NOFOLLOW | O_CLOEXEC)};
        if (!next) {
            const int cause = errno;
            struct stat status {};
            if (::fstatat(directory, std::string{names[i]}.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                S_ISLNK(status.st_mode))
                throw Refused{"image-damaged", file,
                              "'" + std::string{names[i]} + "' is a symbolic link, which is never followed"};
            if (cause == ENOENT || cause == ENOTDIR) throw NotFound{file, path_};
            errno = cause;
            throw SystemError::from_errno("open", file);
        }
        if (last) {
            struct stat status {};
            if (::fstat(next.get(), &status) != 0) throw SystemError::from_errno("read status", file);
            if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
                throw Refused{"image-damaged", file, "is neither a regular file nor a block device"};
            return std::make_unique<FileDevice>(std::move(next), file);
        }
        held = std::move(next);
        directory = held.get();
    }
    throw std::logic_error{"a path without a last component"};
}

std::optional<std::string> ChainRoot::resolve(std::string_view stored, std::string_view child) const {
    if (stored.empty() || stored.find('\0') != stored.npos) return std::nullopt;
    if (stored.substr(0, stored.find('/')).find(':') != stored.npos) return std::nullopt; // json:, nbd:, file:
    std::vector<std::string> reached;
    std::string_view rest = stored;
    const std::string directory = parent_directory(child);
    if (stored.starts_with('/')) {
        const std::string prefix = path_ == "/" ? path_ : path_ + '/';
        if (stored.starts_with(prefix)) {
            rest.remove_prefix(prefix.size());
        } else {
            // sm records the mount point of the SR, which a copy of the directory has left behind.
            const auto bare = name_inside_sr(stored, {});
            if (!bare) return std::nullopt;
            return directory.empty() ? *bare : directory + '/' + *bare;
        }
    } else {
        for (const auto component : components(directory))
            reached.emplace_back(component);
    }
    if (rest.empty() || rest.ends_with('/')) return std::nullopt;
    for (const auto component : components(rest)) {
        if (component != "..") {
            reached.emplace_back(component);
        } else {
            if (reached.empty()) return std::nullopt;
            reached.pop_back();
        }
    }
    if (reached.empty()) return std::nullopt;
    std::string result;
    for (const std::string& component : reached)
        result += (result.empty() ? "" : "/") + component;
    return result;
}

std::optional<std::string> ChainRoot::resolve_data_file(std::string_view stored, std::string_view image) const {
    const std::string directory = parent_directory(image);
    const std::string root = path_ == "/" ? "" : path_;
    const auto name = name_inside_sr(stored, directory.empty() ? root : root + '/' + directory);
    if (!name) return std::nullopt;
    return directory.empty() ? *name : directory + '/' + *name;
}

OpenChain open_chain(const ChainRoot& root, const std::string& file, Format format) {
    OpenChain chain;
    ChainWalk{root, chain}.walk(root.open(file), file, format);
    return chain;
}

void add_chain_findings(CheckReport& report, const OpenChain& chain, Format format) {
    for (const ParentMismatch& mismatch : chain.mismatches) {
        report.findings.push_back({"parent-uuid-mismatch", std::nullopt, mismatch.file + ": " + mismatch.text});
        report.mergeable = false;
        raise(report, Verdict::corrupt, "image-damaged");
    }
    for (std::size_t i = 0; i + 1 < chain.layers.size(); ++i) {
        const auto& [child, image] = chain.layers[i];
        if (image->format() != Format::qcow2 || chain.layers[i + 1].image->format() != Format::vhd) continue;
        // The block layer inside tapdisk has no reader of VHD: a host cannot run such a chain before it is merged.
        // Nothing is wrong with the image, though.
        report.findings.push_back(
            {"parent-format", std::nullopt, child + ": a QCOW2 image over a VHD parent, which a host cannot attach"});
    }
    const ChainProblem& problem = chain.problem;
    if (problem.kind == ChainProblemKind::none || chain.layers.empty()) return;
    const ProblemNames names = names_of(problem.kind);
    report.findings.push_back({std::string{names.finding}, std::nullopt, problem.file + ": " + problem.text});
    report.readable = false;
    report.mergeable = false;
    if (problem.kind == ChainProblemKind::parent_elsewhere) return; // nothing is wrong with the image
    // A VHD that is its own ancestor is taken for sound by every other reader of the format, which then never ends.
    const bool lies = problem.kind == ChainProblemKind::chain_cycle && format == Format::vhd;
    raise(report, lies ? Verdict::corrupt : Verdict::unsupported, names.reason);
}

NamedImage locate_image(const std::string& path) {
    const std::string real = canonical(path);
    struct stat status {};
    if (::stat(real.c_str(), &status) != 0) throw SystemError::from_errno("read status", path);
    if (S_ISDIR(status.st_mode)) throw UsageError{"'" + path + "' is a directory, not an image"};
    const auto slash = real.rfind('/');
    NamedImage result{slash == 0 ? "/" : real.substr(0, slash), real.substr(slash + 1), Format::raw};
    auto format = format_of_name(path);
    if (!format) format = format_of_name(real);
    if (!format) throw UsageError{"'" + path + "': the name must end in .vhd, .qcow2 or .raw, which tells the format"};
    result.format = *format;
    return result;
}

std::string file_below(const ChainRoot& root, const NamedImage& image) {
    const std::string path = (image.directory == "/" ? "" : image.directory) + '/' + image.file;
    const std::string prefix = root.path() == "/" ? root.path() : root.path() + '/';
    if (!path.starts_with(prefix))
        throw Refused{"unsupported-feature", path, "does not lie below the root " + root.path()};
    return path.substr(prefix.size());
}

} // namespace coppice
