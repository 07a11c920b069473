// From the strided operands of a gufunc to rows: where memory lies as the kernels want it they work in place, otherwise
// on a scratch copy. The regime depends on the length of a row alone, so a row has the same bits in any layout.
#pragma once

#include <stdlib.h>

#include "derivatives.h"
#include "kernels.h"
#include "logsumexp.h"
#include "softmax.h"
#include "transpose.h"

namespace {

// Rows up to this length are taken WIDTH at a time, one per lane: the work across lanes that a row of its own needs (a
// maximum, a sum, a remainder) costs as much as the work along it.
constexpr ptrdiff_t PANEL = 32;

// Results of this many bytes and more are streamed past the caches. Measured on a 2 MiB L2: below, a reader finds them
// in the cache; above, every line written would first be read.
constexpr ptrdiff_t STREAM_FROM = 8 << 20;

// Rows up to this many bytes keep their exponentials in scratch memory that stays in the second-level cache; for longer
// ones it is cheaper to compute them twice.
constexpr ptrdiff_t SCRATCH_UP_TO = 256 << 10;

// Scratch memory for slices along another axis than the last.
constexpr ptrdiff_t COLUMNS_UP_TO = 16 << 20;

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

typedef const unsigned char Mask;

// Memory for rows that do not lie as a kernel wants them; one allocation per loop, none where nothing is copied.
template <class T>
class Scratch {
   public:
    explicit Scratch(ptrdiff_t entries) : memory_(entries ? (T*)malloc(entries * sizeof(T)) : nullptr) {
        if (!memory_ && entries) softgrad_no_memory();
    }
    ~Scratch() { free(memory_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    explicit operator bool() const { return memory_; }
    operator T*() const { return memory_; }

   private:
    T* memory_;
};

// WIDTH rows, from row i on, into the lanes of a panel.
template <class T>
inline void load_panel(T* panel, const Operand<const T>& x, ptrdiff_t i, int lanes, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    if (lanes == W && x.row == (ptrdiff_t)sizeof(T)) {
        for (ptrdiff_t j = 0; j < n; ++j) store(panel + j * W, load(&x.at(i, j)));
    } else if (lanes == W && x.contiguous() && n >= TILE<T>) {
        load_rows(panel, (const char*)&x.at(i, 0), x.row, n);
    } else {  // lanes without a row repeat the last one
        for (ptrdiff_t j = 0; j < n; ++j) {
            store(panel + j * W, splat(x.at(i + lanes - 1, j)));
            for (int lane = 0; lane < lanes - 1; ++lane) panel[j * W + lane] = x.at(i + lane, j);
        }
    }
}

// The lanes of a panel to rows.
template <class T>
inline void store_panel(const T* panel, const Operand<T>& y, ptrdiff_t i, int lanes, ptrdiff_t n) {
    constexpr int W = WIDTH<T>;
    if (lanes == W && y.row == (ptrdiff_t)sizeof(T)) {
        for (ptrdiff_t j = 0; j < n; ++j) store(&y.at(i, j), load(panel + j * W));
    } else if (lanes == W && y.contiguous() && n >= TILE<T>) {
        store_rows(panel, (char*)&y.at(i, 0), y.row, n);
    } else {
        for (int lane = 0; lane < lanes; ++lane)
            for (ptrdiff_t j = 0; j < n; ++j) y.at(i + lane, j) = panel[j * W + lane];
    }
}

// to = x where the mask is set, −inf elsewhere. A choice and no branch: a random mask would mispredict every other one.
template <class T>
inline void read_masked(T* to, const T* x, Mask* mask, ptrdiff_t n) {
    for (ptrdiff_t j = 0; j < n; ++j) to[j] = mask[j] ? x[j] : -INF<T>;
}

// Row i to contiguous memory, −inf where a mask leaves entries out.
template <class T>
inline void copy_row(T* to, const Operand<const T>& x, const Operand<Mask>& mask, ptrdiff_t i, ptrdiff_t n) {
    if (!mask.data)
        for (ptrdiff_t j = 0; j < n; ++j) to[j] = x.at(i, j);
    else if (x.contiguous() && mask.contiguous())
        read_masked(to, &x.at(i, 0), &mask.at(i, 0), n);
    else
        for (ptrdiff_t j = 0; j < n; ++j) {
            const T value = x.at(i, j);
            to[j] = mask.at(i, j) ? value : -INF<T>;
        }
}

// As load_panel, with a mask.
template <class T>
inline void load_masked_panel(T* panel, const Operand<const T>& x, const Operand<Mask>& mask, ptrdiff_t i, int lanes,
                              ptrdiff_t n) {
    if (!mask.data) return load_panel(panel, x, i, lanes, n);
    const ptrdiff_t row = n * (ptrdiff_t)sizeof(T);
    T copy[PANEL * WIDTH<T>];
    if (x.contiguous() && mask.contiguous() && x.row == row && mask.row == n)
        read_masked(copy, &x.at(i, 0), &mask.at(i, 0), lanes * n);
    else
        for (int lane = 0; lane < lanes; ++lane) copy_row(copy + lane * n, x, mask, i + lane, n);
    load_panel(panel, Operand<const T>{(char*)copy, row, sizeof(T)}, 0, lanes, n);
}

// Temperatures that the vector kernels take: outside, 1/T or T ln 2 would leave the range of T.
template <class T>
inline bool ordinary(double temperature) {
    constexpr double RANGE = sizeof(T) == 4 ? 0x1p60 : 0x1p400;
    return temperature >= 1 / RANGE && temperature <= RANGE;
}

// softmax or log_softmax with its options: a mask and a temperature for each row.
template <class Map, class T>
struct Forward {
    Operand<const T> x;
    Operand<Mask> mask;        // no data: nothing is masked
    Operand<const double> t;   // no data: T = 1
    Operand<T> y;
    ptrdiff_t rows, n;

    void run() const {
        if (n == 0) return;
        if (n <= PANEL)
            panels();
        else if (x.neighbouring() && y.neighbouring() && columns())
            return;
        else
            each();
    }

   private:
    static constexpr int W = WIDTH<T>;

    bool read(ptrdiff_t i, ptrdiff_t j) const { return !mask.data || mask.at(i, j); }
    double temperature(ptrdiff_t i) const { return t.data ? t.at(i, 0) : 1; }

    void panels() const {
        alignas(BYTES) T in[PANEL * W], out[PANEL * W];
        for (ptrdiff_t i = 0; i < rows; i += W) {
            const int lanes = rows - i < W ? (int)(rows - i) : W;
            load_masked_panel(in, x, mask, i, lanes, n);
            compute_panel(in, out, i, lanes);
            store_panel(out, y, i, lanes, n);
            for (int lane = 0; lane < lanes && (t.data || mask.data); ++lane)
                mend(i + lane, {(char*)(in + lane), 0, W * sizeof(T)});
        }
    }

    void compute_panel(const T* in, T* out, ptrdiff_t i, int lanes) const {
        if (!t.data) {
            Map::template run<false>(Panel<T>(n, lanes), in, out, Temperature<T>());
            return;
        }
        T high[W], low[W];
        for (int lane = 0; lane < W; ++lane) {
            const double value = lane < lanes && ordinary<T>(temperature(i + lane)) ? temperature(i + lane) : 1;
            high[lane] = (T)value;
            low[lane] = (T)(value - (double)high[lane]);
        }
        Map::template run<true>(Panel<T>(n, lanes), in, out, Temperature<T>(load(high), load(low)));
    }

    // Slices along another axis than the last: WIDTH neighbours at a time become rows of scratch memory, by way of
    // registers, and their results go back. False where so many rows are too long for that.
    bool columns() const {
        const ptrdiff_t pitch = (n + W - 1) / W * W + W;  // rows do not start in the same cache set
        if (2 * W * pitch * (ptrdiff_t)sizeof(T) > COLUMNS_UP_TO) return false;
        const Scratch<T> scratch(2 * W * pitch + W);
        if (!scratch) return true;
        T* const in = (T*)(((uintptr_t)(T*)scratch + BYTES - 1) / BYTES * BYTES);
        T* const out = in + W * pitch;
        // After a shorter group the others begin where whole lines of the result do.
        const bool stream = rows * n * (ptrdiff_t)sizeof(T) >= STREAM_FROM && y.step % BYTES == 0;
        const int past = stream ? (int)((uintptr_t)y.data % BYTES / sizeof(T)) : 0;
        for (ptrdiff_t i = 0, lanes; i < rows; i += lanes) {
            const ptrdiff_t group = i == 0 && past ? W - past : W;
            lanes = rows - i < group ? rows - i : group;
            for (ptrdiff_t j = 0; j < n; j += W) {
                Vec<T> block[W];
                for (int entry = 0; entry < W; ++entry) {
                    const T* const p = &x.at(i, j + entry < n ? j + entry : n - 1);
                    __builtin_prefetch(p + W, 0, 2);
                    block[entry] = lanes == W ? load(p) : load_head(p, lanes, (T)0);
                }
                transpose<T>(block);
                for (int lane = 0; lane < lanes; ++lane) store(in + lane * pitch + j, block[lane]);
            }
            for (int lane = 0; lane < lanes; ++lane) {
                T* const source = in + lane * pitch;
                if (mask.data) copy_row<T>(source, {(char*)source, 0, sizeof(T)}, row_of_mask(i + lane), 0, n);
                run_row(source, out + lane * pitch, temperature(i + lane), {});
            }
            for (ptrdiff_t j = 0; j < n; j += W) {
                Vec<T> block[W];
                for (int lane = 0; lane < W; ++lane) block[lane] = load(out + (lane < lanes ? lane : 0) * pitch + j);
                transpose<T>(block);
                for (int entry = 0; entry < W && j + entry < n; ++entry) {
                    T* const p = &y.at(i, j + entry);
                    if (lanes < W)
                        store_head(p, block[entry], lanes);
                    else if (stream)
                        ::stream(p, block[entry]);
                    else
                        store(p, block[entry]);
                }
            }
            if (stream) end_streams();
            for (int lane = 0; lane < lanes; ++lane) mend(i + lane, {(char*)(in + lane * pitch), 0, sizeof(T)});
        }
        return true;
    }

    Operand<Mask> row_of_mask(ptrdiff_t i) const { return {mask.data + i * mask.row, 0, mask.step}; }

    void run_row(const T* source, T* target, double temperature, const Route<T>& route) const {
        if (temperature == 1 || !ordinary<T>(temperature))
            Map::template run<false>(Row<T>(n, route), source, target, Temperature<T>());
        else
            Map::template run<true>(Row<T>(n, route), source, target, Temperature<T>::of(temperature));
    }

    void each() const {
        const bool copy_in = mask.data || !x.contiguous(), copy_out = !y.contiguous();
        const Scratch<T> in(copy_in ? n : 0), out(copy_out ? n : 0);
        const bool stream = !copy_out && rows * n * (ptrdiff_t)sizeof(T) >= STREAM_FROM;
        const bool holds_row = n * (ptrdiff_t)sizeof(T) <= SCRATCH_UP_TO;
        const bool in_place = x.data == y.data;  // the exponentials must not replace what may be read again
        const Scratch<T> scratch(!stream && !in_place ? 0 : holds_row ? n : BLOCK);
        if ((copy_in && !in) || (copy_out && !out) || ((stream || in_place) && !scratch)) return;
        for (ptrdiff_t i = 0; i < rows; ++i) {
            const T* source = &x.at(i, 0);
            T* target = copy_out ? (T*)out : &y.at(i, 0);
            if (copy_in) {
                copy_row<T>(in, x, mask, i, n);
                source = in;
            }
            Route<T> route;
            route.scratch = scratch;
            route.holds_row = holds_row || !scratch;
            route.streams = stream;
            if (stream) route.fetch(holds_row ? following(x, i) : source + FETCH_AHEAD, nullptr);
            if (ordinary<T>(temperature(i))) {  // others are left to mend, which needs the row as it was
                run_row(source, target, temperature(i), route);
                for (ptrdiff_t j = 0; copy_out && j < n; ++j) y.at(i, j) = out[j];
            }
            if (stream && (mask.data || t.data)) end_streams();
            mend(i, {(char*)source, 0, sizeof(T)});
        }
        if (stream) end_streams();
    }

    const T* following(const Operand<const T>& operand, ptrdiff_t i) const {
        return operand.contiguous() && i + 1 < rows ? &operand.at(i + 1, 0) : nullptr;
    }

    // The rows that vectors do not get right: masks in rows that became NaN, and temperatures beyond their range.
    // `row` is what was read, −inf where masked: x itself may have been overwritten by y.
    void mend(ptrdiff_t i, const Operand<const T>& row) const {
        if (!t.data && !mask.data) return;
        if (!ordinary<T>(temperature(i)))
            extreme(i, row);
        else if (mask.data && y.at(i, 0) != y.at(i, 0))
            for (ptrdiff_t j = 0; j < n; ++j)
                if (!read(i, j)) y.at(i, j) = Map::MASKED;
    }

    // T at or near 0 or inf: entry by entry, in a wider type.
    void extreme(ptrdiff_t i, const Operand<const T>& row) const {
        const double T_ = temperature(i);
        Wide<T> m = -INFINITY, rest = 0, ties = 0;
        for (ptrdiff_t j = 0; j < n; ++j) m = (Wide<T>)row.at(0, j) > m ? (Wide<T>)row.at(0, j) : m;
        for (ptrdiff_t j = 0; j < n; ++j) {
            const Wide<T> a = row.at(0, j);
            ties += a == m;
            if (a != m) rest += wide_exp(shifted(a, m, T_));
        }
        rest += m == INFINITY ? (Wide<T>)NAN : ties - 1;  // as with every other T, +inf makes its slice NaN
        for (ptrdiff_t j = 0; j < n; ++j)
            y.at(i, j) = read(i, j) ? (T)Map::value(shifted(row.at(0, j), m, T_), rest) : Map::MASKED;
    }

    // (a − m)/T with the limits at T = 0 and T = inf; NaN where a or the whole row is.
    static Wide<T> shifted(Wide<T> a, Wide<T> m, double temperature) {
        const Wide<T> d = a - m;
        if (d != d || d == 0 || a == -INFINITY) return d;
        return temperature == 0 ? -(Wide<T>)INFINITY : d / temperature;
    }
};

template <class Map, class T>
void forward(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    Forward<Map, T>{{args[0], steps[0], steps[2]}, {}, {}, {args[1], steps[1], steps[3]}, dims[0], dims[1]}.run();
    softgrad_clear_flags();
}

// A mask operand; none if one entry that is set stands for all.
inline Operand<Mask> mask_of(char* data, ptrdiff_t row, ptrdiff_t step, ptrdiff_t entries) {
    const bool leaves_nothing_out = entries && row == 0 && step == 0 && *data;
    return {leaves_nothing_out ? nullptr : data, row, step};
}

template <class Map, class T>
void forward_where(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    Forward<Map, T>{{args[0], steps[0], steps[4]},
                    mask_of(args[1], steps[1], steps[5], dims[0] * dims[1]),
                    {args[2], steps[2], 0},
                    {args[3], steps[3], steps[6]},
                    dims[0],
                    dims[1]}
        .run();
    softgrad_clear_flags();
}

// logsumexp, with or without a mask.
template <class T>
struct Reduce {
    Operand<const T> x;
    Operand<Mask> mask;
    Operand<T> y;
    ptrdiff_t rows, n;

    void run() const {
        if (n <= PANEL)
            panels();
        else
            each();
        for (ptrdiff_t i = 0; i < rows; ++i)
            if (y.at(i, 0) != y.at(i, 0)) y.at(i, 0) = of_special(i);
    }

   private:
    static constexpr int W = WIDTH<T>;

    T entry(ptrdiff_t i, ptrdiff_t j) const { return !mask.data || mask.at(i, j) ? x.at(i, j) : -INF<T>; }

    void panels() const {
        alignas(BYTES) T panel[PANEL * W];
        for (ptrdiff_t i = 0; i < rows; i += W) {
            const int lanes = rows - i < W ? (int)(rows - i) : W;
            load_masked_panel(panel, x, mask, i, lanes, n);
            const Vec<T> result = LogSumExp<T>::run(Panel<T>(n, lanes), panel);
            for (int lane = 0; lane < lanes; ++lane) y.at(i + lane, 0) = result[lane];
        }
    }

    void each() const {
        const bool copy = mask.data || !x.contiguous();
        const Scratch<T> scratch(copy ? n : 0);
        if (copy && !scratch) return;
        for (ptrdiff_t i = 0; i < rows; ++i) {
            if (copy)
                copy_row<T>(scratch, x, mask, i, n);
            y.at(i, 0) = LogSumExp<T>::run(Row<T>(n), copy ? (const T*)scratch : &x.at(i, 0))[0];
        }
    }

    // NaN, inf or −inf in a row whose shift is not finite, in this order of precedence.
    T of_special(ptrdiff_t i) const {
        T m = -INF<T>;
        for (ptrdiff_t j = 0; j < n; ++j) {
            const T a = entry(i, j);
            if (a != a) return a;
            m = a > m ? a : m;
        }
        return m;
    }
};

template <class T>
void logsumexp(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    Reduce<T>{{args[0], steps[0], steps[2]}, {}, {args[1], steps[1], 0}, dims[0], dims[1]}.run();
    softgrad_clear_flags();
}

template <class T>
void logsumexp_where(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    Reduce<T>{{args[0], steps[0], steps[3]}, {args[1], steps[1], steps[4]}, {args[2], steps[2], 0}, dims[0], dims[1]}
        .run();
    softgrad_clear_flags();
}

// Derivatives: two rows in, one out.
template <class Map, class T>
void backward(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    const ptrdiff_t rows = dims[0], n = dims[1];
    const Operand<const T> a{args[0], steps[0], steps[3]}, b{args[1], steps[1], steps[4]};
    const Operand<T> out{args[2], steps[2], steps[5]};
    const bool copy_a = !a.contiguous(), copy_b = !b.contiguous(), copy_out = !out.contiguous();
    const bool stream = !copy_out && rows * n * (ptrdiff_t)sizeof(T) >= STREAM_FROM;
    const Scratch<T> scratch(copy_a || copy_b || copy_out ? 3 * n : 0);
    if (n == 0 || ((copy_a || copy_b || copy_out) && !scratch)) return;
    T* const scratch_a = scratch;
    T* const scratch_b = scratch_a + n;
    for (ptrdiff_t i = 0; i < rows; ++i) {
        for (ptrdiff_t j = 0; copy_a && j < n; ++j) scratch_a[j] = a.at(i, j);
        for (ptrdiff_t j = 0; copy_b && j < n; ++j) scratch_b[j] = b.at(i, j);
        T* const target = copy_out ? scratch_b + n : &out.at(i, 0);
        Route<T> route;
        route.streams = stream;
        if (stream && i + 1 < rows)
            route.fetch(copy_a ? nullptr : &a.at(i + 1, 0), copy_b ? nullptr : &b.at(i + 1, 0));
        Map::run(Row<T>(n, route), copy_a ? scratch_a : &a.at(i, 0), copy_b ? scratch_b : &b.at(i, 0), target);
        for (ptrdiff_t j = 0; copy_out && j < n; ++j) out.at(i, j) = target[j];
    }
    if (stream) end_streams();
    softgrad_clear_flags();
}

// The dense Jacobian: a row and its temperature in, a matrix out.
template <class T>
void jacobian(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) {
    const ptrdiff_t rows = dims[0], n = dims[1];
    const Operand<const T> p{args[0], steps[0], steps[3]};
    const Operand<const double> t{args[1], steps[1], 0};
    const ptrdiff_t matrix = steps[2], line = steps[4];
    const Operand<T> entry{nullptr, 0, steps[5]};
    const bool copy_in = !p.contiguous(), copy_out = !entry.contiguous();
    const Scratch<T> scratch(copy_in || copy_out ? 2 * n : 0);
    if (n == 0 || ((copy_in || copy_out) && !scratch)) return;
    Route<T> route;
    route.streams = !copy_out && rows * n * n * (ptrdiff_t)sizeof(T) >= STREAM_FROM;
    for (ptrdiff_t i = 0; i < rows; ++i) {
        for (ptrdiff_t j = 0; copy_in && j < n; ++j) scratch[j] = p.at(i, j);
        const SaturatedRow<T> row(copy_in ? (const T*)scratch : &p.at(i, 0), n);
        for (ptrdiff_t k = 0; k < n; ++k) {
            const Operand<T> out{args[2] + i * matrix + k * line, 0, steps[5]};
            T* const target = copy_out ? (T*)scratch + n : &out.at(0, 0);
            row.jacobian_line(route, k, t.at(i, 0), target);
            for (ptrdiff_t j = 0; copy_out && j < n; ++j) out.at(0, j) = target[j];
        }
    }
    softgrad_clear_flags();
}

}  // namespace
