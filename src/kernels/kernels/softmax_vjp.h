// Derivatives of softmax and log_softmax from their output, exact on saturated rows.
//
// With k the largest probability, 1 − p_k is summed as Σ_{j≠k} p_j, and directions v enter as v − v_k: where p_k → 1
// the plain formulas subtract nearly equal numbers and return 0 for the small true value.
//
// Roundings of p_i ((v_i − v_k) − Σ p (v − v_k)), relative to |v_i − v_k| and to Σ p |v − v_k|: 1 of each difference, 3
// of a product and the two sums that take it to the wide one, 1 of the mean, 1 of the last difference: 2 and 6, and
// half an ulp of the product. They are of one sign only in rows of few values, where sums of equal terms are exact:
// what rows of one, two and three values, and the adversarial ones of tests/functions/test_bounds.py, reach is 3.5 ulp
// of 4.
#pragma once

#include "rows/column_block.h"
#include "rows/numbers.h"
#include "rows/reductions.h"
#include "rows/row_loop.h"

namespace {

// p ∘ (v − Σ p v); where p is 0, v is not read.
template <class S>
struct SoftmaxVjp {
    typedef Computed<S> T;
    static constexpr Traits TRAITS{NONE, true, true};

    template <class Shape, class X>
    void operator()(const Shape shape, ptrdiff_t, const X* const* in, X* const* out) const {
        run(shape, in[0], in[1], out[0]);
    }
    template <class Shape, class X>
    [[gnu::flatten]] static void run(const Shape shape, const X* p, const X* v, X* out) {
        const Vec<T> at_argmax = Argmax<Shape>(shape, p).of(shape, v);
        write(shape, p, v, out, at_argmax, sum_of<false>(shape, p, v, at_argmax).high);
    }
    template <class X>
    [[gnu::flatten]] static void run(const Lockstep<T> rows, const X* p, const X* v, X* out) {
        for (int lane = 0; lane < rows.lanes; ++lane) rows.prefetch_result(out, lane);
        if (rows.lanes == WIDTH<T>) return run_full(rows, p, v, out);
        T center[WIDTH<T>], mean[WIDTH<T>];
        rows.each([&](int lane, const Row<T> row) {
            center[lane] = value_of(rows.in(v, lane, 1)[Argmax<Row<T>>(row, rows.in(p, lane)).index]);
        });
        rows.each([&](int lane, const Row<T> row) {
            mean[lane] = sum_of<false>(row, rows.in(p, lane), rows.in(v, lane, 1), splat(center[lane])).high[0];
        });
        rows.each([&](int lane, const Row<T> row) {
            write(row, rows.in(p, lane), rows.in(v, lane, 1), rows.out(out, lane), splat(center[lane]),
                  splat(mean[lane]));
        });
    }

    // Products that are added before the sum takes them. To a result of half precision float32 is exact.
    static constexpr int AT_ONCE = sizeof(S) == 2 ? 8 : 4;

    // A finite mean that was taken without a mask shows that 0 · v was finite wherever p is 0.
    static Bits<T> needs_mask(Vec<T> mean) { return mean - mean != 0; }

    // IS_MASKED: where p is 0, v may be anything.
    template <bool IS_MASKED>
    static Vec<T> entry(Vec<T> p, Vec<T> v, Vec<T> at_argmax, Vec<T> mean) {
        return mul_add(p, if_positive<IS_MASKED>(p, (v - at_argmax) - mean), splat<T>(0));  // −0 + 0 is 0
    }

    // Σ p (v − v_k) · scale.
    template <bool IS_MASKED, class Shape, class X>
    static DoubleWord<T> sum_of(const Shape shape, const X* p, const X* v, Vec<T> at_argmax, T scale = 1) {
        const auto factors = [&](auto place) {
            const Vec<T> probability = place(p, 0), centred = place(v, 0) - at_argmax;
            return std::pair<Vec<T>, Vec<T>>(probability * scale, if_positive<IS_MASKED>(probability, centred));
        };
        return sum_of_products<T, AT_ONCE>(shape, factors);
    }

   private:
    // A batch of WIDTH rows: what is found of each is found lane by lane, so that no row waits for chains of its own.
    template <class X>
    static void run_full(const Lockstep<T> rows, const X* p, const X* v, X* out) {
        const Lanes<T> centers(at_argmax(rows, p, v));
        Totals<T> totals;
        for (int lane = 0; lane < WIDTH<T>; ++lane) {
            rows.prefetch_next(lane, 0);
            const X *const from = rows.in(p, lane), *const along = rows.in(v, lane, 1);
            const Vec<T> center = centers[lane];
            const auto factors = [&](auto place) {
                return std::pair<Vec<T>, Vec<T>>(place(from, 0), place(along, 0) - center);
            };
            WideSum<T> sum;  // (as in sum_of_products)
            Row<T>(rows.n).template in_groups_prefetching<AT_ONCE>(
                [&](auto places) { sum.add(sum_of_few<T, AT_ONCE>([&](int k) { return factors(places(k)); })); },
                [&](auto place) {
                    const auto [a, b] = factors(place);
                    sum.add(place.keep(a * b));
                });
            totals.set(lane, sum);
        }
        Wide<T> wide[WIDTH<T>];
        totals.store(wide);
        const Vec<T> mean = double_words(wide).high;
        const Lanes<T> means(mean);
        const bool is_plain = !any<T>(needs_mask(mean) | (absolute<T>(mean) < LEAST_MEAN<T>));
        for (int lane = 0; lane < WIDTH<T>; ++lane) {
            rows.prefetch_next(lane, 1);
            const X *const from = rows.in(p, lane), *const along = rows.in(v, lane, 1);
            X* const to = rows.out(out, lane);
            const Vec<T> center = centers[lane], own = means[lane];
            if (is_plain)
                Row<T>(rows.n).template finish<4>(
                    to, [&](auto place) { return entry<false>(place(from, 0), place(along, 0), center, own); });
            else
                write(Row<T>(rows.n), from, along, to, center, own);
        }
    }
    template <bool IS_MASKED>
    static Vec<T> if_positive(Vec<T> p, Vec<T> centred) {
        return IS_MASKED ? (p == 0 ? splat<T>(0) : centred) : centred;
    }
    template <class Shape, class X>
    static void write(const Shape shape, const X* p, const X* v, X* out, Vec<T> at_argmax, Vec<T> mean) {
        if (any<T>(needs_mask(mean)))
            write_entries<true>(shape, p, v, out, at_argmax, sum_of<true>(shape, p, v, at_argmax).high);
        else
            write_entries<false>(shape, p, v, out, at_argmax, mean);
    }
    template <bool IS_MASKED, class Shape, class X>
    static void write_entries(const Shape shape, const X* p, const X* v, X* out, Vec<T> at_argmax, Vec<T> plain) {
        constexpr T SCALE = (T)(sizeof(T) == 4 ? 0x1p70 : 0x1p512);
        const Vec<T> mean = without_underflow<T>(
            plain, [&] { return sum_of<IS_MASKED>(shape, p, v, at_argmax, SCALE).high * (1 / SCALE); });
        shape.template finish<4>(
            out, [&](auto place) { return entry<IS_MASKED>(place(p, 0), place(v, 0), at_argmax, mean); });
    }
};

// softmax_vjp of columns p and v.
template <class S>
struct VjpColumns : ColumnBlock<S, 2, 1> {
    typedef ColumnBlock<S, 2, 1> Base;
    typedef typename Base::T T;
    typedef typename Types<T>::Integer Integer;
    static constexpr int AT_ONCE = SoftmaxVjp<S>::AT_ONCE;
    using Base::at_each, Base::columns, Base::in, Base::memory, Base::n, Base::W;
    using Base::Base, Base::COLUMNS;

    // The direction at the largest p of each column, and Σ p (v − it).
    [[gnu::flatten]] bool add_up() const {
        find_argmax();
        for (ptrdiff_t c = 0; c < COLUMNS; ++c) memory.totals[c] = 0;
        for (ptrdiff_t start = 0; start < n; start += BLOCK) {
            const ptrdiff_t stop = n - start < BLOCK ? n : start + BLOCK,
                            whole = start + (stop - start) / (AT_ONCE * W) * (AT_ONCE * W);
            for (ptrdiff_t k = 0; k < W; ++k) add_products(k, start + k, whole, stop);
            at_each(0, columns, [&](ptrdiff_t i, auto) { this->add_chains(i); });
        }
        return true;
    }

    bool conclude(ptrdiff_t i) const {
        const Vec<T> mean = double_words(memory.totals + i * W).high;
        memory.factors[i].low = mean;
        return any<T>(SoftmaxVjp<S>::needs_mask(mean) | (absolute<T>(mean) < LEAST_MEAN<T>));
    }

    [[gnu::flatten]] void finish(const Operand<S>& y, ptrdiff_t from, ptrdiff_t to, bool nontemporal) const {
        this->write_entries(y, from, to, nontemporal, [&](ptrdiff_t j, ptrdiff_t i, auto read) {
            const auto [at_argmax, mean] = memory.factors[i];
            return SoftmaxVjp<S>::template entry<false>(read(this->at(0, j, i)), read(this->at(1, j, i)), at_argmax,
                                                        mean);
        });
    }

   private:
    // Of v only the argmax entries are read.
    void find_argmax() const {
        at_each(0, columns, [&](ptrdiff_t i, auto) {
            memory.ranges[i] = Range<T>();
            memory.factors[i].high = splat<T>(0);
        });
        for (ptrdiff_t first = 0; first < n; first += ENTRIES_AT_ONCE) {
            const ptrdiff_t end = n - first < ENTRIES_AT_ONCE ? n : first + ENTRIES_AT_ONCE;
            at_each(0, columns, [&](ptrdiff_t i, auto read) {
                Vec<T> top = memory.ranges[i].max;
                Bits<T> argmax = (Bits<T>)memory.factors[i].high;
                for (ptrdiff_t j = first; j < end; ++j) {
                    const Vec<T> p = read(this->at(0, j, i));
                    argmax = p > top ? Bits<T>{} + (Integer)j : argmax;
                    top = max(p, top);
                }
                memory.ranges[i].max = top;
                memory.factors[i].high = (Vec<T>)argmax;
            });
        }
        at_each(0, columns, [&](ptrdiff_t i, auto) {
            Integer argmaxes[W];
            T at_argmax[W] = {};
            store((T*)argmaxes, memory.factors[i].high);
            for (ptrdiff_t lane = 0; lane < W && i * W + lane < columns; ++lane)
                at_argmax[lane] = value_of(in[1].at(i * W + lane, argmaxes[lane]));
            memory.factors[i].high = load(at_argmax);
        });
    }

    // Lane k of a row's sum: products in groups of vectors up to `whole`, then one by one; the last entries, which do
    // not fill a vector, are in its last lanes.
    void add_products(ptrdiff_t k, ptrdiff_t first, ptrdiff_t whole, ptrdiff_t stop) const {
        WideSum<T>* const sums = memory.sums[k];
        at_each(0, columns, [&](ptrdiff_t i, auto) { sums[i] = WideSum<T>(); });
        const ptrdiff_t vectors = stop - (stop - (first - k)) % W, last = stop - W + k;
        for (ptrdiff_t begin = first; begin < vectors; begin += ENTRIES_AT_ONCE * W) {
            const ptrdiff_t end = vectors - begin < ENTRIES_AT_ONCE * W ? vectors : begin + ENTRIES_AT_ONCE * W;
            at_each(0, columns, [&](ptrdiff_t i, auto read) {
                WideSum<T> sum = sums[i];
                const Vec<T> at_argmax = memory.factors[i].high;
                const auto p = [&](ptrdiff_t j) { return read(this->at(0, j, i)); };
                const auto v = [&](ptrdiff_t j) { return read(this->at(1, j, i)) - at_argmax; };
                ptrdiff_t j = begin;
                for (; j < end && j < whole; j += AT_ONCE * W)
                    sum.add(sum_of_few<T, AT_ONCE>(
                        [&](int k) { return std::pair<Vec<T>, Vec<T>>(p(j + k * W), v(j + k * W)); }));
                for (; j < end; j += W) sum.add(p(j) * v(j));
                sums[i] = sum;
            });
        }
        if (last < vectors) return;
        at_each(0, columns, [&](ptrdiff_t i, auto read) {
            sums[i].add(read(this->at(0, last, i)) * (read(this->at(1, last, i)) - memory.factors[i].high));
        });
    }
};

// Σ p (v − c) with a number c for each row, in two parts: of the blocks of a long row, whose sums are added.
template <class S>
void softmax_vjp_sum(const Call& call) {
    typedef Computed<S> T;
    const auto center = call.numbers<const double>(2);
    const Operand<double> parts[] = {call.numbers<double>(3), call.numbers<double>(4)};
    RowLoop<S, 2, 0>(call).run([&](auto shape, ptrdiff_t i, const T* const* in, T* const*) {
        const Vec<T> c = load_numbers<T>(shape, center, i).high;
        const DoubleWord<T> sum = SoftmaxVjp<S>::template sum_of<false>(shape, in[0], in[1], c);
        T found[2][WIDTH<T>];
        store(found[0], sum.high);
        store(found[1], sum.low);
        for (int k = 0; k < 2; ++k)
            for (int lane = 0; lane < shape.lanes; ++lane) parts[k].at(i + lane, 0) = found[k][lane];
    });
}

// softmax_vjp of the blocks of a long row, from the direction at its argmax entry and the mean.
template <class S>
void softmax_vjp_of_mean(const Call& call) {
    typedef Computed<S> T;
    const auto center = call.numbers<const double>(2), mean = call.numbers<const double>(3);
    RowLoop<S, 2, 1>(call).run([&](auto shape, ptrdiff_t i, const T* const* in, T* const* out) {
        const Vec<T> c = load_numbers<T>(shape, center, i).high, m = load_numbers<T>(shape, mean, i).high;
        shape.finish(out[0], [&](auto place) {
            return SoftmaxVjp<S>::template entry<false>(place(in[0], 0), place(in[1], 0), c, m);
        });
    });
}

template <class S>
void softmax_vjp(const Call& call) {
    const RowLoop<S, 2, 1> loop(call);
    run_columns<VjpColumns<S>>(loop, SoftmaxVjp<S>(), finish_columns(loop));
}

}  // namespace
