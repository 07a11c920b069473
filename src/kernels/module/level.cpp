// One instruction-set level: compiled once per level, with that level's flags and SOFTGRAD_LEVEL naming its table.
#include "kernels/divergence.h"
#include "kernels/entmax.h"
#include "kernels/entropy.h"
#include "kernels/focal_loss.h"
#include "kernels/jacobian.h"
#include "kernels/log_softmax.h"
#include "kernels/log_softmax_vjp.h"
#include "kernels/logsumexp.h"
#include "kernels/losses.h"
#include "kernels/scores.h"
#include "kernels/signed_logsumexp.h"
#include "kernels/softmax.h"
#include "kernels/softmax_vjp.h"
#include "kernels/sparse.h"
#include "kernels/states.h"
#include "kernels/target_losses.h"
#include "module/table.h"

namespace {

#define SOFTGRAD_UNWRAP(...) __VA_ARGS__
#define SOFTGRAD_LOOP(name, signature, types, loop)                                       \
    template <class T> /* as in memory */                                                 \
    void name##_loop(char** args, const ptrdiff_t* dims, const ptrdiff_t* steps, void*) { \
        static constexpr Signature SIGNATURE(signature);                                  \
        SOFTGRAD_UNWRAP loop(Call{SIGNATURE, args, dims, steps});                         \
    }
SOFTGRAD_KERNELS(SOFTGRAD_LOOP)

}  // namespace

#define SOFTGRAD_ROW(name, signature, types, loop) \
    {name##_loop<Brain>, name##_loop<Half>, name##_loop<float>, name##_loop<double>},
extern "C" const Loops SOFTGRAD_LEVEL = {{SOFTGRAD_KERNELS(SOFTGRAD_ROW)}};
