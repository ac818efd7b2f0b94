// The part of check that looks at single structures: footer, dynamic header, parent locators.
#pragma once

#include "format/check.h"
#include "format/vhd/headers.h"

#include <optional>
#include <string>

namespace coppice::vhd {

/// Adds findings to a report and keeps verdict, readable and mergeable in step.
class Findings {
public:
    explicit Findings(CheckReport& report) : report_{report} {}

    /// Worth telling, but nothing wrong with the content.
    void note(std::string code, std::optional<Bytes> offset, std::string text);
    /// Metadata contradicts itself; every guest byte can still be told.
    void damage(std::string code, std::optional<Bytes> offset, std::string text);
    /// Damage that touches no byte of the guest and does not stand in the way of a merge: one of two copies is lost,
    /// which tapdisk and power cuts leave behind and every writer of ours repairs first; a root still names a parent,
    /// which no reader looks at; or a clock was wrong.
    void blemish(std::string code, std::optional<Bytes> offset, std::string text);
    void unreadable(std::string code, std::optional<Bytes> offset, std::string text);
    void unsupported(std::string code, std::string text);

private:
    CheckReport& report_;
};

/// `now` in seconds since 1970-01-01.
void check_footer_fields(const Footer& footer, std::int64_t now, Findings& findings);
void check_header_fields(const DynamicHeader& header, Bytes offset, Findings& findings);
/// A dynamic disk has no remains of a parent.
void check_no_parent(const DynamicHeader& header, Bytes offset, Findings& findings);
/// Whether anything names the parent.
bool check_locator_texts(const DynamicHeader& header, const std::vector<LocatorText>& locators, const Layout& layout,
                         Findings& findings);

} // namespace coppice::vhd
