// Lockstep batches: a few rows that go through every step of a kernel together.
#pragma once

#include "rows/row.h"

namespace {

// Up to WIDTH rows of a few vectors, one operand or two in and one result, which go through each step of a kernel
// together. Alone, such a row is over before the chain from its last exponential through the sum to the first quotient
// is, and the next one has to wait for it; here one chain serves all.
template <class T>
struct Lockstep {
    ptrdiff_t n;
    int lanes;
    ptrdiff_t in_step[2], out_step;  // bytes from a row to the next
    T* memory;                       // for exponentials: whole vectors of each row
    RowContext<T> context;           // of each row alone; its mask and prefetched data are those of the first row
    ptrdiff_t next_step[2];  // from the prefetched data of a row to that of the next, when adding and when finishing
    ptrdiff_t mask_step;

    // Longer rows go alone, or fewer together where they need no memory: all stays in the first-level cache.
    static constexpr ptrdiff_t LONGEST = 256;
    static ptrdiff_t most(ptrdiff_t n, bool needs_memory) {
        return n <= LONGEST ? WIDTH<T> : needs_memory ? 1 : LONGEST * WIDTH<T> / n;
    }

    template <class X>
    const X* in(const X* x, int lane, int k = 0) const {
        return (const X*)((const char*)x + lane * in_step[k]);
    }
    Masked<T> in(Masked<T> x, int lane) const { return {in(x.row, lane), x.mask + lane * mask_step}; }
    template <class Y>
    Y* out(Y* y, int lane) const {
        return (Y*)((char*)y + lane * out_step);
    }
    T* exponentials(int lane) const { return memory + lane * in_vectors<T>(n); }
    Row<T> row(int lane) const {
        RowContext<T> own = context;
        if (own.mask) own.mask += lane * mask_step;
        if (own.prefetch.add) own.prefetch.add += lane * next_step[0];
        if (own.prefetch.finish[0]) own.prefetch.finish[0] += lane * next_step[1];
        return Row<T>(n, own);
    }

    // Beyond the cache the lines of a result are had beforehand: nothing in the last step would hide the wait for them.
    template <class Y>
    void prefetch_result(Y* y, int lane) const {
        if (!context.prefetch.add) return;
        const char* const line = (const char*)out(y, lane);
        for (ptrdiff_t i = 0; i < n * (ptrdiff_t)sizeof(Y); i += 64) __builtin_prefetch(line + i, 1, 2);
    }
    // The first or second operand of the row that takes this one's place in the next batch. (A pass that prefetches as
    // it goes has an instruction or two more for every vector, be there anything to prefetch or not.)
    void prefetch_next(int lane, int k) const {
        const char* const next = k == 0 ? context.prefetch.add : context.prefetch.finish[0];
        if (!next) return;
        for (ptrdiff_t i = 0; i < n * context.prefetch.step; i += 64)
            __builtin_prefetch(next + lane * next_step[k] + i, 0, 2);
    }
    T* workspace(T*) const { return memory; }
    Vec<T> spread(const T* values) const { return load(values); }
    static constexpr bool IS_LANE_BATCH = false;

    // f(lane, row) for each.
    template <class F>
    void each(F f) const {
        for (int lane = 0; lane < lanes; ++lane) f(lane, row(lane));
    }
};

template <class Shape>
constexpr bool IS_LOCKSTEP = false;
template <class T>
constexpr bool IS_LOCKSTEP<Lockstep<T>> = true;

// A number of each row, lane by lane; [lane] has it in all lanes.
template <class T>
class Lanes {
   public:
    explicit Lanes(Vec<T> all) { store(numbers_, all); }
    Vec<T> operator[](int lane) const { return splat(numbers_[lane]); }

   private:
    T numbers_[WIDTH<T>];
};
template <class T>
class DoubleWordLanes {
   public:
    explicit DoubleWordLanes(const DoubleWord<T>& all) : high_(all.high), low_(all.low) {}
    DoubleWord<T> operator[](int lane) const { return {high_[lane], low_[lane]}; }

   private:
    Lanes<T> high_, low_;
};

}  // namespace
