// Scratch memory of a loop.
#pragma once

#include <stdlib.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "rows/runtime.h"
#include "simd/vec.h"

namespace {

// Of so many bytes and more, memory is asked for in huge pages, as NumPy does for arrays: the first touch of each page
// costs as much as computing what fits into it.
constexpr ptrdiff_t HUGE_PAGES_FROM = 4 << 20;

// Memory for rows whose layout does not suit a kernel; one allocation per loop, none where nothing is copied.
template <class T>
class Scratch {
   public:
    explicit Scratch(ptrdiff_t entries) : memory_(entries ? (T*)malloc(entries * sizeof(T) + BYTES) : nullptr) {
        if (!memory_ && entries) softgrad_no_memory();
#if defined(__linux__)
        constexpr uintptr_t PAGE = 4096;
        const uintptr_t begin = ((uintptr_t)memory_ + PAGE - 1) / PAGE * PAGE,
                        end = (uintptr_t)(memory_ + entries) / PAGE * PAGE;
        if (memory_ && entries * (ptrdiff_t)sizeof(T) >= HUGE_PAGES_FROM)
            madvise((void*)begin, end - begin, MADV_HUGEPAGE);
#endif
    }
    ~Scratch() { free(memory_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    explicit operator bool() const { return memory_; }
    T* aligned() const { return (T*)(((uintptr_t)memory_ + BYTES - 1) / BYTES * BYTES); }

   private:
    T* memory_;
};

}  // namespace
