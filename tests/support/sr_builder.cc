#include "tests/support/sr_builder.h"

#include "coalesce/merge_pass.h"
#include "format/base/error.h"
#include "format/chain.h"
#include "format/merge_target.h"
#include "format/qcow2/create.h"
#include "format/vhd/create.h"
#include "gc/scan/scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <random>

namespace coppice::test {
namespace {

class NoLog final : public EditLog {
public:
    void begin(const std::string&, const HeaderEdit&) override {}
    void end() override {}
};

std::vector<std::byte> content(const Fill& fill) {
    std::mt19937 random{fill.seed};
    std::vector<std::byte> bytes(fill.guest.length().count());
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(random());
    return bytes;
}

/// A chain of images that it owns, newest first.
struct OpenChain {
    std::vector<std::unique_ptr<Image>> images;

    std::vector<const Image*> views(std::size_t from = 0) const {
        std::vector<const Image*> result;
        for (std::size_t i = from; i < images.size(); ++i)
            result.push_back(images[i].get());
        return result;
    }
};

SrTree scan(MemoryStorage& storage) {
    return scan_sr(storage, ScanOptions{});
}

OpenChain open_chain(MemoryStorage& storage, const SrTree& tree, const std::string& uuid, Access top) {
    OpenChain chain;
    Access access = top;
    for (std::optional<std::string> at = uuid; at;) {
        const TreeNode* node = tree.find(*at);
        if (node == nullptr || node->state != NodeState::ok)
            throw Error{"test SR: " + *at + (node == nullptr ? " is missing" : ": " + node->text)};
        chain.images.push_back(open_image(storage.open(node->file, access), node->format));
        access = Access::read_only;
        at = node->parent;
    }
    return chain;
}

NewParent parent_of(MemoryStorage& storage, const std::string& uuid) {
    const SrTree tree = scan(storage);
    const TreeNode* node = tree.find(uuid);
    if (node == nullptr) throw Error{"test SR: no parent " + uuid};
    const auto image = open_image(storage.open(node->file, Access::read_only), node->format);
    return {node->file, node->format, image->vhd_uuid(), 0};
}

void create(MemoryStorage& storage, const ImageSpec& spec) {
    const auto device = storage.create(file_of(spec));
    std::optional<NewParent> parent;
    if (spec.parent) parent = parent_of(storage, uuid_of(*spec.parent));
    if (spec.format == Format::raw) {
        device->set_size(spec.size);
    } else if (spec.format == Format::vhd) {
        vhd::NewDisk disk;
        disk.virtual_size = spec.size;
        disk.uuid = *Uuid::parse(uuid_of(spec.name));
        disk.parent = parent;
        disk.hidden = spec.hidden;
        disk.block_size = spec.block_size;
        vhd::create(*device, disk);
    } else {
        qcow2::CreateOptions options;
        options.size = spec.size;
        options.cluster_bits = spec.cluster_bits;
        options.extended_l2 = spec.extended_l2;
        options.version = spec.version;
        options.hidden = spec.hidden;
        if (parent) {
            options.backing_name = parent->name;
            options.backing_format = parent->format;
        }
        qcow2::create(*device, options);
    }
}

} // namespace

Fill fill_at(Bytes begin, Bytes length, std::uint32_t seed) {
    return {ByteRange::at(begin, length), seed};
}

ImageSpec small_image(Format format, std::string name, std::optional<std::string> parent, bool hidden,
                      std::vector<Fill> fills, Bytes size) {
    ImageSpec spec;
    spec.name = std::move(name);
    spec.format = format;
    spec.parent = std::move(parent);
    spec.hidden = hidden;
    spec.size = size;
    spec.fills = std::move(fills);
    spec.cluster_bits = 12;
    spec.block_size = 64_KiB;
    return spec;
}

std::string uuid_of(const std::string& name) {
    std::string digits;
    for (const char c : name) {
        char text[3];
        std::snprintf(text, sizeof text, "%02x", static_cast<unsigned char>(c));
        digits += text;
    }
    digits.resize(12, '0');
    return "c0ffee00-0000-4000-8000-" + digits;
}

std::string file_of(const ImageSpec& image) {
    return uuid_of(image.name) + std::string{extension(image.format)};
}

void build(MemoryStorage& storage, const ImageSpec& spec) {
    create(storage, spec);
    storage.sync();
    write_to(storage, uuid_of(spec.name), spec.fills);
}

void write_to(MemoryStorage& storage, const std::string& node, const std::vector<Fill>& fills) {
    if (fills.empty()) return;
    // The writer that merges is the only one there is; read-back is checked against foreign readers elsewhere.
    OpenChain chain = open_chain(storage, scan(storage), node, Access::read_write);
    NoLog log;
    const ChainView beneath{chain.views(1)};
    BufferedMover mover{BufferedMover::Sharing::never};
    const auto target = chain.images.front()->merge_target(log);
    target->prepare();
    for (const Fill& fill : fills) {
        const auto bytes = content(fill);
        GuestWrite write{fill.guest, fill.seed == 0 ? GuestWrite::Source::zeros : GuestWrite::Source::memory};
        write.memory = bytes;
        target->write({&write, 1}, {beneath, beneath}, mover);
    }
    target->finish(chain.images.size() > 1 ? MergeTarget::Becomes::child : MergeTarget::Becomes::root);
}

void pour_into_parent(MemoryStorage& storage, const std::string& child) {
    const OpenChain chain = open_chain(storage, scan(storage), child, Access::read_only);
    const OpenChain writing =
        open_chain(storage, scan(storage), *scan(storage).find(child)->parent, Access::read_write);
    NoLog log;
    BufferedMover mover{BufferedMover::Sharing::never};
    const ChainView beneath{chain.views(2)};
    const Image& parent = *chain.images[1];
    MergePass pass{{chain.images[0].get()}, parent, {beneath, beneath}, parent.virtual_size(), MergePass::Rank::newer};
    pass.end = std::max(pass.end, chain.images[0]->virtual_size());
    const auto target = writing.images.front()->merge_target(log);
    target->prepare();
    target->grow(pass.end, pass.beneath, mover);
    run_merge_pass(pass, *target, mover, 0_B, {}, [](Bytes, Bytes) {});
    target->finish(chain.images.size() > 2 ? MergeTarget::Becomes::child : MergeTarget::Becomes::root);
}

void mark_hidden(MemoryStorage& storage, const std::string& node, bool hidden) {
    const TreeNode found = *scan(storage).find(node);
    const auto image = open_image(storage.open(found.file, Access::read_write), found.format);
    if (image->hidden() != hidden) apply(image->device(), image->with_hidden(hidden));
}

void link_to(MemoryStorage& storage, const std::string& child, const std::string& parent) {
    const TreeNode found = *scan(storage).find(child);
    const auto image = open_image(storage.open(found.file, Access::read_write), found.format);
    apply(image->device(), image->relinked(parent_of(storage, parent)));
}

void rename_node(MemoryStorage& storage, const std::string& node, const std::string& name) {
    const TreeNode found = *scan(storage).find(node);
    storage.rename(found.file, name + std::string{extension(found.format)});
    storage.sync();
}

std::vector<std::byte> disk_of(MemoryStorage& storage, const std::string& node) {
    const OpenChain chain = open_chain(storage, scan(storage), node, Access::read_only);
    const ChainView view{chain.views()};
    std::vector<std::byte> bytes(view.size().count());
    view.read(0_B, bytes);
    return bytes;
}

GuestBytes visible_disks(MemoryStorage& storage) {
    GuestBytes result;
    const SrTree tree = scan(storage);
    for (const TreeNode& node : tree.nodes) {
        if (node.hidden) continue;
        try {
            result.emplace(node.uuid, disk_of(storage, node.uuid));
        } catch (const Error& error) {
            ADD_FAILURE() << node.uuid << ": " << error.what();
        }
    }
    return result;
}

} // namespace coppice::test
