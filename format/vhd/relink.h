// Header edits of a dynamic or differencing VHD: another parent, no parent, hidden.
//
// Computes values only; nothing is written here. The order of phases is what makes each state between them read the
// same.
#pragma once

#include "format/base/header_edit.h"
#include "format/image.h"
#include "format/vhd/headers.h"

#include <optional>
#include <string>
#include <vector>

namespace coppice::vhd {

/// Makes both footers `footer`: the primary, then the copy. Empty where both are so already. Throws Unsupported for an
/// image whose journaled resize was interrupted.
HeaderEdit footer_edit(const BlockDevice& device, const Headers& headers, const Bat& bat, const Footer& footer);

/// The header without any trace of a parent.
DynamicHeader without_parent(DynamicHeader header);

/// The sectors in which two byte strings of equal length differ, as overwrites of what stands at `offset`.
std::vector<Overwrite> differing_sectors(Bytes offset, std::span<const std::byte> before,
                                         std::span<const std::byte> after);

class Relinking {
public:
    /// All three must outlive it.
    Relinking(const BlockDevice& device, const Headers& headers, const Bat& bat);

    /// With two locators or more, each state between two phases names one parent and its UUID (see switched_over).
    /// Otherwise locator texts first, then the header, so that a crash between leaves old UUID with new paths, as the
    /// reference does. A dynamic disk becomes differencing last.
    HeaderEdit to(const NewParent& parent) const;
    /// The type changes first: a dynamic disk with remains of a parent is read well, a differencing one without is not.
    HeaderEdit to_nothing() const;

private:
    /// The edit while it is computed.
    struct Draft {
        DynamicHeader header;
        std::vector<Overwrite> texts;
        Bytes free_begin; ///< room for texts that do not fit their slots
        Bytes free_end;
        bool moves_footer = false; ///< texts reach over the present footer of a file without blocks
    };

    Draft draft() const;
    std::optional<HeaderEdit> switched_over(const Draft& draft) const;
    void write_text(Draft& draft, std::size_t slot, std::uint32_t code, const std::string& path) const;
    bool fits(const disk::ParentLocator& locator, const LocatorText& place, std::size_t length) const;
    bool changes(const std::vector<Overwrite>& texts) const;
    bool own_place(ByteRange place) const;

    const BlockDevice& device_;
    const Headers& headers_;
    const Bat& bat_;
    ReadBatmap batmap_;
    std::vector<LocatorText> locators_;
};

} // namespace coppice::vhd
