// A kernel as a plain function. NumPy's way to a loop costs several times what the loop does on ten numbers, and arrays
// that are laid out as the loop wants them need none of it. Any other call is answered with NotImplemented, for the
// caller to make in another way: nothing here raises an error over an argument.
#pragma once

#include <cstring>

#include "module/gil.h"

namespace {

struct Direct {
    const Loop* plain;
    const Loop* where;  // with a mask, too, and where the kernel takes one, a temperature for all rows; none: null
    int inputs;
    bool takes_temperature;
    bool reduces;    // the result is one number for each row
    npy_intp below;  // more entries may be worth more than one thread
};

// The options of a call.
struct Options {
    PyObject* out = nullptr;         // none: a new array
    PyArrayObject* where = nullptr;  // none: every entry is valid
    double temperature = 1;
};

// Whether all operands are of the row's dtype, the inputs slices, and the one result a slice or a number.
bool is_direct(const Kernel& kernel) {
    const Signature& signature = kernel.signature;
    if (signature.outputs() != 1 || std::strspn(kernel.types, "T") != std::strlen(kernel.types)) return false;
    for (int k = 0; k < signature.inputs; ++k)
        if (signature.dimensions(k) != 1) return false;
    return signature.dimensions(signature.inputs) <= 1;
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

// Whether a loop may write to `out`: instead of an operand, entry by entry, or apart from all of them.
bool takes_result(const Direct& direct, PyObject* const* inputs, const Options& options) {
    PyObject* const out = options.out;
    PyArrayObject* const result = (PyArrayObject*)out;
    PyArrayObject* const x = (PyArrayObject*)inputs[0];
    if (!is_plain(out) || !PyArray_ISWRITEABLE(result)) return false;
    if (!is_alike(x, result, PyArray_NDIM(x) - direct.reduces)) return false;
    for (int i = 0; i < direct.inputs; ++i) {
        PyArrayObject* const input = (PyArrayObject*)inputs[i];
        const bool in_place = !direct.reduces && PyArray_BYTES(input) == PyArray_BYTES(result);
        if (!in_place && !is_disjoint(input, result)) return false;
    }
    return !options.where || is_disjoint(options.where, result);
}

bool is_last_axis(PyObject* axis, int ndim) {
    if (!PyLong_CheckExact(axis)) return false;
    int overflow;
    const long value = PyLong_AsLongAndOverflow(axis, &overflow);
    return !overflow && (value == -1 || value == ndim - 1);
}

// Whether a mask has an entry for each of x, laid out alike. (Others are NumPy's to broadcast.)
bool is_mask_of(PyArrayObject* x, PyObject* object) {
    if (!PyArray_CheckExact(object)) return false;
    PyArrayObject* const mask = (PyArrayObject*)object;
    return PyArray_TYPE(mask) == NPY_BOOL && PyArray_ISCARRAY_RO(mask) && PyArray_NDIM(mask) == PyArray_NDIM(x) &&
           PyArray_CompareLists(PyArray_DIMS(x), PyArray_DIMS(mask), PyArray_NDIM(x));
}

// The options, if they say nothing but the last axis, where the result goes, a mask and a temperature.
bool read_options(const Direct& direct, PyArrayObject* x, PyObject* names, PyObject* const* values, Options& options) {
    const Py_ssize_t count = names ? PyTuple_GET_SIZE(names) : 0;
    for (Py_ssize_t i = 0; i < count; ++i) {
        PyObject* const value = values[i];
        const auto is = [&](const char* name) {
            return PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), name) == 0;
        };
        if (is("out")) {
            options.out = value == Py_None ? nullptr : value;
        } else if (is("where") && direct.where) {
            if (value != Py_None && !is_mask_of(x, value)) return false;
            options.where = value == Py_None ? nullptr : (PyArrayObject*)value;
        } else if (is("temperature") && direct.takes_temperature && PyFloat_Check(value)) {
            options.temperature = PyFloat_AS_DOUBLE(value);
            if (!(options.temperature >= 0)) return false;
        } else if (!is("axis") || !is_last_axis(value, PyArray_NDIM(x))) {
            return false;
        }
    }
    return true;
}

// The operands of a loop as they are handed over: data, then the steps of their rows and those of their entries.
class Operands {
   public:
    char* data[MOST_OPERANDS];
    npy_intp steps[2 * MOST_OPERANDS];

    // Of an operand with one number for each row, or for all of them, `entry` is no step.
    void add(void* first, npy_intp row, npy_intp entry = -1) {
        data[count_] = (char*)first;
        steps[count_++] = row;
        if (entry >= 0) entries_[slices_++] = entry;
    }
    void close() { std::memcpy(steps + count_, entries_, slices_ * sizeof *entries_); }

   private:
    int count_ = 0, slices_ = 0;
    npy_intp entries_[MOST_OPERANDS];
};

// The loop over arrays that were checked; false with an error set where memory ran out.
bool run_loop(const Direct& direct, PyObject* const* inputs, const Options& options, PyArrayObject* result) {
    PyArrayObject* const x = (PyArrayObject*)inputs[0];
    const int last = PyArray_NDIM(x) - 1, type = PyArray_TYPE(x);
    const npy_intp n = PyArray_DIM(x, last), rows = PyArray_MultiplyList(PyArray_DIMS(x), last);
    if (rows == 0) return true;  // as NumPy does: a loop of no rows is not run
    const npy_intp entry = PyArray_ITEMSIZE(x);
    const npy_intp dims[] = {rows, n};
    const bool is_plain_call = !options.where && options.temperature == 1;
    bool everything = true;
    double temperature = options.temperature;
    Operands operands;
    for (int i = 0; i < direct.inputs; ++i) operands.add(PyArray_DATA((PyArrayObject*)inputs[i]), n * entry, entry);
    if (options.where)
        operands.add(PyArray_DATA(options.where), n, 1);
    else if (!is_plain_call)
        operands.add(&everything, 0, 0);
    if (!is_plain_call && direct.takes_temperature) operands.add(&temperature, 0);
    if (direct.reduces)
        operands.add(PyArray_DATA(result), entry);
    else
        operands.add(PyArray_DATA(result), n * entry, entry);
    operands.close();
    const RowType row = type == NPY_DOUBLE ? FLOAT64 : type == NPY_FLOAT ? FLOAT32 : FLOAT16;
    run_unlocked(operands.data, dims, operands.steps, (void*)(is_plain_call ? direct.plain : direct.where)[row]);
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
    Options options;
    if (!read_options(direct, x, names, args + count, options)) Py_RETURN_NOTIMPLEMENTED;
    PyObject* const out = options.out;
    if (out && !takes_result(direct, args, options)) Py_RETURN_NOTIMPLEMENTED;
    // A writeable array may still have a warning to give: the one over the result of np.broadcast_arrays.
    if (out && PyArray_FailUnlessWriteable((PyArrayObject*)out, "out") < 0) return nullptr;
    PyObject* const result =
        out ? Py_NewRef(out) : PyArray_SimpleNew(ndim - direct.reduces, PyArray_DIMS(x), PyArray_TYPE(x));
    if (!result) return nullptr;
    if (!run_loop(direct, args, options, (PyArrayObject*)result)) {
        Py_DECREF(result);
        return nullptr;
    }
    return out ? result : PyArray_Return((PyArrayObject*)result);
}

#define SOFTGRAD_METHOD(name, signature, types, loop)                              \
    {#name, (PyCFunction)(void (*)())call_directly, METH_FASTCALL | METH_KEYWORDS, \
     "The kernel on plain arrays, with axis, out, where and temperature at most; NotImplemented for any other call."},
PyMethodDef DIRECT_METHODS[] = {SOFTGRAD_KERNELS(SOFTGRAD_METHOD)};
#undef SOFTGRAD_METHOD

// The place in the table of the kernel with this name and ending; -1 if there is none.
int find_kernel(const char* name, const char* ending) {
    const size_t length = std::strlen(name);
    for (int i = 0; i < KERNEL_COUNT; ++i)
        if (std::strncmp(KERNELS[i].name, name, length) == 0 && std::strcmp(KERNELS[i].name + length, ending) == 0)
            return i;
    return -1;
}

void free_direct(PyObject* capsule) { PyMem_Free(PyCapsule_GetPointer(capsule, nullptr)); }

// The function of the kernel at `index` in the table, for arrays of fewer than `below` entries.
PyObject* make_direct(int index, const Loops& loops, npy_intp below) {
    const Kernel& kernel = KERNELS[index];
    const int where = find_kernel(kernel.name, "_where");
    Direct* const direct = (Direct*)PyMem_Malloc(sizeof(Direct));
    if (!direct) return PyErr_NoMemory();
    const bool reduces = kernel.signature.dimensions(kernel.signature.inputs) == 0;
    const bool takes_temperature = where >= 0 && std::strchr(KERNELS[where].types, 'd');
    *direct = {loops.of[index],
               where < 0 ? nullptr : loops.of[where],
               kernel.signature.inputs,
               takes_temperature,
               reduces,
               below};
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
