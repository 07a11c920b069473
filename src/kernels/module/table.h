// The table of kernels: what each level of the instruction set offers to the module.
#pragma once

#include <stddef.h>

// A row is a gufunc: name, signature, number of inputs and of outputs, the dtype of each operand ('T' is the row's own,
// 'd' float64, 'q' int64, '?' bool), and the loop template. Adding a kernel is adding a row.
#define SOFTGRAD_KERNELS(KERNEL)                                                                     \
    KERNEL(softmax, "(n)->(n)", 1, 1, "TT", (forward<Softmax, T>))                                \
    KERNEL(softmax_where, "(n),(n),()->(n)", 3, 1, "T?dT", (forward_where<Softmax, T>))           \
    KERNEL(log_softmax, "(n)->(n)", 1, 1, "TT", (forward<LogSoftmax, T>))                         \
    KERNEL(log_softmax_where, "(n),(n),()->(n)", 3, 1, "T?dT", (forward_where<LogSoftmax, T>))    \
    KERNEL(logsumexp, "(n)->()", 1, 1, "TT", (logsumexp<T>))                                         \
    KERNEL(logsumexp_where, "(n),(n)->()", 2, 1, "T?T", (logsumexp_where<T>))                        \
    KERNEL(signed_logsumexp, "(n),(n)->(),()", 2, 2, "TTTT", (signed_logsumexp<T>))                  \
    KERNEL(softmax_vjp, "(n),(n)->(n)", 2, 1, "TTT", (backward<SoftmaxVjp, T>))                   \
    KERNEL(log_softmax_vjp, "(n),(n)->(n)", 2, 1, "TTT", (backward<LogSoftmaxVjp, T>))            \
    KERNEL(log_softmax_jvp, "(n),(n)->(n)", 2, 1, "TTT", (backward<LogSoftmaxJvp, T>))            \
    KERNEL(jacobian, "(n),()->(n,n)", 2, 1, "TdT", (jacobian<T>))                                    \
    KERNEL(log_sum, "(n)->(),(),()", 1, 3, "TTTT", (log_sum<T>))                                     \
    KERNEL(cross_entropy, "(n),(),()->()", 3, 1, "TqdT", (cross_entropy<T, 1>))                      \
    KERNEL(cross_entropy_grad, "(n),(),()->(),(n)", 3, 2, "TqdTT", (cross_entropy<T, 2>))            \
    KERNEL(cross_entropy_grad_hess, "(n),(),(),()->(),(n),(n)", 4, 3, "TqddTTT",                     \
           (cross_entropy<T, 3>))                                                                    \
    KERNEL(target_cross_entropy, "(n),(n),(),(),(),()->()", 6, 1, "TTqdddT",                         \
           (target_cross_entropy<T, 1>))                                                             \
    KERNEL(target_cross_entropy_grad, "(n),(n),(),(),(),()->(),(n)", 6, 2, "TTqdddTT",               \
           (target_cross_entropy<T, 2>))                                                             \
    KERNEL(target_cross_entropy_grad_hess, "(n),(n),(),(),(),(),()->(),(n),(n)", 7, 3, "TTqddddTTT", \
           (target_cross_entropy<T, 3>))                                                             \
    KERNEL(entropy, "(n)->()", 1, 1, "TT", (entropy<T, false>))                                      \
    KERNEL(entropy_grad, "(n)->(),(n)", 1, 2, "TTT", (entropy<T, true>))                                       \
    KERNEL(kl_divergence, "(n),(n)->()", 2, 1, "TTT", (divergence<T, false>))                        \
    KERNEL(kl_divergence_grad, "(n),(n)->(),(n),(n)", 2, 3, "TTTTT", (divergence<T, true>))          \
    KERNEL(max_and_rest, "(n)->(),(),()", 1, 3, "Tddd", (max_and_rest<T>))                           \
    KERNEL(state, "(n)->(),(),(),(),()", 1, 5, "Tddddd", (state<T>))                                 \
    KERNEL(softmax_of_state, "(n),(),(),()->(n)", 4, 1, "TdddT", (of_state<SoftmaxOfState, T>))      \
    KERNEL(log_softmax_of_state, "(n),(),(),()->(n)", 4, 1, "TdddT",                                 \
           (of_state<LogSoftmaxOfState, T>))                                                         \
    KERNEL(merge_states, "(m),(m),(m)->(),(),()", 3, 3, "dddddd", (merge_states))

typedef void (*Loop)(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void* data);

struct Kernel {
    const char *name, *signature;
    int inputs, outputs;
    const char* types;
};

#define SOFTGRAD_ENTRY(name, signature, inputs, outputs, types, loop) {#name, signature, inputs, outputs, types},
constexpr Kernel KERNELS[] = {SOFTGRAD_KERNELS(SOFTGRAD_ENTRY)};
#undef SOFTGRAD_ENTRY

constexpr int KERNEL_COUNT = sizeof(KERNELS) / sizeof(*KERNELS);
constexpr int MOST_OPERANDS = 10;

// The dtypes that a kernel has a loop for. NumPy has no bfloat16 of its own: it comes as unsigned integers of its bits.
enum RowType { BFLOAT16, FLOAT16, FLOAT32, FLOAT64, ROW_TYPES };

// The loops of one level, in the order of the table.
struct Loops {
    Loop of[KERNEL_COUNT][ROW_TYPES];
};

extern "C" {
extern const Loops softgrad_loops_v2, softgrad_loops_v3, softgrad_loops_v4, softgrad_loops_neon;
}
