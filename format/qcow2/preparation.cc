#include "format/qcow2/preparation.h"

#include "format/base/error.h"
#include "format/qcow2/bitmaps.h"

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
}

Header Preparation::carry_out() {
    const HeaderEdit edit = autoclear_edit(device_, header_);
    if (edit.phases.size() == 1)
        apply(device_, edit);
    else
        apply_logged(device_, edit, log_);
    return read_header(device_);
}

} // namespace coppice::qcow2
