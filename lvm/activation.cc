#include "lvm/activation.h"

#include "format/base/log.h"
#include "lvm/error.h"
#include "lvm/names.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

namespace coppice::lvm {
namespace {

namespace fs = std::filesystem;

// Somebody who only looks at a new device, as udev does, is gone after a moment.
constexpr int looks_at_open = 2;

bool exists(const std::string& path) {
    std::error_code ignored; // what cannot be looked at cannot be opened either
    return fs::exists(path, ignored);
}

} // namespace

Activation::Activation(Activator& activator, std::string lv, std::string uuid, CountLife life, Claim claim)
    : activator_{&activator}, lv_{std::move(lv)}, uuid_{std::move(uuid)}, life_{life}, claim_{std::move(claim)} {}

Activation::Activation(Activation&& other) noexcept
    : activator_{std::exchange(other.activator_, nullptr)}, lv_{std::move(other.lv_)}, uuid_{std::move(other.uuid_)},
      life_{other.life_}, claim_{std::move(other.claim_)} {}

Activation::~Activation() {
    if (activator_ == nullptr) return;
    try {
        release();
    } catch (const std::exception& error) {
        log::error("lvm", "cannot give back an activation lv=" + lv_ + " cause=\"" + error.what() + "\"");
    }
}

std::string Activation::node() const {
    if (activator_ == nullptr) throw std::logic_error{"node of an LV that has been given back"};
    return activator_->link(lv_);
}

Released Activation::release() {
    if (activator_ == nullptr) throw std::logic_error{"an activation is given back twice"};
    return std::exchange(activator_, nullptr)->put(lv_, uuid_, life_, claim_);
}

Activator::Activator(VolumeGroup& group, DeviceMapper& devices, NamedLocks& locks, const Places& places)
    : group_{group}, devices_{devices}, locks_{locks}, space_{places.space}, counts_{places.counts, places.space},
      claims_{places.claims} {}

std::string Activator::link(const std::string& lv) const {
    return group_.tool().host().devices + "/" + group_.name() + "/" + lv;
}

std::string Activator::mapper_node(const std::string& lv) const {
    return group_.tool().host().devices + "/mapper/" + mapper_name(group_.name(), lv);
}

void Activator::bring_up(const std::string& lv) const {
    const std::string object = qualified(group_.name(), lv);
    const bool was_there = devices_.find(mapper_name(group_.name(), lv)).has_value();
    group_.activate(lv);
    const auto device = devices_.find(mapper_name(group_.name(), lv));
    if (!device) throw Error{"activate LV: " + object + ": lvchange has ended well, but there is no device"};
    if (device->suspended) throw Busy{object, "its device is suspended"};
    if (!exists(link(lv)) && exists(mapper_node(lv))) {
        // Left out where LVM expects udev to do it.
        std::error_code error;
        fs::create_directories(fs::path{link(lv)}.parent_path(), error);
        fs::remove(link(lv), error); // one that leads nowhere
        fs::create_symlink(mapper_node(lv), link(lv), error);
        if (error) throw SystemError{"link to device", link(lv), error};
    }
    if (!exists(link(lv))) throw Error{"activate LV: " + object + ": " + link(lv) + ": the node does not appear"};
    if (was_there) group_.refresh(lv); // another host may have resized it while the device stayed behind
}

void Activator::remove_links(const std::string& lv) const {
    std::error_code ignored; // udev removes them, too
    for (const std::string& path : {link(lv), mapper_node(lv)})
        if (fs::symlink_status(path, ignored).type() != fs::file_type::not_found) fs::remove(path, ignored);
}

Released Activator::bring_down(const std::string& lv) const {
    const std::string device_name = mapper_name(group_.name(), lv);
    std::string failure = "the device stays";
    int open = 0;
    for (int attempt = 1; attempt <= attempts + 1; ++attempt) {
        const auto device = devices_.find(device_name);
        if (device && device->open_count > 0 && ++open == looks_at_open) {
            log::warning("lvm", "leaves an LV active, as somebody has it open lv=" + qualified(group_.name(), lv));
            return Released::still_open;
        }
        if (device && device->open_count == 0) {
            try {
                // sm 3.2.12 knows lvchange to say that all went well and leave the device; it is then removed by hand.
                if (attempt <= attempts)
                    group_.deactivate(lv);
                else
                    devices_.remove(device_name);
            } catch (const CommandFailed& error) {
                failure = error.what();
            }
        }
        if (!device || !devices_.find(device_name)) {
            remove_links(lv);
            return Released::inactive;
        }
        group_.tool().pause(between_attempts);
    }
    throw Error{"deactivate LV: " + qualified(group_.name(), lv) + ": " + failure};
}

void Activator::undo(const std::string& lv, const std::string& uuid) const {
    try {
        RefCount count = counts_.get(uuid);
        if (count.normal > 0) --count.normal;
        counts_.set(uuid, count);
        if (count.sum() == 0) bring_down(lv);
    } catch (const Error& error) {
        log::error("lvm", "cannot undo a failed activation lv=" + qualified(group_.name(), lv) + " cause=\"" +
                              error.what() + "\"");
    }
}

Activation Activator::activate(const std::string& lv, const std::string& uuid) {
    require_lv_name(group_.name(), lv);
    const auto lock = locks_.take(space_, uuid);
    const RefCount before = counts_.get(uuid);
    counts_.set(uuid, {before.normal + 1, before.binary});
    try {
        if (before.sum() == 0 || !exists(link(lv))) bring_up(lv);
        const CountLife life = counts_.life(uuid).value();
        return Activation{*this, lv, uuid, life, claims_.make(lv, uuid, life)};
    } catch (const std::exception&) {
        undo(lv, uuid);
        throw;
    }
}

/// Below the lock of the LV. What is left.
RefCount Activator::count_down(const std::string& uuid, CountLife life, Claim& claim) const {
    claim.remove();
    RefCount count = counts_.get(uuid);
    // Where sm has reset the counts of the SR, we are not in this one.
    if (counts_.life(uuid) == life && count.normal > 0) {
        --count.normal;
        counts_.set(uuid, count);
    }
    return count;
}

Released Activator::put(const std::string& lv, const std::string& uuid, CountLife life, Claim& claim) const {
    const auto lock = locks_.take(space_, uuid);
    return count_down(uuid, life, claim).sum() > 0 ? Released::counted : bring_down(lv);
}

/// All at once; what stays is looked at one by one behind it.
void Activator::deactivate_closed(std::span<const Activation* const> activations) const {
    std::map<std::string, DmRow> devices;
    for (DmRow& row : devices_.list())
        devices.emplace(row.name, row);
    std::vector<std::string> closed;
    for (const Activation* activation : activations)
        if (const auto device = devices.find(mapper_name(group_.name(), activation->lv_));
            device != devices.end() && device->second.open_count == 0)
            closed.push_back(activation->lv_);
    if (closed.size() > 1) group_.deactivate(closed);
}

void Activator::release_all(std::vector<Activation> activations) noexcept {
    const auto attempt = [&](const auto& action) {
        try {
            action();
        } catch (const std::exception& error) {
            log::error("lvm", std::string{"cannot give back an activation cause=\""} + error.what() + "\"");
        }
    };
    std::vector<std::unique_ptr<HeldLock>> held;
    std::vector<const Activation*> unneeded;
    std::vector<Activation*> in_order; // of their locks
    for (Activation& activation : activations)
        in_order.push_back(&activation);
    std::ranges::sort(in_order, {}, &Activation::uuid_);
    for (Activation* activation : in_order)
        attempt([&] {
            activation->activator_ = nullptr;
            auto lock = locks_.take(space_, activation->uuid_);
            if (count_down(activation->uuid_, activation->life_, activation->claim_).sum() > 0) return;
            held.push_back(std::move(lock));
            unneeded.push_back(activation);
        });
    attempt([&] { deactivate_closed(unneeded); });
    for (const Activation* activation : unneeded)
        attempt([&] { bring_down(activation->lv_); });
}

void Activator::remove(const std::string& lv, const std::string& uuid, Activation* activation) {
    const auto lock = locks_.take(space_, uuid);
    RefCount left = counts_.get(uuid);
    if (activation != nullptr) {
        activation->activator_ = nullptr;
        left = count_down(uuid, activation->life_, activation->claim_);
    }
    try {
        group_.remove(lv); // with its device, unless somebody has that open
    } catch (const Error&) {
        if (left.sum() == 0 && activation != nullptr) bring_down(lv);
        throw;
    }
    remove_links(lv);
}

void Activator::rename(const std::string& lv, const std::string& uuid, const std::string& new_lv,
                       const std::string& new_uuid, Activation* activation) {
    const bool moves = uuid != new_uuid;
    const auto first = locks_.take(space_, std::min(uuid, new_uuid));
    const auto second = moves ? locks_.take(space_, std::max(uuid, new_uuid)) : nullptr;
    if (moves && counts_.get(new_uuid) != RefCount{})
        throw Busy{qualified(group_.name(), new_lv), "somebody counts on an LV of " + new_uuid};
    group_.rename(lv, new_lv);
    if (moves) {
        counts_.set(new_uuid, counts_.get(uuid));
        counts_.set(uuid, {});
    }
    if (activation == nullptr) return;
    const CountLife life = counts_.life(new_uuid).value_or(activation->life_);
    Claim claim = claims_.make(new_lv, new_uuid, life);
    activation->claim_.remove();
    activation->lv_ = new_lv;
    activation->uuid_ = new_uuid;
    activation->life_ = life;
    activation->claim_ = std::move(claim);
}

void Activator::set_permission(const std::string& lv, Permission permission) {
    const auto lock = locks_.take(space_, "lvchange-p");
    group_.edit(lv, {.permission = permission});
}

std::vector<std::string> Activator::recover() {
    std::vector<std::string> released;
    for (StaleClaim& stale : claims_.stale()) {
        try {
            require_lv_name(group_.name(), stale.lv);
            put(stale.lv, stale.uuid, stale.life, stale.claim);
            released.push_back(stale.lv);
            log::notice("lvm", "gave back what a killed process had active lv=" + qualified(group_.name(), stale.lv));
        } catch (const Error& error) {
            log::error("lvm", "cannot give back what a killed process had active lv=" +
                                  qualified(group_.name(), stale.lv) + " cause=\"" + error.what() + "\"");
        }
    }
    return released;
}

} // namespace coppice::lvm
