// Names of logical volumes in an LVM SR, and what they mean as files of a Storage.
//
// Source: sm 3.2.12, lvhdutil.py, vhdutil.py, qcow2util.py, lvmjournaler.py. Inside coppice an image is `<uuid>.vhd`,
// `<uuid>.qcow2` or `<uuid>.raw` whatever it is stored in, one that was set aside `OLD_<uuid>.vhd`, and a journal entry
// `<type>_<id>`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace coppice {

/// Of an image: "VHD-<uuid>", "QCOW2-<uuid>", "LV-<uuid>", and the same with "OLD_" before the UUID. nullopt for every
/// other volume.
std::optional<std::string> file_of_volume(std::string_view volume);
/// The reverse. nullopt for a file that is no image.
std::optional<std::string> volume_of_file(std::string_view file);

/// What the name that an image records for its parent means in the group: "VHD-<uuid>" bare or behind "./",
/// "/dev/<group>/VHD-<uuid>", and the names of devices that libvhd writes, "<group>-VHD--<uuid>" with hyphens doubled,
/// bare, behind "./" or "/dev/mapper/". nullopt where it leads out of the SR, or to nothing that can be an image.
std::optional<std::string> file_of_parent_name(std::string_view stored, std::string_view group);
/// What sm records in `child` for the parent `file`: in a VHD the name of the device, elsewhere the path of its node.
std::string parent_name_of_file(std::string_view file, std::string_view child, const std::string& group);

/// A volume of sm's journal.
struct JournalVolume {
    std::string file;  ///< "<type>_<id>"
    std::string value; ///< as the name has it; it stands inside where the name had no room
    bool inside = false;
};

/// nullopt where the name is none of those: <type>_<uuid>_<value>.
std::optional<JournalVolume> journal_volume(std::string_view volume);
/// The name of the volume for an entry. `inside`: the value does not fit, and has to be written into the volume.
struct NewJournalVolume {
    std::string volume;
    bool inside = false;
};
NewJournalVolume new_journal_volume(const std::string& file, const std::string& value, const std::string& group);

/// As it stands inside a volume: "<decimal length> <value>", padded with spaces to 512 bytes.
std::string journal_content(std::string_view value);
/// nullopt where it is damaged.
std::optional<std::string> value_of_journal_content(std::string_view content);

} // namespace coppice
