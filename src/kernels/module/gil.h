// Other threads go on while a loop runs.
#pragma once

#include <cfenv>

#include "module/table.h"

namespace {

// Clears this thread's floating-point exceptions: NaN, inf and underflow are expected, so no warning. (NumPy turns the
// flags into warnings. Testing them is cheap, clearing is not.)
void clear_flags() {
    constexpr int EXPECTED = FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID;
    if (std::fetestexcept(EXPECTED)) std::feclearexcept(EXPECTED);
}

// Loops over fewer entries keep the GIL: they are over before another thread could have taken it.
constexpr npy_intp RELEASE_FROM = 1024;

// This thread's state if it holds the GIL. (PyGILState_Check says yes to every thread where there are subinterpreters.)
PyThreadState* holder_of_gil() {
#if PY_VERSION_HEX >= 0x030d0000
    PyThreadState* const holder = PyThreadState_GetUnchecked();
#else
    PyThreadState* const holder = _PyThreadState_UncheckedGet();
#endif
    return holder == PyGILState_GetThisThreadState() ? holder : nullptr;
}

// A loop without the GIL. NumPy gives it up for gufuncs, but only where there are many results, which the sums of a few
// long rows are not.
void run_unlocked(char** args, const npy_intp* dims, const npy_intp* steps, void* loop) {
    PyThreadState* const released =
        dims[0] * dims[1] >= RELEASE_FROM && holder_of_gil() ? PyEval_SaveThread() : nullptr;
    ((Loop)loop)(args, dims, steps, nullptr);
    clear_flags();
    if (released) PyEval_RestoreThread(released);
}

}  // namespace
