// From the strided operands of a gufunc, of any type and with a mask, to rows of the computed type, and back: where
// the layout of an operand suits the kernels they work in place, otherwise on staged copies. How a row is computed
// depends on its length alone, so it has the same bits in any layout.
#pragma once

#include <cstring>
#include <type_traits>

#include "rows/runtime.h"
#include "rows/scratch.h"
#include "rows/shapes.h"
#include "rows/staging.h"

namespace {

// Entries of adjacent slices in a lane batch of kernels that compute every entry alone: enough to outweigh what
// they prepare for each slice, few enough for the first-level cache.
constexpr ptrdiff_t TALL_BATCH = 128;

// Rows of fewer bytes are never stored non-temporally: they begin and end within cache lines, and a line that is stored
// partly so costs twice the time.
constexpr ptrdiff_t NONTEMPORAL_ROW = 4096;

template <class S>
constexpr bool is_long_enough(ptrdiff_t n) {
    return n * (ptrdiff_t)sizeof(S) >= NONTEMPORAL_ROW;
}

// Fewer rows are not worth a lockstep batch, and beyond the caches neither do those of more bytes: memory has them wait
// anyway, and it is better asked a little at a time.
constexpr ptrdiff_t FEW = 4, ALONE = 512;

// Slices along another axis than the last are taken so many bytes of neighbours at a time: whole cache lines, and
// two of them, since it is the visits to distant pages that cost.
constexpr ptrdiff_t NEIGHBOURS = 128;

// Memory that they may be staged in; longer ones are taken fewer at a time.
constexpr ptrdiff_t STAGE_UP_TO = 16 << 20;

// Rows up to so many bytes keep their exponentials; of longer ones it is cheaper to compute them twice. With AVX-512
// one of float32 costs less than it takes to read it from beyond the second-level cache; elsewhere half of what
// results may take in the last-level cache is worth it (with AVX2 on Zen 3, rows of 1 and 4 MiB gain 1.2 to 1.4 times,
// of 8 MiB nothing).
template <class T>
inline ptrdiff_t keeps_up_to() {
    const auto [in_second, in_last] = softgrad_boundaries;
    return BYTES == 64 && sizeof(T) == 4 ? in_second : in_second > in_last / 2 ? in_second : in_last / 2;
}

// How far ahead a row beyond the cache is prefetched.
constexpr ptrdiff_t PREFETCH_AHEAD = BLOCK;

// The scratch memory that a kernel wants for a row: none, or as much as fits into the cache, or all of it.
enum Workspace { NONE, CACHED, WHOLE_ROW };

// What a kernel asks of its loop: scratch memory, whether it takes the shape Lockstep, too, and whether it reads and
// writes numbers of 16 bits itself, so that contiguous rows of them need no staging. A kernel that is a class says so
// with a member TRAITS; a lambda asks nothing.
struct Traits {
    Workspace workspace = NONE;
    bool lockstep = false;
    bool narrow = false;
};
template <class Kernel, class = void>
constexpr Traits TRAITS_OF{};
template <class Kernel>
constexpr Traits TRAITS_OF<Kernel, std::void_t<decltype(Kernel::TRAITS)>> = Kernel::TRAITS;

// A lambda with traits.
template <Workspace WORKSPACE, bool LOCKSTEP, class F>
struct WithTraits : F {
    static constexpr Traits TRAITS{WORKSPACE, LOCKSTEP};
    explicit WithTraits(F f) : F(f) {}
};
template <Workspace WORKSPACE, bool LOCKSTEP, class F>
WithTraits<WORKSPACE, LOCKSTEP, F> with_traits(F f) {
    return WithTraits<WORKSPACE, LOCKSTEP, F>(f);
}

// Vector operands, and a kernel that is run on all their rows: kernel(shape, i, in, out) with pointers to what they
// hold at row i, or at the batch of rows from i on.
template <class S, int INPUTS, int OUTPUTS>
struct RowLoop {
    typedef Computed<S> T;
    static constexpr int W = WIDTH<T>, OUTS = OUTPUTS ? OUTPUTS : 1;

    ptrdiff_t rows, n;
    Operand<const S> in[INPUTS];
    Operand<S> out[OUTS];
    Operand<Mask> mask;  // of the first input; no data: every entry is valid

    // Of the first slices among the inputs and outputs of a call.
    explicit RowLoop(const Call& call, const Operand<Mask>& mask = {})
        : rows(call.rows()), n(call.length()), mask(mask) {
        const Signature& signature = call.signature;
        for (int k = 0; k < INPUTS; ++k) in[k] = call.slices<const S>(signature.slice(0, k));
        for (int k = 0; k < OUTPUTS; ++k) out[k] = call.slices<S>(signature.slice(signature.inputs, k));
    }

    // A kernel writes an entry when no other entry of the row is read any more, but for those in scratch memory: an
    // output may be an input.
    template <class Kernel>
    void run(const Kernel& kernel) const {
        if (n <= LONGEST_BATCHED)
            lane_batches<LONGEST_BATCHED>(kernel);
        else
            groups(kernel, 0, rows);
    }

    // For kernels that compute every entry alone: where slices are adjacent in memory, nothing is transposed.
    template <class Kernel>
    void run_entries(const Kernel& kernel) const {
        if (n <= LONGEST_BATCHED || !in[0].neighbouring() || !out[0].neighbouring()) return run(kernel);
        for (ptrdiff_t j = 0; j < n; j += TALL_BATCH) {
            RowLoop part = *this;
            part.n = n - j < TALL_BATCH ? n - j : TALL_BATCH;
            for (int k = 0; k < INPUTS; ++k) part.in[k].data += j * in[k].step;
            for (int k = 0; k < OUTPUTS; ++k) part.out[k].data += j * out[k].step;
            part.template lane_batches<TALL_BATCH>(kernel);
        }
    }

    // Whether results are stored non-temporally: there are many, and where slices are adjacent, whole cache lines of
    // them.
    bool is_large() const { return rows * n * (ptrdiff_t)sizeof(S) >= softgrad_boundaries.nontemporal_from; }
    bool stores_slices_nontemporally() const {
        return is_large() && out[0].neighbouring() && (uintptr_t)out[0].data % sizeof(S) == 0 && out[0].step % 64 == 0;
    }
    // How many slices before slice i a line begins, if lines matter.
    ptrdiff_t past_line(ptrdiff_t i) const {
        return stores_slices_nontemporally() ? (uintptr_t)&out[0].at(i, 0) % 64 / sizeof(S) : 0;
    }

    // Of n > LONGEST_BATCHED entries, from row `begin` to row `end`.
    template <class Kernel>
    void groups(const Kernel& kernel, ptrdiff_t begin, ptrdiff_t end) const {
        if constexpr (IS_NARROW<S> && TRAITS_OF<Kernel>.narrow)
            if (are_contiguous()) return groups_of<S>(kernel, begin, end);
        groups_of<T>(kernel, begin, end);
    }

   private:
    static constexpr Operand<Mask> NO_MASK{};

    bool are_contiguous() const {
        bool all = true;
        for (int k = 0; k < INPUTS; ++k) all &= in[k].contiguous();
        for (int k = 0; k < OUTPUTS; ++k) all &= out[k].contiguous();
        return all;
    }

    // As groups, of rows that the kernel reads and writes as X.
    template <class X, class Kernel>
    void groups_of(const Kernel& kernel, ptrdiff_t begin, ptrdiff_t end) const {
        constexpr bool IS_CONVERTED = !std::is_same<X, S>::value;
        constexpr Workspace WORKSPACE = TRAITS_OF<Kernel>.workspace;
        constexpr bool LOCKSTEP = TRAITS_OF<Kernel>.lockstep;
        bool staged_in[INPUTS], staged_out[OUTS] = {}, transposes = false, in_place = false;
        ptrdiff_t stages = 0;
        const bool stages_mask = mask.data && (!mask.contiguous() || in[0].neighbouring());
        for (int k = 0; k < INPUTS; ++k) {
            staged_in[k] = IS_CONVERTED || !in[k].contiguous();
            transposes |= in[k].neighbouring();
            in_place |= overlaps(in[k]) && !staged_in[k];
            stages += staged_in[k];
        }
        const bool shares = staged_in[0];  // the result is staged where the first input was
        for (int k = 0; k < OUTPUTS; ++k) {
            staged_out[k] = IS_CONVERTED || !out[k].contiguous();
            transposes |= out[k].neighbouring();
            stages += staged_out[k] && !(k == 0 && shares);
        }
        in_place |= shares && staged_out[0];

        const ptrdiff_t pitch = stages ? in_vectors<T>(n) + W : 0;  // rows do not start in the same cache set
        const bool large = is_large();
        const bool is_far = INPUTS * rows * n * (ptrdiff_t)sizeof(S) >= softgrad_boundaries.nontemporal_from;
        const bool is_apart = large && n * (ptrdiff_t)sizeof(S) > ALONE;
        const ptrdiff_t together = Lockstep<T>::most(n, WORKSPACE != NONE);
        const bool lockstep = LOCKSTEP && rows >= FEW && together > 1 && !is_apart;
        const ptrdiff_t step = lockstep ? together : 1;
        ptrdiff_t most = transposes ? NEIGHBOURS / (ptrdiff_t)sizeof(S) : step;
        while (most > 1 && most * stages * pitch * (ptrdiff_t)sizeof(T) > STAGE_UP_TO) most /= 2;
        const bool fits = n * (ptrdiff_t)sizeof(T) <= keeps_up_to<T>();
        const bool holds_row = fits || WORKSPACE == WHOLE_ROW;
        bool nontemporal = large && is_long_enough<S>(n) && (fits || WORKSPACE != WHOLE_ROW);
        for (int k = 0; k < OUTPUTS; ++k) nontemporal &= !staged_out[k];
        const ptrdiff_t workspace = WORKSPACE == NONE || !(nontemporal || in_place) ? 0 : holds_row ? n : BLOCK;
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

        alignas(BYTES) T kept[LOCKSTEP && WORKSPACE != NONE ? Lockstep<T>::LONGEST * W : 1];
        RowContext<T> context;
        context.scratch.memory = workspace ? free : nullptr;
        unsigned char* const staged_mask = (unsigned char*)(free + workspace);
        context.scratch.holds_row = holds_row || !workspace;
        context.nontemporal = nontemporal;
        for (ptrdiff_t i = begin, count; i < end; i += count) {
            const ptrdiff_t past = past_line(i), group = past < most ? most - past : most;
            count = end - i < group ? end - i : group;
            for (int k = 0; k < INPUTS; ++k)
                if (staged_in[k]) stage_rows(stage_in[k], pitch, k, i, count);
            if (stages_mask) stage_mask(staged_mask, stage_in[0], pitch, i, count);
            for (ptrdiff_t lane = 0, lanes; lane < count; lane += lanes) {
                lanes = count - lane < step ? count - lane : step;
                const X* ins[INPUTS];
                X* outs[OUTS] = {};
                for (int k = 0; k < INPUTS; ++k)
                    ins[k] = staged_in[k] ? (const X*)(stage_in[k] + lane * pitch) : (const X*)&in[k].at(i + lane, 0);
                for (int k = 0; k < OUTPUTS; ++k)
                    outs[k] = staged_out[k] ? (X*)(stage_out[k] + lane * pitch) : (X*)&out[k].at(i + lane, 0);
                if (is_far && !transposes) context.prefetch = prefetch_for(i + lanes - 1, ins[0]);
                if (mask.data) context.mask = stages_mask ? staged_mask + lane * n : &mask.at(i + lane, 0);
                if constexpr (LOCKSTEP)
                    if (lockstep) {
                        const ptrdiff_t staged = pitch * (ptrdiff_t)sizeof(T);
                        constexpr int LAST = INPUTS - 1;
                        kernel(Lockstep<T>{n,
                                           (int)lanes,
                                           {staged_in[0] ? staged : in[0].row, staged_in[LAST] ? staged : in[LAST].row},
                                           staged_out[0] ? staged : out[0].row,
                                           kept,
                                           context,
                                           {in[0].row, in[LAST].row},
                                           stages_mask ? n : mask.row},
                               i + lane, ins, outs);
                        continue;
                    }
                kernel(Row<T>(n, context), i + lane, ins, outs);
            }
            for (int k = 0; k < OUTPUTS; ++k) {
                if (!staged_out[k]) continue;
                if (out[k].neighbouring())
                    from_rows(out[k], stage_out[k], pitch, i, count, n, stores_slices_nontemporally() && past == 0);
                else
                    for (ptrdiff_t lane = 0; lane < count; ++lane)
                        store_row(out[k], stage_out[k] + lane * pitch, i + lane, n);
            }
        }
        if (nontemporal || stores_slices_nontemporally()) fence_nontemporal();
    }

    template <ptrdiff_t MOST, class Kernel>
    void lane_batches(const Kernel& kernel) const {
        alignas(BYTES) T read[INPUTS][MOST * W], written[OUTS][MOST * W];
        const T* ins[INPUTS];
        T* outs[OUTS];
        for (int k = 0; k < INPUTS; ++k) ins[k] = read[k];
        for (int k = 0; k < OUTS; ++k) outs[k] = written[k];
        for (ptrdiff_t i = 0; i < rows; i += W) {
            const int lanes = rows - i < W ? (int)(rows - i) : W;
            for (int k = 0; k < INPUTS; ++k) load_batch(read[k], in[k], k == 0 ? mask : NO_MASK, i, lanes, n);
            kernel(LaneBatch<T>(n, lanes), i, ins, outs);
            for (int k = 0; k < OUTPUTS; ++k) store_batch(written[k], out[k], i, lanes, n);
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
        if (slices) to_rows(stage, pitch, in[k], masks, i, count, n);
        for (ptrdiff_t lane = 0; lane < count; ++lane) {
            T* const row = stage + lane * pitch;
            if (!slices)
                copy_row(row, in[k], masks, i + lane, n);
            else if (masks.data && masks.row != 1)
                copy_row<T>(row, {(char*)row, 0, sizeof(T)}, {masks.data + (i + lane) * masks.row, 0, masks.step}, 0,
                            n);
        }
    }

    // The mask of `count` rows from i on, a byte for each entry. Slices that were copied to rows hold −inf where it was
    // not set.
    void stage_mask(unsigned char* stage, const T* gathered, ptrdiff_t pitch, ptrdiff_t i, ptrdiff_t count) const {
        for (ptrdiff_t lane = 0; lane < count; ++lane) {
            unsigned char* const row = stage + lane * n;
            if (in[0].neighbouring())
                for (ptrdiff_t j = 0; j < n; ++j)
                    row[j] = gathered[lane * pitch + j] != -INF<T> || mask.at(i + lane, j);  // −inf may be valid
            else if (mask.step == 0)
                std::memset(row, mask.at(i + lane, 0), n);
            else
                for (ptrdiff_t j = 0; j < n; ++j) row[j] = mask.at(i + lane, j);
        }
    }

    // What to prefetch while row i is computed: the rows that follow, or, within a row that fills the cache, the
    // entries ahead. (One row gains from a quarter of the cache on; of two the last pass finds what the pass before has
    // read.)
    template <class X>
    Prefetch prefetch_for(ptrdiff_t i, const X* row) const {
        const ptrdiff_t bytes = n * (ptrdiff_t)sizeof(T), cache = softgrad_boundaries.scratch_up_to;
        const bool has_time = INPUTS == 2 && bytes >= NONTEMPORAL_ROW;  // memory would be idle in every pass but one
        const char* next[2] = {};
        if (bytes > (INPUTS == 1 ? cache / 4 : cache)) {
            const char* const ahead = (const char*)(row + PREFETCH_AHEAD);
            return {has_time ? ahead : nullptr, ahead, {ahead, nullptr}, sizeof(S)};
        }
        for (int k = 0; k < INPUTS; ++k)
            if (i + 1 < rows && in[k].contiguous()) next[k] = (const char*)&in[k].at(i + 1, 0);
        if (has_time) return {next[0], next[1] ? next[1] : next[0], {next[0], next[1]}, sizeof(S)};
        return {nullptr, next[0], {next[1], nullptr}, sizeof(S)};
    }
};

}  // namespace
