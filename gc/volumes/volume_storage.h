// The volumes of an LVM SR as a Storage: see volume_names.h for what they are called here.
//
// A look at the SR activates nothing: look() takes a report, images are read straight from the PVs, and only confirm()
// tells whether all of that was true. What is going to be changed is held, and active, until let_go(). Changes come
// below sm's SR lock, from the one thread that works on the SR.
#pragma once

#include "format/base/storage.h"
#include "gc/volumes/volume_host.h"
#include "lvm/ledger.h"

#include <map>
#include <mutex>
#include <set>

namespace coppice {

class VolumeStorage final : public Storage {
public:
    /// Reports the group. Throws lvm::CommandFailed where it cannot be seen.
    explicit VolumeStorage(VolumeHost& host);
    ~VolumeStorage() override;

    /// A new report: what is opened from now on is what it says.
    void look();
    /// Throws lvm::GroupChanged where the group is another one than at look(): then look again.
    void confirm();
    /// As of look(), or of our last change.
    const lvm::VgReport& report() const;
    VolumeHost& host() { return host_; }

    /// Ends what a killed run has left: volumes active because of it, and volumes that it was enlarging. Below sm's SR
    /// lock. Sentences for people.
    std::vector<std::string> recover();

    const std::string& name() const override { return host_.group().name(); }
    std::vector<StorageEntry> list() const override;
    bool exists(const std::string& name) const override;
    std::unique_ptr<BlockDevice> open(const std::string& name, Access access) override;
    /// Not for images: throws std::logic_error.
    std::unique_ptr<BlockDevice> create(const std::string& name) override;
    /// An entry of sm's journal.
    void create_filled(const std::string& name, std::string_view content) override;
    void rename(const std::string& from, const std::string& to) override;
    void remove(const std::string& name) override;
    void sync() override;
    StorageSpace space() const override;

    void hold(const std::string& name) override;
    void let_go() noexcept override;
    Bytes size_unit() const override { return report().extent_size; }
    void make_room(const std::string& name, Bytes end) override;
    void trim(const std::string& name, Bytes end) override;
    void seal(const std::string& name) override { unsealed_.insert(name); }
    bool lacks_seal(const std::string& name) const override;
    void unseal(const std::string& name) override { make_writable(name); }
    bool removes_open_objects() const override { return false; }
    bool is_marked_hidden(const std::string& name) const override;
    void mark_hidden(const std::string& name, bool hidden) override;
    std::string object_named(std::string_view stored) const override;
    std::string parent_name(const std::string& parent, const std::string& child) const override;

private:
    void take_report() const;
    const lvm::LvRow& row_of(const std::string& name) const;
    const lvm::LvRow* journal_row(const std::string& name) const;
    /// We have changed the group: the report is taken anew when it is asked for.
    void changed() { stale_ = true; }
    bool is_held(const std::string& name) const { return held_.contains(name); }
    std::unique_ptr<BlockDevice> open_node(const std::string& name, const lvm::LvRow& row, Access access);
    std::unique_ptr<BlockDevice> open_journal(const lvm::LvRow& row);
    std::string read_start(const lvm::LvRow& row, Bytes length);
    void fill_journal(const std::string& volume, std::string_view value);
    void require_no_enlargement(const std::string& name) const;
    void make_writable(const std::string& name);
    void make_writable_by_uuid(const std::string& uuid);
    void put_footer(const std::string& name, Bytes old_end, Bytes new_end);
    void recover_inflate(const lvm::LvRow& entry, const std::string& id, std::uint64_t old_size,
                         std::vector<std::string>& notes);

    VolumeHost& host_;
    mutable std::mutex mutex_; ///< scans open from several threads
    mutable std::unique_ptr<lvm::InactiveReader> reader_;
    mutable bool stale_ = false; ///< set and cleared by the thread that works on the SR
    mutable lvm::Ledger ledger_;
    struct Held {
        lvm::Activation activation;
        std::int64_t since; ///< nanoseconds since 1970-01-01
    };
    std::map<std::string, Held> held_; ///< by file
    std::set<std::string> unsealed_;   ///< files that are writable while we work on them
    std::set<std::string> written_;    ///< files that were opened for writing
};

} // namespace coppice
