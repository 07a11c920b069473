// The table of kernels: what each level of the instruction set offers to the module.
#pragma once

#include <stddef.h>

#include "rows/signature.h"

// A row is a gufunc: name, signature, the dtype of each operand ('T' is the row's own, 'd' float64, 'q' int64, '?'
// bool), and the loop. Adding a kernel is adding a row.
#define SOFTGRAD_KERNELS(KERNEL)                                                                               \
    KERNEL(softmax, "(n)->(n)", "TT", (forward<Softmax, T>))                                                   \
    KERNEL(softmax_where, "(n),(n),()->(n)", "T?dT", (forward_where<Softmax, T>))                              \
    KERNEL(log_softmax, "(n)->(n)", "TT", (forward<LogSoftmax, T>))                                            \
    KERNEL(log_softmax_where, "(n),(n),()->(n)", "T?dT", (forward_where<LogSoftmax, T>))                       \
    KERNEL(sparsemax, "(n)->(n)", "TT", (sparsemax<T>))                                                        \
    KERNEL(sparsemax_where, "(n),(n),()->(n)", "T?dT", (sparsemax_where<T>))                                   \
    KERNEL(entmax15, "(n)->(n)", "TT", (entmax15<T>))                                                          \
    KERNEL(entmax15_where, "(n),(n),()->(n)", "T?dT", (entmax15_where<T>))                                     \
    KERNEL(entmax, "(n),(n),(),()->(n)", "T?ddT", (entmax<T>))                                                 \
    KERNEL(logsumexp, "(n)->()", "TT", (logsumexp<T>))                                                         \
    KERNEL(logsumexp_where, "(n),(n)->()", "T?T", (logsumexp_where<T>))                                        \
    KERNEL(signed_logsumexp, "(n),(n)->(),()", "TTTT", (signed_logsumexp<T>))                                  \
    KERNEL(softmax_vjp, "(n),(n)->(n)", "TTT", (softmax_vjp<T>))                                               \
    KERNEL(softmax_vjp_sum, "(n),(n),()->(),()", "TTddd", (softmax_vjp_sum<T>))                                \
    KERNEL(softmax_vjp_of_mean, "(n),(n),(),()->(n)", "TTddT", (softmax_vjp_of_mean<T>))                       \
    KERNEL(log_softmax_vjp, "(n),(n)->(n)", "TTT", (log_softmax_derivative<LogSoftmaxVjp, T>))                 \
    KERNEL(log_softmax_jvp, "(n),(n)->(n)", "TTT", (log_softmax_derivative<LogSoftmaxJvp, T>))                 \
    KERNEL(jacobian, "(n),()->(n,n)", "TdT", (jacobian<T>))                                                    \
    KERNEL(log_sum, "(n)->(),(),()", "TTTT", (log_sum<T>))                                                     \
    KERNEL(cross_entropy, "(n),(),()->()", "TqdT", (cross_entropy<T, 1>))                                      \
    KERNEL(cross_entropy_grad, "(n),(),()->(),(n)", "TqdTT", (cross_entropy<T, 2>))                            \
    KERNEL(cross_entropy_grad_hess, "(n),(),(),()->(),(n),(n)", "TqddTTT", (cross_entropy<T, 3>))              \
    KERNEL(target_cross_entropy, "(n),(n),(),(),(),()->()", "TTqdddT", (target_cross_entropy<T, 1>))           \
    KERNEL(target_cross_entropy_grad, "(n),(n),(),(),(),()->(),(n)", "TTqdddTT", (target_cross_entropy<T, 2>)) \
    KERNEL(target_cross_entropy_grad_hess, "(n),(n),(),(),(),(),()->(),(n),(n)", "TTqddddTTT",                 \
           (target_cross_entropy<T, 3>))                                                                       \
    KERNEL(focal_loss, "(n),(),()->(),()", "Tqddd", (focal_loss<T>))                                           \
    KERNEL(entropy, "(n)->()", "TT", (entropy<T, false>))                                                      \
    KERNEL(entropy_grad, "(n)->(),(n)", "TTT", (entropy<T, true>))                                             \
    KERNEL(kl_divergence, "(n),(n)->()", "TTT", (divergence<T, false>))                                        \
    KERNEL(kl_divergence_grad, "(n),(n)->(),(n),(n)", "TTTTT", (divergence<T, true>))                          \
    KERNEL(max_and_rest, "(n)->(),(),()", "Tddd", (max_and_rest<T>))                                           \
    KERNEL(state, "(n)->(),(),(),(),()", "Tddddd", (state<T>))                                                 \
    KERNEL(softmax_of_state, "(n),(),(),()->(n)", "TdddT", (of_state<SoftmaxOfState, T>))                      \
    KERNEL(log_softmax_of_state, "(n),(),(),()->(n)", "TdddT", (of_state<LogSoftmaxOfState, T>))               \
    KERNEL(scores, "(n),(),()->(),(),(),(),()", "Tqdddddd", (scores<T>))                                       \
    KERNEL(temperature_slope, "(n),(),()->(),(),()", "Tqdddd", (temperature_slope<T>))                         \
    KERNEL(merge_states, "(m),(m),(m),(m),(m)->(),(),(),(),()", "dddddddddd", (merge_states))

typedef void (*Loop)(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void* data);

namespace {

struct Kernel {
    const char *name, *text;  // of the signature
    const char* types;
    Signature signature;
};

#define SOFTGRAD_ENTRY(name, signature, types, loop) {#name, signature, types, Signature(signature)},
constexpr Kernel KERNELS[] = {SOFTGRAD_KERNELS(SOFTGRAD_ENTRY)};
#undef SOFTGRAD_ENTRY

constexpr int KERNEL_COUNT = sizeof(KERNELS) / sizeof(*KERNELS);

}  // namespace

// The dtypes that a kernel has a loop for. NumPy has no bfloat16 of its own: it comes as unsigned integers of its bits.
enum RowType { BFLOAT16, FLOAT16, FLOAT32, FLOAT64, ROW_TYPES };

// The loops of one level, in the order of the table.
struct Loops {
    Loop of[KERNEL_COUNT][ROW_TYPES];
};

extern "C" {
extern const Loops softgrad_loops_v2, softgrad_loops_v3, softgrad_loops_v4, softgrad_loops_neon;
}
