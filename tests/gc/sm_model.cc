#include "tests/gc/sm_model.h"

#include "format/chain.h"

#include <gtest/gtest.h>

#include <fstream>

namespace coppice::test {

namespace {

std::vector<std::string> names_of_parent(const Image& image) {
    const auto parent = image.parent();
    return parent ? parent->names : std::vector<std::string>{};
}

/// Whom the images name as their parents, by inode.
std::map<std::uint64_t, std::vector<std::string>> parents_in(MemoryStorage& storage) {
    std::map<std::uint64_t, std::vector<std::string>> result;
    for (const std::string& name : storage.names()) {
        const auto format = format_of_name(name);
        if (!format) continue;
        auto device = storage.open(name, Access::read_only);
        const std::uint64_t inode = device->identity().inode;
        result[inode] = names_of_parent(*open_image(std::move(device), *format));
    }
    return result;
}

} // namespace

SmModel::SmModel(MemoryStorage& storage, const std::filesystem::path& root, std::string sr, std::uint64_t seed)
    : storage_{storage}, locks_{(root / "locks").string()}, run_files_{root / "run" / sr}, sr_{std::move(sr)},
      random_{seed}, disks_{visible_disks(storage)}, calm_{3 + random_() % 40} {}

std::optional<std::string> SmModel::some_disk() {
    if (disks_.empty()) return std::nullopt;
    return std::next(disks_.begin(), static_cast<std::ptrdiff_t>(random_() % disks_.size()))->first;
}

void SmModel::act() {
    if (busy_) return; // looking at the SR for sm is not work of ours
    busy_ = true;
    if (starting_ && go_on_starting()) starting_.reset();
    if (holding_sr_ && random_() % 2 == 0) holding_sr_.reset();
    if (!guests_.empty() && random_() % 12 == 0) stop(guests_.begin()->first);
    const auto disk = random_() % calm_ == 0 ? some_disk() : std::nullopt;
    const bool waiting = starting_ && disk == starting_->leaf; // under its lock nobody else touches it
    if (disk && !waiting) {
        const bool attached = guests_.contains(*disk);
        switch (random_() % 12) {
        case 0:
        case 1:
            if (!attached && !starting_) start_next(*disk);
            break;
        case 2:
        case 3:
            if (attached) stop(*disk);
            break;
        case 4:
        case 5:
            if (attached) write(*disk);
            break;
        case 6:
            if (made_ < 3) snapshot(*disk);
            break;
        case 7:
            if (!attached && disks_.size() > 1 && random_() % 2 == 0) remove(*disk);
            break;
        case 8:
            if (random_() % 3 == 0) {
                note("abort");
                abort_.request_stop();
            }
            break;
        case 9:
            if (holding_sr_) break;
            if (auto lock = locks_.try_take(sr_, "sr")) holding_sr_.emplace(std::move(*lock));
            if (holding_sr_) note("hold sr");
            break;
        default:
            break;
        }
    }
    busy_ = false;
}

bool SmModel::settle() {
    busy_ = true;
    holding_sr_.reset();
    const bool done = !starting_ || go_on_starting();
    if (done) starting_.reset();
    while (!guests_.empty())
        stop(guests_.begin()->first);
    busy_ = false;
    return done;
}

void SmModel::start_next(const std::string& leaf) {
    note("start " + leaf.substr(24));
    starting_.emplace(Starting{leaf, {}, {}});
    if (go_on_starting()) starting_.reset();
}

/// sm's activation: the lock of the VDI, then the merges in its chain are asked to end, then tapdisk opens it.
bool SmModel::go_on_starting() {
    if (!starting_->lock) {
        if (auto lock = locks_.try_take(starting_->leaf, "vdi"))
            starting_->lock.emplace(std::move(*lock));
        else
            return false;
        if (!disks_.contains(starting_->leaf)) return true; // deleted meanwhile
        cancel_merges();
    }
    std::erase_if(starting_->run_files, [](const std::string& file) { return !std::filesystem::exists(file); });
    if (!starting_->run_files.empty()) return false;
    if (disks_.contains(starting_->leaf)) open(starting_->leaf);
    return true;
}

void SmModel::cancel_merges() {
    const SrTree tree = scan_sr(storage_, {});
    for (const TreeNode* node = tree.find(starting_->leaf); node != nullptr;
         node = node->parent ? tree.find(*node->parent) : nullptr) {
        if (node->format != Format::qcow2 || !storage_.exists("coalesce_" + node->uuid)) continue;
        const std::string file = (run_files_ / ("gc_running_" + node->uuid)).string();
        EXPECT_TRUE(std::filesystem::exists(file)) << "a note without a run file: who empties it waits for ever";
        std::ofstream{file, std::ios::trunc};
        starting_->run_files.insert(file);
        note("cancel " + node->uuid.substr(24));
    }
}

void SmModel::open(const std::string& leaf) {
    note("open " + leaf.substr(24));
    const SrTree tree = scan_sr(storage_, {});
    Guest guest;
    for (const TreeNode* node = tree.find(leaf); node != nullptr;
         node = node->parent ? tree.find(*node->parent) : nullptr) {
        auto device = storage_.open(node->file, Access::read_only);
        const std::uint64_t inode = device->identity().inode;
        guest.chain.push_back(open_image(std::move(device), node->format));
        guest.parents[inode] = names_of_parent(*guest.chain.back());
    }
    guest.leaf = state_of(leaf);
    guests_[leaf] = std::move(guest);
}

void SmModel::stop(const std::string& leaf) {
    note("stop " + leaf.substr(24));
    guests_.erase(leaf);
}

void SmModel::write(const std::string& leaf) {
    note("write " + leaf.substr(24));
    const Bytes place = 4_KiB * (random_() % 24);
    write_to(storage_, leaf, {fill_at(place, 4_KiB, static_cast<std::uint32_t>(random_() | 1))});
    Guest& guest = guests_[leaf]; // the writer knows its own tables
    const std::string file = guest.chain.front()->name();
    const Format format = guest.chain.front()->format();
    guest.chain.front() = open_image(storage_.open(file, Access::read_only), format);
    guest.leaf = state_of(leaf);
    disks_[leaf] = disk_of(storage_, leaf);
}

FileIdentity SmModel::state_of(const std::string& leaf) const {
    return storage_.open(scan_sr(storage_, {}).find(leaf)->file, Access::read_only)->identity();
}

/// Under `sr`; an attached disk is paused meanwhile and opens its chain anew.
void SmModel::snapshot(const std::string& leaf) {
    const auto sr = holding_sr_ ? std::nullopt : locks_.try_take(sr_, "sr");
    if (!sr) return;
    const auto vdi = locks_.try_take(leaf, "vdi");
    if (!vdi && guests_.contains(leaf)) return;
    note("snapshot " + leaf.substr(24));
    const TreeNode node = *scan_sr(storage_, {}).find(leaf);
    const std::string base = "base" + std::to_string(made_++);
    rename_node(storage_, leaf, uuid_of(base));
    ImageSpec child = small_image(node.format, "child", base, false, {}, node.virtual_size);
    build(storage_, child);
    rename_node(storage_, uuid_of("child"), leaf);
    mark_hidden(storage_, uuid_of(base), true);
    if (guests_.contains(leaf)) open(leaf);
}

void SmModel::remove(const std::string& leaf) {
    const auto sr = holding_sr_ ? std::nullopt : locks_.try_take(sr_, "sr");
    if (!sr || (starting_ && starting_->leaf == leaf)) return;
    note("delete " + leaf.substr(24));
    storage_.remove(scan_sr(storage_, {}).find(leaf)->file);
    storage_.sync();
    disks_.erase(leaf);
}

bool SmModel::is_open(std::uint64_t inode) const {
    return std::ranges::any_of(guests_, [&](const auto& guest) { return guest.second.parents.contains(inode); });
}

void SmModel::check_guests(const std::string& when) const {
    if (guests_.empty()) return;
    const auto present = parents_in(storage_);
    for (const auto& [leaf, guest] : guests_) {
        EXPECT_TRUE(storage_.open(guest.chain.front()->name(), Access::read_only)->identity() == guest.leaf)
            << when << ": written to " << leaf << ", which is in use";
        std::vector<const Image*> layers;
        for (const auto& image : guest.chain)
            layers.push_back(image.get());
        const ChainView view{layers};
        std::vector<std::byte> bytes(view.size().count());
        view.read(0_B, bytes);
        EXPECT_TRUE(bytes == disks_.at(leaf)) << when << ": guest of " << leaf << " reads other bytes";
        for (const auto& [inode, parents] : guest.parents) {
            const auto place = present.find(inode);
            if (place == present.end())
                ADD_FAILURE() << when << ": an image that " << leaf << " has open is gone";
            else
                EXPECT_TRUE(place->second == parents) << when << ": relinked under " << leaf << ", which has it open";
        }
    }
}

} // namespace coppice::test
