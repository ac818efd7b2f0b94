#include "format/qcow2/preparation.h"

#include "format/base/error.h"
#include "format/qcow2/bitmaps.h"
#include "format/qcow2/rebuild.h"
#include "format/qcow2/sector_edit.h"

namespace coppice::qcow2 {
namespace {

void refuse_unfit(const BlockDevice& device, const Header& header) {
    const std::string& name = device.name();
    if ((header.incompatible_features & disk::incompatible_corrupt) != 0)
        throw CorruptImage{name, "an image that is not marked as corrupt"};
    if ((header.incompatible_features & disk::incompatible_data_file) != 0 ||
        (header.autoclear_features & disk::autoclear_raw_data_file) != 0)
        throw Unsupported{name, "its data stands in another file"};
    if (header.nb_snapshots != 0) throw Unsupported{name, "it holds internal snapshots"};
    if ((header.autoclear_features & disk::autoclear_bitmaps) != 0 &&
        header.extension(disk::extension_bitmaps) == nullptr)
        throw CorruptImage{name, "a bitmaps extension where the feature bit says that there is one"};
}

} // namespace

Preparation::Preparation(BlockDevice& device, EditLog& log) : device_{device}, log_{log}, header_{read_header(device)} {
    refuse_unfit(device_, header_);
    audit_ = audit_counts(device_);
}

Header Preparation::carry_out() {
    const bool had_bitmaps = header_.extension(disk::extension_bitmaps) != nullptr;
    const HeaderEdit edit = autoclear_edit(device_, header_);
    if (edit.phases.size() == 1)
        apply(device_, edit);
    else
        apply_logged(device_, edit, log_);
    header_ = read_header(device_);
    // What the bitmaps used is used by nobody now.
    if (had_bitmaps) audit_ = audit_counts(device_);
    correct_counts(device_, header_, audit_);
    if ((header_.incompatible_features & disk::incompatible_dirty) != 0) {
        header_.incompatible_features &= ~disk::incompatible_dirty;
        SectorEdit clean{device_};
        clean.put64(offsetof(disk::Header, incompatible_features), header_.incompatible_features);
        clean.write();
        device_.flush();
    }
    audit_ = {};
    return header_;
}

} // namespace coppice::qcow2
