#include "gc/scan/scan_read.h"

#include "format/base/error.h"
#include "gc/scan/header_cache.h"

#include <algorithm>
#include <atomic>
#include <sys/stat.h>
#include <thread>

namespace coppice {
namespace {

constexpr std::string_view set_aside = "OLD_";
// Below it a thread costs more than it saves.
constexpr std::size_t files_per_thread = 16;
constexpr std::uint64_t block_unit = 512; // of st_blocks, whatever the file system

/// Space that the file takes, which for a sparse one is less than its length.
Bytes space_taken(const BlockDevice& device) {
    struct stat status {};
    if (device.fixed_size() || device.descriptor() < 0 || ::fstat(device.descriptor(), &status) != 0)
        return device.size();
    return Bytes{static_cast<std::uint64_t>(status.st_blocks) * block_unit};
}

/// What ails an image that cannot be opened or read, by the exception that says so.
void diagnose(TreeNode& node, const std::exception& failure) {
    if (dynamic_cast<const SystemError*>(&failure) != nullptr)
        mark(node, NodeState::unknown, "image-unknown", failure.what());
    else if (dynamic_cast<const Unsupported*>(&failure) != nullptr)
        mark(node, NodeState::damaged, "unsupported-feature", failure.what());
    else
        mark(node, NodeState::damaged, "image-damaged", failure.what());
}

class Reader {
public:
    Reader(Storage& storage, const std::vector<ImageFile>& files, SizeCache* sizes) : storage_{storage}, sizes_{sizes} {
        for (const ImageFile& file : files)
            uuids_.insert(file.uuid);
    }

    ScannedImage read(const ImageFile& file) const {
        ScannedImage result;
        result.node.uuid = file.uuid;
        result.node.file = file.name;
        result.node.format = file.format;
        if (file.kind == StorageEntry::Kind::symbolic_link) {
            mark(result.node, NodeState::unknown, "image-unknown",
                 file.name + ": is a symbolic link, which is never followed");
            return result;
        }
        auto device = open(file, result);
        if (!device) return result;
        read_header(std::move(device), result);
        if (!result.header_read && result.node.state == NodeState::damaged) search(file, result);
        return result;
    }

private:
    std::unique_ptr<BlockDevice> open(const ImageFile& file, ScannedImage& result) const {
        try {
            return storage_.open(file.name, Access::read_only);
        } catch (const NotFound&) {
            result.vanished = true;
        } catch (const Refused& refused) { // a link that took the file's place since the listing
            mark(result.node, NodeState::unknown, "image-unknown", refused.what());
        } catch (const SystemError& failure) {
            // ENXIO: a socket. It can hold no image, so nothing can depend on it.
            const bool no_file = failure.cause() == std::errc::no_such_device_or_address;
            mark(result.node, no_file ? NodeState::damaged : NodeState::unknown,
                 no_file ? "image-damaged" : "image-unknown", failure.what());
            if (no_file) result.salvaged.emplace();
        } catch (const std::exception& failure) { // a directory or a pipe
            diagnose(result.node, failure);
            if (result.node.state == NodeState::damaged) {
                result.node.reason = "image-damaged";
                result.salvaged.emplace();
            }
        }
        return nullptr;
    }

    void read_header(std::unique_ptr<BlockDevice> device, ScannedImage& result) const {
        TreeNode& node = result.node;
        try {
            node.identity = device->identity();
            node.physical_size = space_taken(*device);
            const auto image = open_image(std::move(device), node.format);
            node.hidden = image->hidden() || storage_.is_marked_hidden(node.file);
            node.virtual_size = image->virtual_size();
            result.vhd_uuid = image->vhd_uuid();
            result.parent = image->parent();
            result.data_file = image->data_file();
            result.header_read = true;
            node.allocated_size = allocated_size(*image, node);
        } catch (const std::exception& failure) {
            diagnose(node, failure);
        }
    }

    Bytes allocated_size(const Image& image, const TreeNode& node) const {
        if (sizes_ != nullptr)
            if (const auto known = sizes_->find(node.file, node.identity)) return *known;
        const Bytes size = image.allocated_size();
        if (sizes_ != nullptr) sizes_->remember(node.file, node.identity, size);
        return size;
    }

    void search(const ImageFile& file, ScannedImage& result) const {
        try {
            result.salvaged = salvage(*storage_.open(file.name, Access::read_only), file.format, uuids_);
            result.salvaged->mentioned.erase(file.uuid);
        } catch (const std::exception& failure) {
            result.node.state = NodeState::unknown;
            result.node.reason = "image-unknown";
            result.node.text = failure.what();
        }
    }

    Storage& storage_;
    SizeCache* sizes_;
    std::set<std::string> uuids_;
};

ScannedImage read_remembering(const Storage& storage, const Reader& reader, const ImageFile& file,
                              HeaderCache* headers) {
    if (headers == nullptr) return reader.read(file);
    const HeaderCache::Moment moment = headers->now();
    const auto state = storage.state(file.name);
    if (!state) return reader.read(file);
    if (auto known = headers->find(file.name, *state)) return std::move(*known);
    ScannedImage image = reader.read(file);
    headers->remember(file.name, *state, image, moment);
    return image;
}

} // namespace

void mark(TreeNode& node, NodeState state, std::string reason, std::string text) {
    if (node.state != NodeState::ok) return;
    node.state = state;
    node.reason = std::move(reason);
    node.text = std::move(text);
}

std::optional<std::string> node_of_file(std::string_view file) {
    const auto format = format_of_name(file);
    if (!format) return std::nullopt;
    const std::string_view stem = file.substr(0, file.size() - extension(*format).size());
    if (!is_uuid(stem.starts_with(set_aside) ? stem.substr(set_aside.size()) : stem)) return std::nullopt;
    return std::string{stem};
}

std::vector<ImageFile> image_files(const Storage& storage) {
    std::vector<ImageFile> files;
    for (const StorageEntry& entry : storage.list())
        if (auto uuid = node_of_file(entry.name))
            files.push_back({std::move(*uuid), entry.name, format_of_name(entry.name).value(), entry.kind});
    return files;
}

std::vector<ScannedImage> read_images(Storage& storage, const std::vector<ImageFile>& files,
                                      const ScanOptions& options) {
    std::vector<ScannedImage> results(files.size());
    const Reader reader{storage, files, options.sizes};
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
        for (std::size_t index = next++; index < files.size(); index = next++)
            results[index] = read_remembering(storage, reader, files[index], options.headers);
    };
    {
        std::vector<std::jthread> helpers;
        const std::size_t useful = std::min<std::size_t>(options.threads, files.size() / files_per_thread);
        for (std::size_t count = 1; count < useful; ++count)
            helpers.emplace_back(work);
        work();
    }
    return results;
}

} // namespace coppice
