// One instruction-set level: compiled once per level, with that level's flags and SOFTGRAD_LEVEL naming its table.
#include "module/table.h"

#include "kernels/states.h"
#include "kernels/signed_logsumexp.h"

namespace {

#define SOFTGRAD_LOOP(name, signature, inputs, outputs, types, loop) \
    template <class T> /* as in memory */                            \
    constexpr Loop name##_loop() {                                   \
        return SOFTGRAD_UNWRAP loop;                                 \
    }
#define SOFTGRAD_UNWRAP(...) __VA_ARGS__
SOFTGRAD_KERNELS(SOFTGRAD_LOOP)

}  // namespace

#define SOFTGRAD_ROW(name, signature, inputs, outputs, types, loop) \
    {name##_loop<Brain>(), name##_loop<Half>(), name##_loop<float>(), name##_loop<double>()},
extern "C" const Loops SOFTGRAD_LEVEL = {{SOFTGRAD_KERNELS(SOFTGRAD_ROW)}};
