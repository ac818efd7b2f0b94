// Runs a fuzz target without libFuzzer: over all stored images of a format, as they are and with random changes.
//
//   replay FORMAT CHANGES [SEED]
//
// CHANGES random variants of each stored file are made. A run that finds something ends as the target ends: by a
// signal.

#include "tests/support/stored_images.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uintmax_t largest = 2 << 20; // larger files hold more guest bytes, not other structures
constexpr std::chrono::seconds slow{10};

Bytes read(const fs::path& path) {
    Bytes bytes(fs::file_size(path));
    std::ifstream in{path, std::ios::binary};
    in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return bytes;
}

/// Places of 64-bit words that hold something: headers, tables.
std::vector<std::size_t> words_in_use(const Bytes& bytes) {
    std::vector<std::size_t> result;
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at, sizeof word);
        if (word != 0) result.push_back(at);
    }
    return result;
}

void change(Bytes& bytes, const std::vector<std::size_t>& places, std::mt19937_64& random) {
    if (bytes.empty() || places.empty()) return;
    const std::size_t header = std::min<std::size_t>(bytes.size(), 256);
    const std::uint64_t kind = random() % 8;
    const std::size_t at = random() % 3 == 0 ? random() % header : places[random() % places.size()] + random() % 8;
    if (at >= bytes.size()) return;
    if (kind < 3) {
        bytes[at] ^= static_cast<std::uint8_t>(1U << (random() % 8));
    } else if (kind < 5) {
        bytes[at] = static_cast<std::uint8_t>(random());
    } else if (kind < 7) {
        // A word of the image at another place: pointers to structures of another kind.
        std::memcpy(bytes.data() + at / 8 * 8, bytes.data() + places[random() % places.size()],
                    std::min<std::size_t>(8, bytes.size() - at / 8 * 8));
    } else {
        bytes.resize(random() % (bytes.size() + 1));
    }
}

void run(const Bytes& bytes, const std::string& name, std::uint64_t seed) {
    if (const char* keep = std::getenv("COPPICE_FUZZ_INPUT")) {
        std::ofstream out{keep, std::ios::binary};
        out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    }
    const auto begin = std::chrono::steady_clock::now();
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    if (std::chrono::steady_clock::now() - begin > slow) {
        std::fprintf(stderr, "%s, seed %llu: too slow\n", name.c_str(), static_cast<unsigned long long>(seed));
        std::abort();
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    const std::string format = argv[1];
    const unsigned long changes = std::strtoul(argv[2], nullptr, 10);
    const unsigned long first_seed = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 1;
    std::uint64_t runs = 0;
    for (const auto& one : fs::directory_iterator{coppice::test::data_directory() / format}) {
        if (!one.is_directory()) continue;
        const auto directory = coppice::test::unpack(format, one.path().filename().string());
        for (const auto& file : fs::recursive_directory_iterator{directory.path()}) {
            if (!file.is_regular_file() || file.file_size() > largest) continue;
            const std::string name = one.path().filename().string() + "/" + file.path().filename().string();
            const Bytes original = read(file.path());
            run(original, name, 0);
            const auto places = words_in_use(original);
            for (unsigned long seed = first_seed; seed < first_seed + changes; ++seed) {
                std::mt19937_64 random{seed};
                Bytes bytes = original;
                for (std::uint64_t times = 1 + random() % 4; times > 0; --times)
                    change(bytes, places, random);
                std::fprintf(stderr, "\r%s seed %lu          ", name.c_str(), seed);
                run(bytes, name, seed);
                ++runs;
            }
        }
    }
    std::printf("%llu variants\n", static_cast<unsigned long long>(runs));
    return runs == 0 && changes != 0 ? 1 : 0;
}
