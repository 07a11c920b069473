// What every level of the instruction set takes from the module.
#pragma once

#include <stddef.h>

// The sizes at which a loop changes how it uses memory, from the caches of this machine.
struct Boundaries {
    // Rows up to this many bytes keep their exponentials in scratch memory, which stays in the second-level cache with
    // them. row_loop.h decides which longer rows keep them.
    ptrdiff_t scratch_up_to;
    // Results of at least this many bytes are stored non-temporally: smaller ones are found in the cache by their
    // reader; of larger ones every cache line that is written would be read first.
    ptrdiff_t nontemporal_from;
};

extern "C" {
extern const Boundaries softgrad_boundaries;

// Raises MemoryError. A loop, which does not hold the GIL, may call it.
void softgrad_no_memory();
}
