// What the images themselves say about how far a merge has come that somebody was interrupted in. Only reads.
#pragma once

#include "coalesce/merge_context.h"
#include "format/chain.h"

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace coppice {

/// An image and everything below it, open for reading, newest first.
class OpenChain {
public:
    /// Throws Refused where one of them cannot be used.
    OpenChain(MergeContext& context, const SrTree& tree, const std::string& uuid);

    const Image& top() const { return *images_.front(); }
    ChainView view() const;

private:
    std::vector<std::unique_ptr<Image>> images_;
};

/// The first guest byte that `top` over `beneath` and `beneath` alone show differently, both followed by zeros behind
/// their ends; nullopt where nobody could tell them apart. Reads all data that `top` maps.
std::optional<Bytes> first_difference(const Image& top, const ChainView& beneath, std::stop_token stop);

/// Whether `by` maps everything that `top` maps as data.
bool covered(const Image& top, const ChainView& by, std::stop_token stop);

/// Whether the header of `child` names an image file of VDI `uuid` as its parent.
bool names_parent(const Storage& storage, const Image& child, const std::string& uuid);

/// Whether our own journal has seen all data of `source`, as it stands, arrive in `into`.
bool verified_by_us(MergeContext& context, const Image& source, const std::string& vdi, const std::string& into);

} // namespace coppice
