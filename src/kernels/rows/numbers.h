// One number per row, to and from the vectors of a shape.
#pragma once

#include "rows/operand.h"
#include "rows/shapes.h"
#include "simd/convert.h"

namespace {

// How many numbers a shape wants of everything that a row has one of.
template <class Shape>
constexpr int numbers = 1;
template <class T>
constexpr int numbers<LaneBatch<T>> = WIDTH<T>;
template <class T>
constexpr int numbers<Lockstep<T>> = WIDTH<T>;

// One number per row from row i on, as a vector of a shape; lanes without a row repeat the last one.
template <class Shape, class N>
inline void load_each(const Shape shape, const Operand<const N>& of, ptrdiff_t i, N* values) {
    constexpr int COUNT = numbers<Shape>;
    if (shape.lanes == COUNT && of.row == (ptrdiff_t)sizeof(N)) {
        __builtin_memcpy(values, &of.at(i, 0), COUNT * sizeof(N));
        return;
    }
    for (int lane = 0; lane < COUNT; ++lane) values[lane] = of.at(i + (lane < shape.lanes ? lane : shape.lanes - 1), 0);
}
template <class T, class Shape>
inline DoubleWord<T> load_numbers(const Shape shape, const Operand<const double>& of, ptrdiff_t i) {
    if (of.row == 0) return DoubleWord<T>(of.at(0, 0));
    double wide[WIDTH<T>];
    T high[WIDTH<T>], low[WIDTH<T>];
    load_each(shape, of, i, wide);
    for (int lane = 0; lane < numbers<Shape>; ++lane) {
        high[lane] = (T)wide[lane];
        low[lane] = (T)(wide[lane] - (double)high[lane]);
    }
    return {shape.spread(high), shape.spread(low)};
}

// out = scale · value for each row, where a factor 0 leaves nothing. With more(row) ≠ 0, that joins the value.
template <class S, class Shape, class T, class More>
inline void store_result(const Shape shape, const DoubleWord<T>& value, const Operand<const double>& scale,
                         const Operand<S>& out, ptrdiff_t i, More more) {
    T high[WIDTH<T>], low[WIDTH<T>];
    store(high, value.high);
    store(low, value.low);
    for (int lane = 0; lane < shape.lanes; ++lane) {
        const Wide<T> s = scale.at(i + lane, 0), sum = (Wide<T>)high[lane] + (Wide<T>)low[lane] + more(lane);
        out.at(i + lane, 0) = stored<S>(s == 0 ? (T)0 : (T)(s * sum));
    }
}
template <class S, class Shape, class T>
inline void store_result(const Shape shape, const DoubleWord<T>& value, const Operand<const double>& scale,
                         const Operand<S>& out, ptrdiff_t i) {
    if (scale.row == 0 && scale.at(0, 0) == 1) {  // the parts are apart: their sum rounds to the first
        S high[WIDTH<T>];
        const bool in_place = shape.lanes == WIDTH<T> && out.row == (ptrdiff_t)sizeof(S);
        write(in_place ? &out.at(i, 0) : high, value.high);
        for (int lane = 0; !in_place && lane < shape.lanes; ++lane) out.at(i + lane, 0) = high[lane];
    } else {
        store_result(shape, value, scale, out, i, [](int) { return (Wide<T>)0; });
    }
}

}  // namespace
