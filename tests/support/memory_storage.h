// A Storage in memory that can lose power: between any two changes of names or bytes, and with or without what was not
// yet made durable.
#pragma once

#include "format/base/storage.h"
#include "tests/support/memory_device.h"

#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <system_error>
#include <vector>

namespace coppice::test {

class MemoryStorage final : public Storage {
public:
    explicit MemoryStorage(PowerSupply* power = nullptr) : power_{power} {}

    const std::string& name() const override { return name_; }
    std::vector<StorageEntry> list() const override;
    bool exists(const std::string& name) const override;
    std::unique_ptr<BlockDevice> open(const std::string& name, Access access) override;
    std::unique_ptr<BlockDevice> create(const std::string& name) override;
    void rename(const std::string& from, const std::string& to) override;
    void remove(const std::string& name) override;
    void sync() override;
    StorageSpace space() const override;
    Bytes size_unit() const override { return unit; }
    void make_room(const std::string& name, Bytes end) override;
    void trim(const std::string& name, Bytes end) override;

    /// What a reboot finds. Names come and go in the order of the calls, so that after a cut some prefix of them
    /// counts.
    void lose_power(Unsynced unsynced, std::mt19937_64& random);

    // For arranging a test; these change nothing in the power supply and are durable at once.
    void put(const std::string& name, std::vector<std::byte> bytes);
    void put_text(const std::string& name, std::string_view text);
    void put_link(const std::string& name);
    /// open() of `name` fails with `cause` from now on.
    void refuse(const std::string& name, std::errc cause) { refused_[name] = cause; }
    /// The next open() of `name` finds that it has just been deleted.
    void vanish_when_opened(const std::string& name) { vanishing_.insert(name); }
    std::vector<std::byte> bytes(const std::string& name) const { return names_.at(name)->bytes; }
    std::vector<std::string> names() const;
    /// A storage with the same names and bytes, all durable, and power that never fails unless `power` says so.
    std::unique_ptr<MemoryStorage> copy(PowerSupply* power = nullptr) const;

    Bytes free_space = 1_TiB; ///< in volumes: of all that is there
    /// 0: files. Else images are volumes of whole units, and everything else takes one: set by make_volumes().
    Bytes unit;
    /// Every image there becomes a volume of the size that it needs and `more`; `free` is left beside them.
    void make_volumes(Bytes unit, Bytes more, Bytes free);
    std::set<std::string> opened_for_writing; ///< what open() was asked for, since a test has cleared it

private:
    using Names = std::map<std::string, std::shared_ptr<MemoryFile>>; ///< null for a symbolic link

    void change();
    Bytes taken() const;
    void resize(const std::string& name, Bytes size);
    std::shared_ptr<MemoryFile> file(const std::string& name) const;

    std::string name_ = "memory";
    PowerSupply* power_;
    mutable std::mutex mutex_; ///< scans open from several threads
    Names names_;
    /// The states of the directory since the last sync(), the durable one first, without the current one.
    std::vector<Names> history_;
    std::map<std::string, std::errc> refused_;
    std::set<std::string> vanishing_;
};

} // namespace coppice::test
