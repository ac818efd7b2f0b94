// How little memory a service keeps while it rests, of what it needed while it worked. For the whole process.
#pragma once

namespace coppice {

/// Before any thread is started. Without it glibc keeps freed memory where return_free_memory() does not find it: at
/// the end of an arena that is not the first, and, since every large block that is freed raises the size from which
/// blocks are mapped one by one, up to 64 MiB of it (glibc 2.36, malloc/arena.c: heap_trim; malloc/malloc.c: mtrim).
void keep_memory_returnable();

/// Gives free pages back to the host. Takes some milliseconds: for the end of work, not for the middle.
void return_free_memory();

} // namespace coppice
