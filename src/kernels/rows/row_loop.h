// From the strided operands of a gufunc, of any type and with a mask, to rows of the computed type, and back: where memory
// lies as the kernels want it they work in place, otherwise on staged copies. How a row is computed depends on its length
// alone, so it has the same bits in any layout.
#pragma once

#include <stdlib.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <cstring>
#include <initializer_list>

#include "simd/convert.h"
#include "rows/runtime.h"
#include "rows/shapes.h"
#include "simd/transpose.h"

namespace {

// Rows up to this length are taken WIDTH at a time, one per lane: the work across lanes that a row of its own needs (a
// maximum, a sum, a remainder) costs as much as the work along it.
constexpr ptrdiff_t PANEL = 32;

// Entries of slices that lie side by side in a panel of kernels that compute every entry alone: enough to outweigh what
// they prepare for each slice, few enough for the first-level cache.
constexpr ptrdiff_t TALL_PANEL = 128;

// Rows of fewer bytes are never streamed: they begin and end within lines of memory, and lines half streamed and half not
// cost twice the time.
constexpr ptrdiff_t STREAMED_ROW = 4096;

template <class S>
constexpr bool is_long_enough(ptrdiff_t n) {
    return n * (ptrdiff_t)sizeof(S) >= STREAMED_ROW;
}

// Fewer rows do not repay going together, and beyond the caches neither do those of more bytes: memory has them wait anyway,
// and it is better asked a little at a time.
constexpr ptrdiff_t FEW = 4, ALONE = 512;

// Slices along another axis than the last are taken so many bytes of neighbours at a time: whole lines of memory, and two
// of them, since it is the visits to distant pages that cost.
constexpr ptrdiff_t NEIGHBOURS = 128;

// How many entries of such a slice are fetched ahead: each lies on a page of its own, where no hardware looks ahead.
constexpr ptrdiff_t ROWS_AHEAD = 32;

// Memory that they may be staged in; longer ones are taken fewer at a time.
constexpr ptrdiff_t STAGE_UP_TO = 16 << 20;

// Rows up to so many bytes keep their exponentials; of longer ones it is cheaper to compute them twice. With AVX-512 one of
// float32 costs less than it takes to fetch it from beyond the second-level cache; elsewhere half of what results may take in
// the last-level cache is worth it (with AVX2 on Zen 3, rows of 1 and 4 MiB gain 1.2 to 1.4 times, of 8 MiB nothing).
template <class T>
inline ptrdiff_t keeps_up_to() {
    const auto [in_second, in_last] = softgrad_boundaries;
    return BYTES == 64 && sizeof(T) == 4 ? in_second : in_second > in_last / 2 ? in_second : in_last / 2;
}

// How far ahead of its reading a row beyond the cache is fetched.
constexpr ptrdiff_t FETCH_AHEAD = BLOCK;

// One operand: entry j of row i lies at data + i · row + j · step.
template <class T>
struct Operand {
    char* data;
    ptrdiff_t row, step;

    T& at(ptrdiff_t i, ptrdiff_t j) const { return *(T*)(data + i * row + j * step); }
    bool contiguous() const { return step == (ptrdiff_t)sizeof(T); }
    bool neighbouring() const { return !contiguous() && row == (ptrdiff_t)sizeof(T); }
};

// A mask operand; none if one entry that is set stands for all.
inline Operand<Mask> mask_of(char* data, ptrdiff_t row, ptrdiff_t step, ptrdiff_t entries) {
    const bool leaves_nothing_out = entries && row == 0 && step == 0 && *data;
    return {leaves_nothing_out ? nullptr : data, row, step};
}

// Of so many bytes and more, memory is asked for in huge pages, as NumPy does for arrays: the first touch of each page costs
// as much as computing what fits into it.
constexpr ptrdiff_t HUGE_PAGES_FROM = 4 << 20;

// Memory for rows that do not lie as a kernel wants them; one allocation per loop, none where nothing is copied.
template <class T>
class Scratch {
   public:
    explicit Scratch(ptrdiff_t entries) : memory_(entries ? (T*)malloc(entries * sizeof(T) + BYTES) : nullptr) {
        if (!memory_ && entries) softgrad_no_memory();
#if defined(__linux__)
        constexpr uintptr_t PAGE = 4096;
        const uintptr_t begin = ((uintptr_t)memory_ + PAGE - 1) / PAGE * PAGE, end = (uintptr_t)(memory_ + entries) / PAGE * PAGE;
        if (memory_ && entries * (ptrdiff_t)sizeof(T) >= HUGE_PAGES_FROM) madvise((void*)begin, end - begin, MADV_HUGEPAGE);
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

// Row i to contiguous memory, whole vectors of it, −inf where a mask leaves entries out.
template <class S, class T = Computed<S>>
inline void copy_row(T* to, const Operand<const S>& x, const Operand<Mask>& mask, ptrdiff_t i, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    if (!x.contiguous() || (mask.data && !mask.contiguous())) {
        for (ptrdiff_t j = 0; j < n; ++j) {
            const T value = value_of(x.at(i, j));
            to[j] = !mask.data || mask.at(i, j) ? value : -INF<T>;
        }
        return;
    }
    const S* const from = &x.at(i, 0);
    Mask* const m = mask.data ? &mask.at(i, 0) : nullptr;
    ptrdiff_t j = 0;
    for (; j + W <= n; j += W) {
        const Vec<T> v = read(from + j);
        store(to + j, m ? unmasked<T>(v, m + j) : v);
    }
    if (j == n) return;
    const Vec<T> v = read_head(from + j, n - j, (T)0);
    store(to + j, m ? unmasked_head<T>(v, m + j, n - j) : v);
}

// A contiguous row to row i of an operand.
template <class S, class T = Computed<S>>
inline void deliver_row(const Operand<S>& y, const T* from, ptrdiff_t i, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    ptrdiff_t j = 0;
    if (y.contiguous()) {
        for (; j + W <= n; j += W) write(&y.at(i, j), load(from + j));
        if (j < n) write_head(&y.at(i, j), load_head(from + j, n - j, (T)0), n - j);
        return;
    }
    for (; j < n; ++j) y.at(i, j) = stored<S>(from[j]);
}

// WIDTH rows, from row i on, into the lanes of a panel.
template <class S, class T = Computed<S>>
inline void load_panel(T* panel, const Operand<const S>& x, const Operand<Mask>& mask, ptrdiff_t i, int lanes, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    const bool masks = mask.data, tiles = lanes == W && x.contiguous() && n >= TILE<T>;
    if (lanes == W && x.row == (ptrdiff_t)sizeof(S) && (!masks || mask.row == 1)) {
        for (ptrdiff_t j = 0; j < n; ++j) {
            const Vec<T> v = read(&x.at(i, j));
            store(panel + j * W, masks ? unmasked<T>(v, &mask.at(i, j)) : v);
        }
    } else if (tiles && !IS_NARROW<S> && !masks) {
        load_rows(panel, (const char*)&x.at(i, 0), x.row, n);
    } else if (tiles) {
        T copy[PANEL * W];
        const bool dense = x.row == n * (ptrdiff_t)sizeof(S) && (!masks || (mask.contiguous() && mask.row == n));
        for (int lane = 0; lane < (dense ? 1 : W); ++lane) copy_row(copy + lane * n, x, mask, i + lane, dense ? W * n : n);
        load_rows(panel, (const char*)copy, n * sizeof(T), n);
    } else {  // lanes without a row repeat the last one
        for (ptrdiff_t j = 0; j < n; ++j)
            for (int lane = 0; lane < W; ++lane) {
                const ptrdiff_t row = i + (lane < lanes ? lane : lanes - 1);
                panel[j * W + lane] = !masks || mask.at(row, j) ? value_of(x.at(row, j)) : -INF<T>;
            }
    }
}

// The lanes of a panel to rows.
template <class S, class T = Computed<S>>
inline void store_panel(const T* panel, const Operand<S>& y, ptrdiff_t i, int lanes, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    const bool tiles = lanes == W && y.contiguous() && n >= TILE<T>;
    if (lanes == W && y.row == (ptrdiff_t)sizeof(S)) {
        for (ptrdiff_t j = 0; j < n; ++j) write(&y.at(i, j), load(panel + j * W));
    } else if (tiles && !IS_NARROW<S>) {
        store_rows(panel, (char*)&y.at(i, 0), y.row, n);
    } else if (tiles) {
        T copy[PANEL * W];
        store_rows(panel, (char*)copy, n * sizeof(T), n);
        const bool dense = y.row == n * (ptrdiff_t)sizeof(S);
        for (int lane = 0; lane < (dense ? 1 : W); ++lane) deliver_row(y, copy + lane * n, i + lane, dense ? W * n : n);
    } else {
        for (int lane = 0; lane < lanes; ++lane)
            for (ptrdiff_t j = 0; j < n; ++j) y.at(i + lane, j) = stored<S>(panel[j * W + lane]);
    }
}

// `count` neighbouring slices from i on as rows, `pitch` entries apart, by way of registers.
template <class S, class T = Computed<S>>
inline void gather_slices(T* to, ptrdiff_t pitch, const Operand<const S>& x, const Operand<Mask>& mask, ptrdiff_t i,
                          ptrdiff_t count, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    const bool masks = mask.data && mask.row == 1;
    for (ptrdiff_t j = 0; j < n; j += W)
        for (ptrdiff_t first = 0; first < count; first += W) {
            const int lanes = count - first < W ? (int)(count - first) : W;
            Vec<T> block[W];
#pragma GCC unroll 16
            for (int entry = 0; entry < W; ++entry) {
                const S* const p = &x.at(i + first, j + entry < n ? j + entry : n - 1);
                __builtin_prefetch((const char*)p + ROWS_AHEAD * x.step, 0, 2);
                block[entry] = lanes == W ? read(p) : read_head(p, lanes, (T)0);
            }
            for (int entry = 0; masks && entry < W; ++entry) {
                Mask* const m = &mask.at(i + first, j + entry < n ? j + entry : n - 1);
                block[entry] = lanes == W ? unmasked<T>(block[entry], m) : unmasked_head<T>(block[entry], m, lanes);
            }
            transpose<T>(block);
            for (int lane = 0; lane < lanes; ++lane) store(to + (first + lane) * pitch + j, block[lane]);
        }
}

// The way back; `streams` where whole lines are written and nobody reads them soon.
template <class S, class T = Computed<S>>
inline void scatter_slices(const Operand<S>& y, const T* from, ptrdiff_t pitch, ptrdiff_t i, ptrdiff_t count, ptrdiff_t n,
                           bool streams) {
    constexpr int W = WIDTH<T>;
    for (ptrdiff_t j = 0; j < n; j += W)
        for (ptrdiff_t first = 0; first < count; first += W) {
            const int lanes = count - first < W ? (int)(count - first) : W;
            Vec<T> block[W];
            for (int lane = 0; lane < W; ++lane) block[lane] = load(from + (first + (lane < lanes ? lane : 0)) * pitch + j);
            transpose<T>(block);
            for (int entry = 0; entry < W && j + entry < n; ++entry) {
                S* const p = &y.at(i + first, j + entry);
                if constexpr (!IS_NARROW<S>)
                    if (streams && lanes == W) {
                        ::stream(p, block[entry]);
                        continue;
                    }
                if (lanes == W)
                    write(p, block[entry]);
                else
                    write_head(p, block[entry], lanes);
            }
        }
}

// The scratch memory that a kernel wants for a row: none, or as much as fits into the cache, or all of it.
enum Workspace { NONE, CACHED, WHOLE_ROW };

// Vector operands, and a kernel that is run on all their rows: kernel(shape, i, in, out) with pointers to what they hold at
// row i, or at the panel of rows from i on.
template <class S, int INPUTS, int OUTPUTS>
struct RowLoop {
    typedef Computed<S> T;
    static constexpr int W = WIDTH<T>, OUTS = OUTPUTS ? OUTPUTS : 1;

    ptrdiff_t rows, n;
    Operand<const S> in[INPUTS];
    Operand<S> out[OUTS];
    Operand<Mask> mask;  // of the first input; no data: nothing is left out

    // IN_PLACE: an entry is written when no other of its row is read any more, but for those in the route's scratch
    // memory, so that an output may lie where an input does. TOGETHER: the kernel takes the shape Rows, too.
    template <bool IN_PLACE, Workspace WORKSPACE, bool TOGETHER = false, class Kernel>
    void run(const Kernel& kernel) const {
        if (n <= PANEL)
            panels<PANEL>(kernel);
        else
            groups<IN_PLACE, WORKSPACE, TOGETHER>(kernel, 0, rows);
    }

    // The same for kernels that compute every entry alone: where slices lie side by side, nothing is transposed.
    template <class Kernel>
    void run_entries(const Kernel& kernel) const {
        if (n <= PANEL || !in[0].neighbouring() || !out[0].neighbouring()) return run<true, NONE>(kernel);
        for (ptrdiff_t j = 0; j < n; j += TALL_PANEL) {
            RowLoop part = *this;
            part.n = n - j < TALL_PANEL ? n - j : TALL_PANEL;
            for (int k = 0; k < INPUTS; ++k) part.in[k].data += j * in[k].step;
            for (int k = 0; k < OUTPUTS; ++k) part.out[k].data += j * out[k].step;
            part.template panels<TALL_PANEL>(kernel);
        }
    }

    // Whether results go past the caches: there are many, and where slices lie side by side, whole lines of them.
    bool is_large() const { return rows * n * (ptrdiff_t)sizeof(S) >= softgrad_boundaries.nontemporal_from; }
    bool streams_slices() const {
        return is_large() && out[0].neighbouring() && (uintptr_t)out[0].data % sizeof(S) == 0 && out[0].step % 64 == 0;
    }
    // How many slices before slice i a line begins, if lines matter.
    ptrdiff_t past_line(ptrdiff_t i) const { return streams_slices() ? (uintptr_t)&out[0].at(i, 0) % 64 / sizeof(S) : 0; }

    // Of n > PANEL entries, from row `begin` to row `end`.
    template <bool IN_PLACE, Workspace WORKSPACE, bool TOGETHER, class Kernel>
    void groups(const Kernel& kernel, ptrdiff_t begin, ptrdiff_t end) const {
        bool staged_in[INPUTS], staged_out[OUTS] = {}, transposes = false, in_place = false;
        ptrdiff_t stages = 0;
        const bool stages_mask = mask.data && (!mask.contiguous() || in[0].neighbouring());
        for (int k = 0; k < INPUTS; ++k) {
            const bool overlap = overlaps(in[k]);
            staged_in[k] = IS_NARROW<S> || !in[k].contiguous() || (overlap && !IN_PLACE);
            transposes |= in[k].neighbouring();
            in_place |= overlap && !staged_in[k];
            stages += staged_in[k];
        }
        // The result may be staged where the first input was, if the kernel lets it.
        const bool shares = IN_PLACE && staged_in[0];
        for (int k = 0; k < OUTPUTS; ++k) {
            staged_out[k] = IS_NARROW<S> || !out[k].contiguous();
            transposes |= out[k].neighbouring();
            stages += staged_out[k] && !(k == 0 && shares);
        }
        in_place |= shares && staged_out[0];

        const ptrdiff_t pitch = stages ? in_vectors<T>(n) + W : 0;  // rows do not start in the same cache set
        const bool large = is_large();
        const bool is_apart = large && n * (ptrdiff_t)sizeof(S) > ALONE;
        const bool together = TOGETHER && rows >= FEW && n <= Rows<T>::LONGEST && !is_apart;
        ptrdiff_t most = transposes ? NEIGHBOURS / (ptrdiff_t)sizeof(S) : together ? W : 1;
        while (most > 1 && most * stages * pitch * (ptrdiff_t)sizeof(T) > STAGE_UP_TO) most /= 2;
        const bool fits = n * (ptrdiff_t)sizeof(T) <= keeps_up_to<T>();
        const bool holds_row = fits || WORKSPACE == WHOLE_ROW;
        bool streams = large && is_long_enough<S>(n) && (fits || WORKSPACE != WHOLE_ROW);
        for (int k = 0; k < OUTPUTS; ++k) streams &= !staged_out[k];
        const ptrdiff_t workspace = WORKSPACE == NONE || !(streams || in_place) ? 0 : holds_row ? n : BLOCK;
        const ptrdiff_t stage = most * pitch;
        const ptrdiff_t masks = stages_mask ? most * n / (ptrdiff_t)sizeof(T) + 1 : 0;
        const ptrdiff_t needed = workspace + stages * stage + masks;
        const Scratch<T> scratch(needed);
        if (needed && !scratch) return;

        T* stage_in[INPUTS];
        T* stage_out[OUTS] = {};
        T* free = scratch.aligned();
        for (int k = 0; k < INPUTS; ++k, free += staged_in[k - 1] ? stage : 0) stage_in[k] = free;
        for (int k = 0; k < OUTPUTS; ++k) {
            stage_out[k] = k == 0 && shares ? stage_in[0] : free;
            free += staged_out[k] && !(k == 0 && shares) ? stage : 0;
        }

        alignas(BYTES) T kept[TOGETHER && WORKSPACE != NONE ? Rows<T>::LONGEST * W : 1];
        Route<T> route;
        route.scratch = workspace ? free : nullptr;
        unsigned char* const staged_mask = (unsigned char*)(free + workspace);
        route.holds_row = holds_row || !workspace;
        route.streams = streams;
        for (ptrdiff_t i = begin, count; i < end; i += count) {
            const ptrdiff_t past = past_line(i), group = past < most ? most - past : most;
            count = end - i < group ? end - i : group;
            for (int k = 0; k < INPUTS; ++k)
                if (staged_in[k]) stage_rows(stage_in[k], pitch, k, i, count);
            if (stages_mask) stage_mask(staged_mask, stage_in[0], pitch, i, count);
            for (ptrdiff_t lane = 0, company; lane < count; lane += company) {
                company = !together ? 1 : count - lane < W ? count - lane : W;
                const T* ins[INPUTS];
                T* outs[OUTS] = {};
                for (int k = 0; k < INPUTS; ++k)
                    ins[k] = staged_in[k] ? stage_in[k] + lane * pitch : (const T*)&in[k].at(i + lane, 0);
                for (int k = 0; k < OUTPUTS; ++k)
                    outs[k] = staged_out[k] ? stage_out[k] + lane * pitch : (T*)&out[k].at(i + lane, 0);
                if (large && !transposes) fetch(route, i + company - 1, ins[0]);
                if (mask.data) route.mask = stages_mask ? staged_mask + lane * n : &mask.at(i + lane, 0);
                if constexpr (TOGETHER)
                    if (together) {
                        const ptrdiff_t staged = pitch * (ptrdiff_t)sizeof(T);
                        constexpr int LAST = INPUTS - 1;
                        kernel(Rows<T>{n,
                                       (int)company,
                                       {staged_in[0] ? staged : in[0].row, staged_in[LAST] ? staged : in[LAST].row},
                                       staged_out[0] ? staged : out[0].row,
                                       kept,
                                       route,
                                       {in[0].row, in[LAST].row},
                                       stages_mask ? n : mask.row},
                               i + lane, ins, outs);
                        continue;
                    }
                kernel(Row<T>(n, route), i + lane, ins, outs);
            }
            for (int k = 0; k < OUTPUTS; ++k) {
                if (!staged_out[k]) continue;
                if (out[k].neighbouring())
                    scatter_slices(out[k], stage_out[k], pitch, i, count, n, streams_slices() && past == 0);
                else
                    for (ptrdiff_t lane = 0; lane < count; ++lane)
                        deliver_row(out[k], stage_out[k] + lane * pitch, i + lane, n);
            }
        }
        if (streams || streams_slices()) end_streams();
    }

   private:
    static constexpr Operand<Mask> NO_MASK{};

    template <ptrdiff_t MOST, class Kernel>
    void panels(const Kernel& kernel) const {
        alignas(BYTES) T read[INPUTS][MOST * W], written[OUTS][MOST * W];
        const T* ins[INPUTS];
        T* outs[OUTS];
        for (int k = 0; k < INPUTS; ++k) ins[k] = read[k];
        for (int k = 0; k < OUTS; ++k) outs[k] = written[k];
        for (ptrdiff_t i = 0; i < rows; i += W) {
            const int lanes = rows - i < W ? (int)(rows - i) : W;
            for (int k = 0; k < INPUTS; ++k) load_panel(read[k], in[k], k == 0 ? mask : NO_MASK, i, lanes, n);
            kernel(Panel<T>(n, lanes), i, ins, outs);
            for (int k = 0; k < OUTPUTS; ++k) store_panel(written[k], out[k], i, lanes, n);
        }
    }

    bool overlaps(const Operand<const S>& input) const {
        // NumPy copies operands that overlap, unless input and output are one array.
        for (int k = 0; k < OUTPUTS; ++k)
            if (input.data == out[k].data) return true;
        return false;
    }

    void stage_rows(T* stage, ptrdiff_t pitch, int k, ptrdiff_t i, ptrdiff_t count) const {
        const bool slices = in[k].neighbouring();
        const Operand<Mask>& masks = k == 0 && slices ? mask : NO_MASK;
        if (slices) gather_slices(stage, pitch, in[k], masks, i, count, n);
        for (ptrdiff_t lane = 0; lane < count; ++lane) {
            T* const row = stage + lane * pitch;
            if (!slices)
                copy_row(row, in[k], masks, i + lane, n);
            else if (masks.data && masks.row != 1)
                copy_row<T>(row, {(char*)row, 0, sizeof(T)}, {masks.data + (i + lane) * masks.row, 0, masks.step}, 0, n);
        }
    }

    // The mask of `count` rows from i on, a byte for each entry. Gathered slices hold −inf where it was not set, and tell.
    void stage_mask(unsigned char* stage, const T* gathered, ptrdiff_t pitch, ptrdiff_t i, ptrdiff_t count) const {
        for (ptrdiff_t lane = 0; lane < count; ++lane) {
            unsigned char* const row = stage + lane * n;
            if (in[0].neighbouring())
                for (ptrdiff_t j = 0; j < n; ++j) row[j] = gathered[lane * pitch + j] != -INF<T>;
            else if (mask.step == 0)
                std::memset(row, mask.at(i + lane, 0), n);
            else
                for (ptrdiff_t j = 0; j < n; ++j) row[j] = mask.at(i + lane, j);
        }
    }

    // What to fetch while row i is computed: the rows that follow, or, within a row that fills the cache, what lies ahead. (A
    // quarter of the cache is where one row gains by it; of two the last pass finds what the one before has read.)
    void fetch(Route<T>& route, ptrdiff_t i, const T* row) const {
        const ptrdiff_t bytes = n * (ptrdiff_t)sizeof(T);
        const char *next[2] = {}, *ahead = nullptr;
        if (bytes > (INPUTS == 1 ? softgrad_boundaries.scratch_up_to / 4 : softgrad_boundaries.scratch_up_to))
            ahead = (const char*)(row + FETCH_AHEAD);
        else if (i + 1 < rows)
            for (int k = 0; k < INPUTS; ++k)
                if (in[k].contiguous()) next[k] = (const char*)&in[k].at(i + 1, 0);
        const bool has_time = INPUTS == 2 && bytes >= STREAMED_ROW;  // memory would be idle in every pass but one
        route.to_search = has_time ? ahead ? ahead : next[0] : nullptr;
        route.to_add = ahead ? ahead : has_time && next[1] ? next[1] : next[0];
        route.to_finish[0] = ahead ? ahead : has_time ? next[0] : next[1];
        route.to_finish[1] = has_time && !ahead ? next[1] : nullptr;
        route.step = sizeof(S);
    }
};

}  // namespace
