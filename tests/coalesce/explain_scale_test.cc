// explain() and admit() cost O(n log n): counted in allocations, because time says little on a busy machine. Work that
// allocates nothing and is worse than that does not come to an end on the large trees before ctest loses patience.
#include "coalesce/explain.h"
#include "tests/coalesce/plan_world.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<std::size_t> allocations{0};
} // namespace

// gcc 12 takes malloc() and free() in a replaced pair for a mistake once it has inlined one of the two.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

void* operator new(std::size_t size) {
    ++allocations;
    if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc{};
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace coppice {
namespace {

enum class Shape { chain, quiet_chain, star, bushes };

/// Every tenth node is in use, so that obstacles have long ways; nobody uses the quiet chain, which is one long step.
SrTree large_tree(Shape shape, std::size_t count) {
    const auto name = [](std::size_t number) { return "node" + std::to_string(10000000 + number); };
    SrTree tree;
    for (std::size_t number = 0; number < count; ++number) {
        TreeNode node;
        node.uuid = name(number);
        node.format = Format::vhd;
        node.virtual_size = 1_GiB;
        node.physical_size = 4_MiB;
        const bool root = number == 0 || (shape == Shape::bushes && number % 4 == 0);
        if (!root) node.parent = name(shape == Shape::star ? 0 : number - 1);
        node.hidden = shape == Shape::star     ? number == 0
                      : shape == Shape::bushes ? number % 4 != 3
                                               : number + 1 < count;
        if (number % 10 == 3 && shape != Shape::quiet_chain) node.openers.push_back({static_cast<int>(number), "qemu"});
        tree.nodes.push_back(node);
    }
    return tree;
}

Plan planned(const SrTree& tree) {
    std::map<std::string, LayerFacts> facts;
    for (const TreeNode& node : tree.nodes)
        facts[node.uuid] = {{{{0_B, 1_MiB}}}, test::shape_of(Format::vhd), {}};
    return plan(tree, facts, 1_TiB, {});
}

struct Cost {
    std::size_t explain = 0;
    std::size_t admit = 0;
};

Cost cost(Shape shape, std::size_t count) {
    const SrTree tree = large_tree(shape, count);
    const Plan plan = planned(tree);
    Schedule schedule;
    schedule.window = Window{0, 1};
    schedule.danger.chain_depth = 3;
    Cost result;
    const std::size_t before = allocations;
    const Plan admitted = admit(plan, tree, 1_TiB, schedule, {0, 720}).plan;
    const std::size_t between = allocations;
    EXPECT_EQ(explain(tree, admitted, {}).size(), count);
    result.admit = between - before;
    result.explain = allocations - between;
    return result;
}

TEST(ExplainScale, GrowsWithTheNumberOfNodes) {
    for (const Shape shape : {Shape::chain, Shape::quiet_chain, Shape::star, Shape::bushes}) {
        const Cost small = cost(shape, 10000);
        const Cost large = cost(shape, 40000);
        ASSERT_GT(small.explain, 10000U) << "counts nothing";
        EXPECT_LT(large.explain, 5 * small.explain) << static_cast<int>(shape);
        EXPECT_LT(large.admit, 5 * small.admit + 1000) << static_cast<int>(shape);
    }
}

TEST(ExplainScale, TakesAHundredThousandNodes) {
    for (const Shape shape : {Shape::chain, Shape::quiet_chain, Shape::star, Shape::bushes})
        cost(shape, 100000);
}

} // namespace
} // namespace coppice
