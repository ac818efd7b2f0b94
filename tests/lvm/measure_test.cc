// The closed form for the overhead of a QCOW2 image, against the program that the storage manager asks.
#include "lvm/thick_space.h"
#include "tests/support/run_program.h"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <random>

namespace coppice::lvm {
namespace {

struct Measured {
    Bytes required;
    Bytes fully_allocated;
};

Measured measured(Bytes size, const Qcow2Geometry& geometry) {
    const std::string options = "cluster_size=" + std::to_string(geometry.cluster_size().count()) +
                                ",refcount_bits=" + std::to_string(1U << geometry.refcount_order) +
                                (geometry.extended_l2 ? ",extended_l2=on" : "");
    const std::string output = test::must_run({"qemu-img", "measure", "-O", "qcow2", "--output", "json", "-o", options,
                                               "--size", std::to_string(size.count())});
    const boost::json::object object = boost::json::parse(output).as_object();
    return {Bytes{object.at("required").to_number<std::uint64_t>()},
            Bytes{object.at("fully-allocated").to_number<std::uint64_t>()}};
}

void expect_as_measured(Bytes size, const Qcow2Geometry& geometry) {
    const Measured result = measured(size, geometry);
    const std::string where = std::to_string(size.count()) + " bytes in clusters of 2^" +
                              std::to_string(geometry.cluster_bits) + (geometry.extended_l2 ? ", extended" : "") +
                              ", counts of 2^" + std::to_string(geometry.refcount_order) + " bits";
    EXPECT_EQ(sm::empty_qcow2(size, geometry), result.required) << where;
    EXPECT_EQ(qcow2_full_end(size, geometry), result.fully_allocated) << where;
}

Bytes random_size(std::mt19937_64& random, Bytes most) {
    return 512_B * (1 + random() % (1 + (most / 512_B >> random() % 24)));
}

TEST(Measure, AgreesForTheClustersOfTheStorageManager) {
    std::mt19937_64 random{20'260'727};
    for (int round = 0; round < 500; ++round) {
        const Qcow2Geometry geometry{static_cast<unsigned>(16 + random() % 6)};
        expect_as_measured(random_size(random, largest_qcow2_by_sm), geometry);
    }
}

TEST(Measure, AgreesForAnyGeometry) {
    std::mt19937_64 random{20'260'728};
    for (int round = 0; round < 150; ++round) {
        Qcow2Geometry geometry;
        geometry.extended_l2 = random() % 2 == 0;
        geometry.cluster_bits = static_cast<unsigned>(geometry.extended_l2 ? 14 + random() % 8 : 9 + random() % 13);
        geometry.refcount_order = static_cast<unsigned>(random() % 7);
        // As large as an L1 table of 32 MiB allows.
        const Bytes most = std::min(largest_qcow2_by_sm, geometry.table_covers() * (4ULL << 20));
        expect_as_measured(random_size(random, most), geometry);
    }
}

} // namespace
} // namespace coppice::lvm
