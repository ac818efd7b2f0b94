// A merge target with something beneath it, made by qemu-img from a random seed, kept in memory so that power can fail;
// and the guest bytes that it has to show.
#pragma once

#include "format/chain.h"
#include "format/merge_target.h"
#include "tests/support/memory_device.h"
#include "tests/support/run_program.h"
#include "tests/support/stored_images.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

namespace coppice::test {

/// Of the images that a test makes.
struct Geometry {
    unsigned version = 3;
    unsigned cluster_bits = 16;
    unsigned refcount_bits = 16;
    bool extended = false;
    bool compressed = false; ///< some clusters of the target
    bool zstd = false;
    bool backing = true;
    std::string text() const;
};

Geometry random_geometry(std::mt19937_64& random);

/// Keeps what it is told in memory.
class MemoryEditLog final : public EditLog {
public:
    void begin(const std::string&, const HeaderEdit& edit) override { open = edit; }
    void end() override { open.reset(); }
    std::optional<HeaderEdit> open;
};

/// One write with the bytes it stands for.
struct ModelWrite {
    ByteRange guest;
    GuestWrite::Source source;
};

class TargetWorld {
public:
    TargetWorld(const Geometry& geometry, Bytes target_size, Bytes base_size, std::mt19937_64& random);

    /// Of the image as it stands in the file, through a device with or without the power supply.
    std::unique_ptr<BlockDevice> device(PowerSupply* power = nullptr) const;
    /// Guest bytes of the target over its base, or alone.
    enum class Through { chain, alone };
    std::vector<std::byte> guest(Through through = Through::chain) const;
    /// Exit status of qemu-img check on a copy of the target; its output in `output`.
    int qemu_check(std::string* output = nullptr) const;
    /// The bytes that qemu-img convert reads through the chain.
    std::vector<std::byte> qemu_guest() const;

    /// A batch of ascending, disjoint writes, and the guest bytes afterwards.
    std::vector<ModelWrite> random_batch(Bytes end, std::mt19937_64& random) const;
    std::vector<GuestWrite> writes(const std::vector<ModelWrite>& batch) const;
    void apply_to_model(const std::vector<ModelWrite>& batch, std::vector<std::byte>& model) const;

    const Geometry geometry;
    std::shared_ptr<MemoryFile> file;
    std::unique_ptr<Image> base; ///< null without backing
    std::unique_ptr<GuestView> beneath;
    std::unique_ptr<MemoryDevice> source; ///< what a guest offset gets from a device or from memory
    std::vector<std::byte> source_bytes;

private:
    /// For qemu-io. Some fail: a compressed write does where something stands already.
    std::vector<std::string> fill_commands(Bytes size, std::mt19937_64& random, bool compressed) const;

    TemporaryDirectory directory_;
};

std::vector<std::byte> read_whole(const std::filesystem::path& path);
void write_whole(const std::filesystem::path& path, std::span<const std::byte> bytes);
/// The guest bytes of `layers`, newest first.
std::vector<std::byte> guest_bytes(std::vector<const Image*> layers);
/// The first offset at which the two differ, or nullopt.
std::optional<std::size_t> first_difference(std::span<const std::byte> a, std::span<const std::byte> b);

} // namespace coppice::test
