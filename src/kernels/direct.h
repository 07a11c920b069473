// A kernel as a plain function. NumPy's way to a loop costs several times what the loop does on ten numbers, and arrays
// that lie as the loop wants them need none of it. Any other call is answered with NotImplemented, for the caller to make
// in another way: nothing here raises an error over an argument.
#pragma once

#include <cstring>

#include "gil.h"

namespace {

struct Direct {
    Loop half, single, wide;  // float16, float32, float64
    int inputs;
    bool reduces;    // the result is one number for each row
    npy_intp below;  // more entries may be worth more than one thread
};

// Whether all operands are of the row's dtype, the inputs slices, and the one result a slice or a number.
bool is_direct(const Kernel& kernel) {
    if (kernel.outputs != 1 || std::strspn(kernel.types, "T") != std::strlen(kernel.types)) return false;
    const char* at = kernel.signature;
    for (int i = 0; i < kernel.inputs; ++i, at += std::strlen("(n),"))
        if (std::strncmp(at, "(n)", 3) != 0) return false;
    return std::strcmp(at, ">(n)") == 0 || std::strcmp(at, ">()") == 0;
}

// Whether an object is an array as loops take it: NumPy's own class and dtype, aligned, one row after the other.
bool is_plain(PyObject* object) {
    if (!PyArray_CheckExact(object)) return false;
    PyArrayObject* const array = (PyArrayObject*)object;
    const int type = PyArray_TYPE(array);
    return (type == NPY_FLOAT || type == NPY_DOUBLE || type == NPY_HALF) && PyArray_ISCARRAY_RO(array) &&
           !PyDataType_METADATA(PyArray_DESCR(array));
}

bool is_alike(PyArrayObject* a, PyArrayObject* b, int ndim) {
    return PyArray_TYPE(a) == PyArray_TYPE(b) && PyArray_NDIM(b) == ndim &&
           PyArray_CompareLists(PyArray_DIMS(a), PyArray_DIMS(b), ndim);
}

bool is_disjoint(PyArrayObject* a, PyArrayObject* b) {
    return PyArray_BYTES(a) + PyArray_NBYTES(a) <= PyArray_BYTES(b) ||
           PyArray_BYTES(b) + PyArray_NBYTES(b) <= PyArray_BYTES(a);
}

// Whether a loop may write to `out`: in place of an operand, entry by entry, or apart from all of them.
bool takes_result(const Direct& direct, PyObject* out, PyObject* const* inputs) {
    PyArrayObject* const result = (PyArrayObject*)out;
    PyArrayObject* const x = (PyArrayObject*)inputs[0];
    if (!is_plain(out) || !PyArray_ISWRITEABLE(result)) return false;
    if (!is_alike(x, result, PyArray_NDIM(x) - direct.reduces)) return false;
    for (int i = 0; i < direct.inputs; ++i) {
        PyArrayObject* const input = (PyArrayObject*)inputs[i];
        const bool in_place = !direct.reduces && PyArray_BYTES(input) == PyArray_BYTES(result);
        if (!in_place && !is_disjoint(input, result)) return false;
    }
    return true;
}

bool is_last_axis(PyObject* axis, int ndim) {
    if (!PyLong_CheckExact(axis)) return false;
    int overflow;
    const long value = PyLong_AsLongAndOverflow(axis, &overflow);
    return !overflow && (value == -1 || value == ndim - 1);
}

// Whether the options say nothing but the last axis and where the result goes: to `out`, none for a new array.
bool read_options(PyObject* names, PyObject* const* values, int ndim, PyObject** out) {
    const Py_ssize_t count = names ? PyTuple_GET_SIZE(names) : 0;
    for (Py_ssize_t i = 0; i < count; ++i) {
        PyObject* const name = PyTuple_GET_ITEM(names, i);
        if (PyUnicode_CompareWithASCIIString(name, "out") == 0)
            *out = values[i] == Py_None ? nullptr : values[i];
        else if (PyUnicode_CompareWithASCIIString(name, "axis") != 0 || !is_last_axis(values[i], ndim))
            return false;
    }
    return true;
}

// The loop over arrays that were checked; false with an error set where memory ran out.
bool run_loop(const Direct& direct, PyObject* const* inputs, PyArrayObject* result) {
    PyArrayObject* const x = (PyArrayObject*)inputs[0];
    const int last = PyArray_NDIM(x) - 1, results = direct.inputs;
    const npy_intp n = PyArray_DIM(x, last), rows = PyArray_MultiplyList(PyArray_DIMS(x), last);
    if (rows == 0) return true;  // as NumPy does: a loop of no rows is not run
    const npy_intp entry = PyArray_ITEMSIZE(x);
    const npy_intp dims[] = {rows, n};
    char* data[MOST_OPERANDS];
    npy_intp steps[2 * MOST_OPERANDS];  // of the rows of each operand, then of the entries of each
    for (int i = 0; i <= results; ++i) {
        data[i] = PyArray_BYTES(i < results ? (PyArrayObject*)inputs[i] : result);
        steps[i] = i == results && direct.reduces ? entry : n * entry;
        steps[results + 1 + i] = entry;
    }
    const int type = PyArray_TYPE(x);
    const Loop loop = type == NPY_DOUBLE ? direct.wide : type == NPY_FLOAT ? direct.single : direct.half;
    run_unlocked(loop, data, dims, steps);
    return !PyErr_Occurred();
}

PyObject* call_directly(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
    const Direct& direct = *(const Direct*)PyCapsule_GetPointer(self, nullptr);
    if (count != direct.inputs || !is_plain(args[0])) Py_RETURN_NOTIMPLEMENTED;
    PyArrayObject* const x = (PyArrayObject*)args[0];
    const int ndim = PyArray_NDIM(x);
    if (ndim == 0 || PyArray_SIZE(x) >= direct.below) Py_RETURN_NOTIMPLEMENTED;
    for (int i = 1; i < direct.inputs; ++i)
        if (!is_plain(args[i]) || !is_alike(x, (PyArrayObject*)args[i], ndim)) Py_RETURN_NOTIMPLEMENTED;
    PyObject* out = nullptr;
    if (!read_options(names, args + count, ndim, &out)) Py_RETURN_NOTIMPLEMENTED;
    if (out && !takes_result(direct, out, args)) Py_RETURN_NOTIMPLEMENTED;
    // A writeable array may still have a warning to give: the one over the result of np.broadcast_arrays.
    if (out && PyArray_FailUnlessWriteable((PyArrayObject*)out, "out") < 0) return nullptr;
    PyObject* const result =
        out ? Py_NewRef(out) : PyArray_SimpleNew(ndim - direct.reduces, PyArray_DIMS(x), PyArray_TYPE(x));
    if (!result) return nullptr;
    if (!run_loop(direct, args, (PyArrayObject*)result)) {
        Py_DECREF(result);
        return nullptr;
    }
    return out ? result : PyArray_Return((PyArrayObject*)result);
}

#define SOFTGRAD_METHOD(name, signature, inputs, outputs, types, loop)                            \
    {#name, (PyCFunction)(void (*)())call_directly, METH_FASTCALL | METH_KEYWORDS,                \
     "The kernel on plain arrays, with axis and out at most; NotImplemented for any other call."},
PyMethodDef DIRECT_METHODS[] = {SOFTGRAD_KERNELS(SOFTGRAD_METHOD)};
#undef SOFTGRAD_METHOD

void free_direct(PyObject* capsule) { PyMem_Free(PyCapsule_GetPointer(capsule, nullptr)); }

// The function of the kernel at `index` in the table, for arrays of fewer than `below` entries.
PyObject* make_direct(int index, const Loop loops[ROW_TYPES], npy_intp below) {
    const Kernel& kernel = KERNELS[index];
    Direct* const direct = (Direct*)PyMem_Malloc(sizeof(Direct));
    if (!direct) return PyErr_NoMemory();
    const bool reduces = std::strstr(kernel.signature, "->()") != nullptr;
    *direct = {loops[FLOAT16], loops[FLOAT32], loops[FLOAT64], kernel.inputs, reduces, below};
    PyObject* const owner = PyCapsule_New(direct, nullptr, free_direct);
    if (!owner) {
        PyMem_Free(direct);
        return nullptr;
    }
    PyObject* const function = PyCFunction_New(&DIRECT_METHODS[index], owner);
    Py_DECREF(owner);
    return function;
}

}  // namespace
