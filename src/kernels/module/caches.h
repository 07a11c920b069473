// The caches of this machine, read once at import, and what is decided by them.
#pragma once

#include <cstdio>

#include "rows/runtime.h"

namespace {

// The size in bytes of the first CPU's data cache of some level, as Linux reports it, which knows what a CPU reaches,
// other than sysconf, which counts all caches of a package; `otherwise` where it does not.
ptrdiff_t cache_size(int level, ptrdiff_t otherwise) {
    for (int index = 0; index < 8; ++index) {
        const auto read = [&](const char* what, const char* format, auto*... found) {
            char path[80];
            std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, what);
            std::FILE* const file = std::fopen(path, "r");
            if (!file) return false;
            const bool is_read = std::fscanf(file, format, found...) == sizeof...(found);
            std::fclose(file);
            return is_read;
        };
        int found, kibibytes;
        char kind;
        if (!read("level", "%d", &found)) break;
        if (found == level && read("type", "%c", &kind) && kind != 'I' && read("size", "%dK", &kibibytes))
            return (ptrdiff_t)kibibytes << 10;
    }
    return otherwise;
}

// Measured on second-level caches of half a MiB to 2 MiB with last-level ones of 32 MiB and more; smaller caches have
// less room.
Boundaries boundaries_here() {
    const ptrdiff_t row = cache_size(2, 1 << 20), call = cache_size(3, 32 << 20) / 4;
    return {row < 1 << 20 ? row : 1 << 20, call < 8 << 20 ? call : 8 << 20};
}

}  // namespace
