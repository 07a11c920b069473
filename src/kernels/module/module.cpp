// The extension module: the levels that this machine can run, and the kernels of a level as Python functions.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>
#include <numpy/ufuncobject.h>

#include <type_traits>

#include "module/caches.h"
#include "module/direct.h"
#include "module/levels.h"
#include "module/ufuncs.h"

static_assert(std::is_same<npy_intp, ptrdiff_t>::value, "loops take dimensions and steps as ptrdiff_t");

extern "C" const Boundaries softgrad_boundaries = boundaries_here();

extern "C" void softgrad_no_memory() {
    const PyGILState_STATE state = PyGILState_Ensure();
    PyErr_NoMemory();
    PyGILState_Release(state);
}

namespace {

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

// Put `value`, which this takes over, into `found`; false with an error set where that fails or there is no value.
bool put(PyObject* found, const char* name, PyObject* value) {
    const bool done = value && PyDict_SetItemString(found, name, value) == 0;
    Py_XDECREF(value);
    return done;
}

const Loops* loops_of(const char* level) {
    const Loops* const loops = find_loops(level);
    if (!loops) PyErr_Format(PyExc_ValueError, "this machine has no level '%s'", level);
    return loops;
}

PyObject* ufuncs(PyObject*, PyObject* level) {
    const char* const name = PyUnicode_AsUTF8(level);
    const Loops* const loops = name ? loops_of(name) : nullptr;
    PyObject* found = loops ? PyDict_New() : nullptr;
    for (int i = 0; found && i < KERNEL_COUNT; ++i)
        if (!put(found, KERNELS[i].name, make_ufunc(KERNELS[i], loops->of[i]))) Py_CLEAR(found);
    return found;
}

PyObject* direct(PyObject*, PyObject* args) {
    const char* level;
    Py_ssize_t below;
    if (!PyArg_ParseTuple(args, "sn", &level, &below)) return nullptr;
    const Loops* const loops = loops_of(level);
    PyObject* found = loops ? PyDict_New() : nullptr;
    for (int i = 0; found && i < KERNEL_COUNT; ++i)
        if (is_direct(KERNELS[i]) && !put(found, KERNELS[i].name, make_direct(i, *loops, below))) Py_CLEAR(found);
    return found;
}

PyObject* boundaries(PyObject*, PyObject*) {
    return Py_BuildValue("nn", softgrad_boundaries.scratch_up_to, softgrad_boundaries.nontemporal_from);
}

PyMethodDef METHODS[] = {
    {"levels", levels, METH_NOARGS, "The instruction-set levels that this machine can run, best first."},
    {"ufuncs", ufuncs, METH_O, "The gufuncs of a level, by name."},
    {"direct", direct, METH_VARARGS,
     "The kernels of a level that plain arrays below so many bytes go to straight, by name."},
    {"boundaries", boundaries, METH_NOARGS,
     "The most bytes of a row that keeps its exponentials, and the least of a result that passes the caches by."},
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
    PyModuleDef_HEAD_INIT,
    "softgrad._kernels",
    "softgrad's native kernels.",
    0,
    METHODS,
    SLOTS,
    nullptr,
    nullptr,
    nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__kernels() { return PyModuleDef_Init(&MODULE); }
