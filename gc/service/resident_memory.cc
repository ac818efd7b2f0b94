#include "gc/service/resident_memory.h"

#include <malloc.h>

namespace coppice {

void keep_memory_returnable() {
    constexpr int mapped_from = 256 * 1024; // bytes; any fixed value ends its growth
    ::mallopt(M_ARENA_MAX, 1);              // threads that rarely meet need no arena each
    ::mallopt(M_MMAP_THRESHOLD, mapped_from);
}

void return_free_memory() {
    ::malloc_trim(0);
}

} // namespace coppice
