// The instruction-set levels that were compiled, and which of them this machine runs.
#pragma once

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "module/table.h"

namespace {

struct Level {
    const char* name;
    const Loops* loops;
    bool (*runs_here)();
};

#if defined(__x86_64__)
bool has_v2() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
// Clang's __builtin_cpu_supports does not know the name before version 16. (That the system saves the registers is
// asked with AVX2.)
bool has_f16c() {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
bool has_v3() {
    return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
bool has_v4() {
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
const Level LEVELS[] = {{"x86-64-v4", &softgrad_loops_v4, has_v4},
                        {"x86-64-v3", &softgrad_loops_v3, has_v3},
                        {"x86-64-v2", &softgrad_loops_v2, has_v2}};
#else
bool always() { return true; }
const Level LEVELS[] = {{"neon", &softgrad_loops_neon, always}};
#endif

// The loops of the level `name`; none if this machine does not run it.
const Loops* find_loops(const char* name) {
    for (const Level& level : LEVELS)
        if (std::strcmp(level.name, name) == 0 && level.runs_here()) return level.loops;
    return nullptr;
}

}  // namespace
