// A change of an image's metadata as a value: computed from the image, recorded in a journal, applied, and applied
// again after a crash until it is known to be complete.
#pragma once

#include "format/base/block_device.h"

#include <cstddef>
#include <span>
#include <vector>

namespace coppice {

struct Overwrite {
    Bytes offset;
    std::vector<std::byte> bytes;

    bool operator==(const Overwrite&) const = default;
};

/// Phases are applied in order with a flush after each; inside a phase the order is free. Applying is idempotent.
struct HeaderEdit {
    std::vector<std::vector<Overwrite>> phases;

    bool empty() const { return phases.empty(); }
    bool operator==(const HeaderEdit&) const = default;
};

/// Durable when it returns.
void apply(BlockDevice& device, const HeaderEdit& edit);

/// For a journal. unpack throws Error on bytes that pack did not make.
std::vector<std::byte> pack(const HeaderEdit& edit);
HeaderEdit unpack_header_edit(std::span<const std::byte> bytes);

/// Where an edit that cannot be made in one atomic write is recorded before it is applied, so that a crash in the
/// middle is finished by applying it again.
class EditLog {
public:
    virtual ~EditLog() = default;
    EditLog() = default;
    EditLog(const EditLog&) = delete;
    EditLog& operator=(const EditLog&) = delete;

    /// Durable when it returns. `image` is the name of the device.
    virtual void begin(const std::string& image, const HeaderEdit& edit) = 0;
    /// The edit begun last is durable in the image.
    virtual void end() = 0;
};

/// begin, apply, end.
void apply_logged(BlockDevice& device, const HeaderEdit& edit, EditLog& log);

} // namespace coppice
