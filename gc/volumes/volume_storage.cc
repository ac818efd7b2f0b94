#include "gc/volumes/volume_storage.h"

#include "format/base/error.h"
#include "format/base/log.h"
#include "format/base/read_only_device.h"
#include "format/image.h"
#include "format/target_space.h"
#include "gc/volumes/volume_device.h"
#include "gc/volumes/volume_names.h"
#include "lvm/error.h"
#include "lvm/thick_space.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fcntl.h>

namespace coppice {
namespace {

constexpr std::string_view journal_tag = "journaler";
constexpr std::string_view hidden_tag = "hidden";
constexpr std::string_view inflate = "inflate_";
constexpr std::string_view interrupted_resize = "jvhd_";
constexpr Extents journal_size{1};
constexpr Bytes journal_content_size = 512_B;
constexpr Bytes vhd_footer_size = 512_B;

std::string id_of(const std::string& file) {
    return file.substr(0, file.rfind('.'));
}

bool is_vhd(const std::string& file) {
    return file.ends_with(".vhd");
}

/// The value of an entry of sm's journal.
class TextDevice final : public ReadOnlyDevice {
public:
    TextDevice(std::string name, std::string text)
        : ReadOnlyDevice{std::move(name), Bytes{text.size()}}, text_{std::move(text)} {}

    void read(std::span<const ReadRequest> requests) const override {
        for (const ReadRequest& request : requests)
            std::memcpy(request.buffer.data(), text_.data() + request.offset.count(), request.buffer.size());
    }
    FileIdentity identity() const override { return {}; }

private:
    std::string text_;
};

} // namespace

VolumeStorage::VolumeStorage(VolumeHost& host)
    : host_{host}, reader_{std::make_unique<lvm::InactiveReader>(host.group(), host.devices())},
      ledger_{reader_->report().free, reader_->report().extent_size} {}

VolumeStorage::~VolumeStorage() {
    let_go();
}

void VolumeStorage::take_report() const {
    reader_ = std::make_unique<lvm::InactiveReader>(host_.group(), host_.devices());
    stale_ = false;
    ledger_.observe(reader_->report().free);
}

void VolumeStorage::look() {
    const std::lock_guard lock{mutex_};
    take_report();
}

const lvm::VgReport& VolumeStorage::report() const {
    if (stale_) take_report();
    return reader_->report();
}

void VolumeStorage::confirm() {
    const std::lock_guard lock{mutex_};
    const auto active = reader_->finish();
    if (active.empty()) return;
    throw lvm::GroupChanged{name(), active.front() + " has become active"};
}

std::vector<StorageEntry> VolumeStorage::list() const {
    std::vector<StorageEntry> entries;
    for (const lvm::LvRow& row : report().lvs) {
        auto file = file_of_volume(row.name);
        if (!file && row.has_tag(journal_tag))
            if (auto entry = journal_volume(row.name)) file = std::move(entry->file);
        if (file) entries.push_back({std::move(*file), StorageEntry::Kind::file});
    }
    std::ranges::sort(entries, {}, &StorageEntry::name);
    const auto twice = std::ranges::unique(entries);
    entries.erase(twice.begin(), twice.end());
    return entries;
}

const lvm::LvRow* VolumeStorage::journal_row(const std::string& name) const {
    for (const lvm::LvRow& row : report().lvs) {
        if (!row.name.starts_with(name) || !row.has_tag(journal_tag)) continue;
        const auto entry = journal_volume(row.name);
        if (entry && entry->file == name) return &row;
    }
    return nullptr;
}

const lvm::LvRow& VolumeStorage::row_of(const std::string& name) const {
    const auto volume = volume_of_file(name);
    const lvm::LvRow* row = volume ? report().find(*volume) : nullptr;
    if (row == nullptr) throw NotFound{name, "there is no volume of it in " + report().name};
    return *row;
}

bool VolumeStorage::exists(const std::string& name) const {
    const auto volume = volume_of_file(name);
    return volume ? report().find(*volume) != nullptr : journal_row(name) != nullptr;
}

std::unique_ptr<BlockDevice> VolumeStorage::open_node(const std::string& name, const lvm::LvRow& row, Access access) {
    const std::string path = host_.node(row.name);
    UniqueFd fd{::open(path.c_str(), (access == Access::read_write ? O_RDWR : O_RDONLY) | O_CLOEXEC)};
    if (!fd) throw SystemError::from_errno("open", path);
    const bool read_only = row.permission == lvm::Permission::read_only;
    const bool sealed = read_only && !unsealed_.contains(name) && !written_.contains(name);
    std::optional<std::int64_t> since;
    if (!sealed) {
        const auto held = held_.find(name);
        since = held == held_.end() ? 0 : held->second.since;
    }
    // Some are opened for writing to lock them, and then removed. It may have another name when it is written to.
    std::function<void()> before_write;
    if (access == Access::read_write && read_only)
        before_write = [this, uuid = row.uuid] { make_writable_by_uuid(uuid); };
    return std::make_unique<VolumeDevice>(std::move(fd), name, row.uuid, since, std::move(before_write));
}

std::unique_ptr<BlockDevice> VolumeStorage::open(const std::string& name, Access access) {
    if (access == Access::read_write && volume_of_file(name)) {
        require_no_enlargement(name);
        hold(name);
        written_.insert(name);
    }
    const std::lock_guard lock{mutex_};
    if (!volume_of_file(name)) {
        const lvm::LvRow* entry = journal_row(name);
        if (entry == nullptr) throw NotFound{name, "there is no such entry in " + report().name};
        return open_journal(*entry);
    }
    const lvm::LvRow& row = row_of(name);
    if (report().find(std::string{interrupted_resize} + id_of(name)) != nullptr)
        throw SystemError{"open", name + ": sm has to revert a resize that was interrupted",
                          std::make_error_code(std::errc::device_or_resource_busy)};
    if (is_held(name) || reader_->is_active(row)) return open_node(name, row, access);
    try {
        return reader_->open(row.name);
    } catch (const SystemError&) {
        throw;
    } catch (const Error& error) { // what cannot be seen is not gone, and not damaged
        throw SystemError{"read volume", name + ": " + error.what(), std::make_error_code(std::errc::no_such_device)};
    }
}

std::string VolumeStorage::read_start(const lvm::LvRow& row, Bytes length) {
    std::string content(length.count(), '\0');
    const auto buffer = std::as_writable_bytes(std::span{content});
    if (reader_->is_active(row))
        open_node(row.name, row, Access::read_only)->read_at(0_B, buffer);
    else
        reader_->open(row.name)->read_at(0_B, buffer);
    return content;
}

std::unique_ptr<BlockDevice> VolumeStorage::open_journal(const lvm::LvRow& row) {
    const JournalVolume entry = journal_volume(row.name).value();
    if (!entry.inside) return std::make_unique<TextDevice>(entry.file, entry.value);
    auto value = value_of_journal_content(read_start(row, journal_content_size));
    if (!value) throw CorruptImage{row.name, "an entry of sm's journal"};
    return std::make_unique<TextDevice>(entry.file, std::move(*value));
}

std::unique_ptr<BlockDevice> VolumeStorage::create(const std::string& name) {
    throw std::logic_error{"a volume without a size: " + name};
}

/// It is active.
void VolumeStorage::fill_journal(const std::string& volume, std::string_view value) {
    try {
        UniqueFd fd{::open(host_.node(volume).c_str(), O_RDWR | O_CLOEXEC)};
        if (!fd) throw SystemError::from_errno("open", host_.node(volume));
        FileDevice device{std::move(fd), volume};
        const std::string content = journal_content(value);
        device.write_at(0_B, std::as_bytes(std::span{content}));
        device.flush();
        // Its tag makes it an entry, and comes when the value stands there.
        host_.group().edit(volume, {.add_tags = {std::string{journal_tag}}});
    } catch (const std::exception&) {
        host_.group().deactivate(volume);
        throw;
    }
    host_.group().deactivate(volume);
}

void VolumeStorage::create_filled(const std::string& name, std::string_view content) {
    const NewJournalVolume entry = new_journal_volume(name, std::string{content}, this->name());
    lvm::Reservation space = ledger_.reserve(name, journal_size);
    if (!entry.inside) {
        host_.group().create(entry.volume, journal_size, {std::string{journal_tag}});
    } else {
        if (report().find(entry.volume) == nullptr)
            host_.group().create(entry.volume, journal_size, {}, lvm::VolumeGroup::Activate::yes);
        else
            host_.group().activate(entry.volume);
        fill_journal(entry.volume, content);
    }
    space.spend(journal_size);
    changed();
}

void VolumeStorage::rename(const std::string& from, const std::string& to) {
    const auto volume = volume_of_file(to);
    if (!volume) throw std::logic_error{"not the name of an image: " + to};
    if (written_.contains(from)) make_writable(from); // it may be somebody's disk from now on
    const lvm::LvRow& row = row_of(from);
    const auto place = held_.find(from);
    host_.activator().rename(row.name, id_of(from), *volume, id_of(to),
                             place == held_.end() ? nullptr : &place->second.activation);
    if (place != held_.end()) {
        auto held = held_.extract(place);
        held.key() = to;
        held_.insert(std::move(held));
    }
    unsealed_.erase(from); // whoever gets a new name is somebody's disk, or is going to be removed
    written_.erase(from);
    changed();
}

void VolumeStorage::remove(const std::string& name) {
    if (!volume_of_file(name)) {
        const lvm::LvRow* entry = journal_row(name);
        if (entry == nullptr) throw NotFound{name, "there is no such entry in " + report().name};
        host_.group().remove(entry->name);
        return changed();
    }
    const std::string volume = row_of(name).name;
    auto held = held_.extract(name);
    unsealed_.erase(name);
    written_.erase(name);
    changed(); // whatever comes of it
    host_.activator().remove(volume, id_of(name), held.empty() ? nullptr : &held.mapped().activation);
}

void VolumeStorage::sync() {
    host_.group().make_durable(report());
}

StorageSpace VolumeStorage::space() const {
    return {report().to_bytes(report().extents), report().to_bytes(ledger_.available())};
}

void VolumeStorage::hold(const std::string& name) {
    if (is_held(name) || !volume_of_file(name)) return;
    const lvm::LvRow& row = row_of(name);
    Held held{host_.activator().activate(row.name, id_of(name)), 0};
    held.since =
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count();
    held_.emplace(name, std::move(held));
}

void VolumeStorage::make_writable(const std::string& name) {
    if (!volume_of_file(name)) return;
    hold(name);
    const lvm::LvRow& row = row_of(name);
    if (row.permission == lvm::Permission::writable || unsealed_.contains(name)) return;
    host_.activator().set_permission(row.name, lvm::Permission::writable);
    unsealed_.insert(name);
    changed();
}

void VolumeStorage::make_writable_by_uuid(const std::string& uuid) {
    const auto row = std::ranges::find(report().lvs, uuid, &lvm::LvRow::uuid);
    if (row == report().lvs.end()) throw NotFound{uuid, "there is no such volume any more in " + report().name};
    make_writable(file_of_volume(row->name).value());
}

bool VolumeStorage::lacks_seal(const std::string& name) const {
    const lvm::LvRow& row = row_of(name);
    return row.permission == lvm::Permission::writable && !is_held(name) && !reader_->is_active(row);
}

void VolumeStorage::let_go() noexcept {
    const auto attempt = [](const auto& action) {
        try {
            action();
        } catch (const std::exception& error) {
            log::error("gc", error.what());
        }
    };
    for (const std::string& file : std::exchange(unsealed_, {}))
        attempt([&] {
            const auto volume = volume_of_file(file);
            const lvm::LvRow* row = volume ? report().find(*volume) : nullptr;
            if (row == nullptr || row->permission == lvm::Permission::read_only) return;
            host_.activator().set_permission(*volume, lvm::Permission::read_only);
            changed();
        });
    written_.clear();
    std::vector<lvm::Activation> activations;
    for (auto& [file, held] : std::exchange(held_, {}))
        activations.push_back(std::move(held.activation));
    host_.activator().release_all(std::move(activations));
}

bool VolumeStorage::is_marked_hidden(const std::string& name) const {
    const auto volume = volume_of_file(name);
    const lvm::LvRow* row = volume ? report().find(*volume) : nullptr;
    return name.ends_with(".raw") && row != nullptr && row->has_tag(hidden_tag);
}

void VolumeStorage::mark_hidden(const std::string& name, bool hidden) {
    if (!name.ends_with(".raw")) return Storage::mark_hidden(name, hidden);
    if (!hidden) make_writable(name); // without a header there is nothing to write for this
    lvm::LvEdit edit;
    (hidden ? edit.add_tags : edit.remove_tags).emplace_back(hidden_tag);
    host_.group().edit(row_of(name).name, edit);
    changed();
}

std::string VolumeStorage::object_named(std::string_view stored) const {
    return file_of_parent_name(stored, name()).value_or(std::string{stored});
}

std::string VolumeStorage::parent_name(const std::string& parent, const std::string& child) const {
    return parent_name_of_file(parent, child, name());
}

/// A VHD has its footer at the very end: before the volume gets another size that is made true for the new one.
void VolumeStorage::put_footer(const std::string& name, Bytes old_end, Bytes new_end) {
    const auto device = open_node(name, row_of(name), Access::read_write);
    auto footer = device->read_at(old_end - vhd_footer_size, vhd_footer_size);
    constexpr std::string_view cookie = "conectix";
    if (!std::ranges::equal(std::span{footer}.first(cookie.size()), std::as_bytes(std::span{cookie})))
        std::ranges::fill(footer, std::byte{}); // readers then take the copy at the beginning
    device->write_at(new_end - vhd_footer_size, footer);
    device->flush();
}

/// Whoever replays such an entry cuts the volume: what was written behind the size that it names would be lost.
void VolumeStorage::require_no_enlargement(const std::string& name) const {
    if (exists(std::string{inflate} + id_of(name)))
        throw Busy{name, "sm-operation: an enlargement of it was interrupted, and has to be undone first"};
}

void VolumeStorage::make_room(const std::string& name, Bytes end) {
    require_no_enlargement(name);
    const lvm::LvRow row = row_of(name); // reports come and go
    const Bytes old_size = row.size;
    const Extents wanted = report().extents_for(lvm::lv_size(end));
    const Extents present = report().extents_for(old_size);
    if (wanted <= present) return;
    const Extents more = wanted - present;
    const std::string entry = std::string{inflate} + id_of(name);
    // The entry takes an extent for as long as the volume is being enlarged.
    lvm::Reservation space = ledger_.reserve("enlarge " + name, more + journal_size);
    make_writable(name);
    const std::string journal = entry + '_' + std::to_string(old_size.count());
    host_.group().create(journal, journal_size, {std::string{journal_tag}});
    sync();
    try {
        host_.group().grow(row.name, wanted);
    } catch (const Error&) {
        host_.group().remove(journal); // it has the size that it had: the group was looked at behind the failure
        changed();
        throw;
    }
    changed();
    if (is_vhd(name)) put_footer(name, old_size, report().to_bytes(wanted));
    sync();
    host_.group().remove(journal);
    changed();
    log::info("gc", "enlarged volume=" + row_of(name).name + " extents=" + std::to_string(wanted.count()));
}

void VolumeStorage::trim(const std::string& name, Bytes end) {
    const Bytes old_size = row_of(name).size;
    const Extents wanted = report().extents_for(lvm::deflated(end));
    if (wanted < report().extents_for(old_size)) {
        make_writable(name);
        if (is_vhd(name)) put_footer(name, old_size, report().to_bytes(wanted));
        host_.group().shrink(row_of(name).name, wanted);
        changed();
        log::info("gc", "trimmed volume=" + row_of(name).name + " extents=" + std::to_string(wanted.count()));
    }
}

void VolumeStorage::recover_inflate(const lvm::LvRow& entry, const std::string& id, std::uint64_t old_size,
                                    std::vector<std::string>& notes) {
    const std::string journal = entry.name;
    for (const char* extension : {".vhd", ".qcow2"}) {
        const auto volume = volume_of_file(id + extension);
        const lvm::LvRow* row = report().find(*volume);
        if (row == nullptr) continue;
        const Extents wanted = report().extents_for(Bytes{old_size});
        if (wanted == Extents{0} || wanted >= report().extents_for(row->size)) break;
        // Of an image that has got data there since, or that cannot be read, nothing is cut off.
        const std::string file = id + extension;
        if (open_image(open(file, Access::read_only), format_of_name(file).value())->target_space()->end() >
            report().to_bytes(wanted)) {
            notes.push_back(row->name +
                            ": keeps the size of an enlargement that had not come to its end: it is in use");
            break;
        }
        host_.group().shrink(row->name, wanted);
        notes.push_back(row->name + ": undid an enlargement that had not come to its end");
        break;
    }
    host_.group().remove(journal);
    changed();
}

std::vector<std::string> VolumeStorage::recover() {
    std::vector<std::string> notes;
    for (const std::string& volume : host_.activator().recover())
        notes.push_back(volume + ": was left active by a run that was killed");
    look();
    const std::vector<lvm::LvRow> rows = report().lvs;
    for (const lvm::LvRow& row : rows) {
        const auto entry = journal_volume(row.name);
        if (entry && entry->inside && row.tags.empty() && row.size == report().to_bytes(journal_size)) {
            host_.group().remove(row.name);
            changed();
            notes.push_back(row.name + ": was to become an entry, and is none without its tag");
            continue;
        }
        if (!entry || !row.has_tag(journal_tag) || !row.name.starts_with(inflate)) continue;
        std::uint64_t old_size = 0;
        const char* const end = entry->value.data() + entry->value.size();
        if (std::from_chars(entry->value.data(), end, old_size).ptr != end) continue;
        try {
            recover_inflate(row, entry->file.substr(inflate.size()), old_size, notes);
        } catch (const Error& error) { // its volume is left alone, and others go on
            notes.push_back(row.name + ": cannot be undone: " + error.what());
        }
    }
    return notes;
}

} // namespace coppice
