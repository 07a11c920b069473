// The extension module: the levels that this machine can run, and the gufuncs of a level.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>
#include <numpy/ufuncobject.h>

#include <cfenv>
#include <cstring>
#include <type_traits>

#include "kernels.h"

static_assert(std::is_same<npy_intp, ptrdiff_t>::value, "loops take dimensions and steps as ptrdiff_t");

extern "C" void softgrad_no_memory() {
    const PyGILState_STATE state = PyGILState_Ensure();
    PyErr_NoMemory();
    PyGILState_Release(state);
}

extern "C" void softgrad_clear_flags() {
    constexpr int NEWS = FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID;
    if (std::fetestexcept(NEWS)) std::feclearexcept(NEWS);  // testing is cheap, clearing is not
}

namespace {

struct Level {
    const char* name;
    const Loops* loops;
    bool (*runs_here)();
};

#if defined(__x86_64__)
bool has_v2() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
bool has_v3() {
    return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
bool has_v4() {
    return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
const Level LEVELS[] = {{"x86-64-v4", &softgrad_loops_v4, has_v4},
                        {"x86-64-v3", &softgrad_loops_v3, has_v3},
                        {"x86-64-v2", &softgrad_loops_v2, has_v2}};
#else
bool always() { return true; }
const Level LEVELS[] = {{"neon", &softgrad_loops_neon, always}};
#endif

struct Kernel {
    const char *name, *signature;
    int inputs, outputs;
    const char* types;
};

#define SOFTGRAD_ENTRY(name, signature, inputs, outputs, types, loop) {#name, signature, inputs, outputs, types},
const Kernel KERNELS[] = {SOFTGRAD_KERNELS(SOFTGRAD_ENTRY)};

constexpr int MOST_OPERANDS = 8;

// NumPy keeps the pointers that a ufunc is made of, so what they point to lives as long as the ufunc: in a capsule that
// the ufunc's `obj` slot owns.
struct Tables {
    PyUFuncGenericFunction loops[2];
    void* data[2];
    char types[2 * MOST_OPERANDS];
};

char type_number(char code, char row) {
    switch (code) {
        case '?':
            return NPY_BOOL;
        case 'd':
            return NPY_DOUBLE;
        case 'q':
            return NPY_INT64;
        default:
            return row;
    }
}

void free_tables(PyObject* capsule) { PyMem_Free(PyCapsule_GetPointer(capsule, nullptr)); }

PyObject* make_ufunc(const Kernel& kernel, const Loop loops[2]) {
    Tables* tables = (Tables*)PyMem_Calloc(1, sizeof(Tables));
    if (!tables) return PyErr_NoMemory();
    const char rows[2] = {NPY_FLOAT, NPY_DOUBLE};
    const int operands = kernel.inputs + kernel.outputs;
    for (int row = 0; row < 2; ++row) {
        tables->loops[row] = (PyUFuncGenericFunction)loops[row];
        for (int i = 0; i < operands; ++i) tables->types[row * operands + i] = type_number(kernel.types[i], rows[row]);
    }
    PyObject* owner = PyCapsule_New(tables, nullptr, free_tables);
    if (!owner) {
        PyMem_Free(tables);
        return nullptr;
    }
    PyObject* ufunc =
        PyUFunc_FromFuncAndDataAndSignature(tables->loops, tables->data, tables->types, 2, kernel.inputs,
                                            kernel.outputs, PyUFunc_None, kernel.name, nullptr, 0, kernel.signature);
    if (!ufunc) {
        Py_DECREF(owner);
        return nullptr;
    }
    ((PyUFuncObject*)ufunc)->obj = owner;
    return ufunc;
}

PyObject* levels(PyObject*, PyObject*) {
    PyObject* names = PyList_New(0);
    if (!names) return nullptr;
    for (const Level& level : LEVELS) {
        if (!level.runs_here()) continue;
        PyObject* name = PyUnicode_FromString(level.name);
        if (!name || PyList_Append(names, name) < 0) {
            Py_XDECREF(name);
            Py_DECREF(names);
            return nullptr;
        }
        Py_DECREF(name);
    }
    PyObject* result = PyList_AsTuple(names);
    Py_DECREF(names);
    return result;
}

PyObject* ufuncs(PyObject*, PyObject* name) {
    const char* wanted = PyUnicode_AsUTF8(name);
    if (!wanted) return nullptr;
    for (const Level& level : LEVELS) {
        if (std::strcmp(level.name, wanted) != 0 || !level.runs_here()) continue;
        PyObject* found = PyDict_New();
        for (int i = 0; found && i < KERNEL_COUNT; ++i) {
            PyObject* ufunc = make_ufunc(KERNELS[i], level.loops->of[i]);
            if (!ufunc || PyDict_SetItemString(found, KERNELS[i].name, ufunc) < 0) Py_CLEAR(found);
            Py_XDECREF(ufunc);
        }
        return found;
    }
    return PyErr_Format(PyExc_ValueError, "this machine has no level %R", name);
}

PyMethodDef METHODS[] = {
    {"levels", levels, METH_NOARGS, "The instruction-set levels that this machine can run, best first."},
    {"ufuncs", ufuncs, METH_O, "The gufuncs of a level, by name."},
    {nullptr, nullptr, 0, nullptr},
};

int start(PyObject*) { return PyArray_ImportNumPyAPI() < 0 || PyUFunc_ImportUFuncAPI() < 0 ? -1 : 0; }

PyModuleDef_Slot SLOTS[] = {
    {Py_mod_exec, (void*)start},
#if PY_VERSION_HEX >= 0x030c0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030d0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "softgrad._kernels", "softgrad's native kernels.", 0, METHODS, SLOTS, nullptr, nullptr, nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__kernels() { return PyModuleDef_Init(&MODULE); }
