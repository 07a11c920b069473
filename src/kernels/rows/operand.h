// The operands of a gufunc.
#pragma once

#include "rows/signature.h"
#include "simd/mask.h"

namespace {

// One operand: entry j of row i is stored at data + i · row + j · step.
template <class T>
struct Operand {
    char* data;
    ptrdiff_t row, step;

    T& at(ptrdiff_t i, ptrdiff_t j) const { return *(T*)(data + i * row + j * step); }
    bool contiguous() const { return step == (ptrdiff_t)sizeof(T); }
    bool neighbouring() const { return !contiguous() && row == (ptrdiff_t)sizeof(T); }
};

// What NumPy hands to the loop of a gufunc.
struct Call {
    const Signature& signature;
    char** data;
    const ptrdiff_t *dims, *steps;

    ptrdiff_t rows() const { return dims[0]; }
    ptrdiff_t length() const { return dims[1]; }
    // Operand k: a slice for each row, a number for each row, and a mask.
    template <class T>
    Operand<T> slices(int k) const {
        return {data[k], steps[k], steps[signature.first_step[k]]};
    }
    template <class T>
    Operand<T> numbers(int k) const {
        return {data[k], steps[k], 0};
    }
    Operand<Mask> mask(int k) const {
        const Operand<Mask> mask = slices<Mask>(k);
        const bool masks_nothing = rows() && length() && mask.row == 0 && mask.step == 0 && *mask.data;
        return {masks_nothing ? nullptr : mask.data, mask.row, mask.step};
    }
};

}  // namespace
