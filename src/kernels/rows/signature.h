// A gufunc's signature, read at compile time: which operands there are, and where their steps are.
#pragma once

namespace {

constexpr int MOST_OPERANDS = 10;

// Of "(n),()->(n)". An operand with a dimension is a slice, one without is a number per row.
struct Signature {
    int inputs = 0, operands = 0;
    int first_step[MOST_OPERANDS + 1] =
        {};  // of operand k within its row: NumPy lists those after the steps of the rows

    constexpr explicit Signature(const char* text) {
        int steps = 0;
        for (; *text; ++text) {
            if (*text == '(') first_step[operands++] = steps, first_step[operands] = steps;
            if (*text == '>') inputs = operands;
            if (*text >= 'a' && *text <= 'z') first_step[operands] = ++steps;
        }
        for (int k = 0; k <= operands; ++k) first_step[k] += operands;
    }
    constexpr int outputs() const { return operands - inputs; }
    constexpr int dimensions(int k) const { return first_step[k + 1] - first_step[k]; }
    // The place of the i-th slice among the operands from `first` on.
    constexpr int slice(int first, int i) const {
        int k = first;
        for (; dimensions(k) == 0 || i-- > 0; ++k) {
        }
        return k;
    }
};

}  // namespace
