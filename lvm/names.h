// Names as LVM and device-mapper have them. Names come from disks and are judged before they become arguments.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace coppice::lvm {

/// Whether LVM takes `name` for a logical volume or group: A-Za-z0-9+_.- without a leading "-", not "." or "..", none
/// of its reserved words. Source: lvm(8) and LVM 2.03.16.
bool is_valid_name(std::string_view name);
/// Throws Unsupported where it is not one, or where the group has no room for a name of that length.
void require_lv_name(const std::string& group, const std::string& name);

/// A-Za-z0-9_+.-/=!:#&, at most 1024 characters.
bool is_valid_tag(std::string_view tag);
/// Throws Unsupported.
void require_tag(const std::string& tag);

/// "VG/LV", as commands and messages have it.
std::string qualified(const std::string& group, const std::string& lv);
/// The name of the device: "VG-LV" with every hyphen inside doubled.
std::string mapper_name(std::string_view group, std::string_view lv);
/// The UUID of the device, which no renaming changes: "LVM-" and both UUIDs without hyphens.
std::string mapper_uuid(std::string_view group_uuid, std::string_view lv_uuid);

} // namespace coppice::lvm
