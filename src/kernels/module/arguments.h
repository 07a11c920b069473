// What a call on plain arrays says, read and checked. Anything that is not read here is left to the caller: `false`, no
// error set.
#pragma once

#include <cmath>
#include <cstring>

#include "module/table.h"

namespace {

constexpr int MOST_RESULTS = 3;

// The options of a call; each is as if not given until it is read.
struct Options {
    PyObject* axis = nullptr;           // none: the last
    PyObject* outs[MOST_RESULTS] = {};  // none: a new array
    PyObject* sample_weight = nullptr;  // none: every row counts once
    PyObject* weight = nullptr;         // of classes; none: every class counts once
    PyArrayObject* where = nullptr;     // none: every entry is valid
    double temperature = 1, smoothing = 0, z_loss = 0;
    PyArrayObject* temperatures = nullptr;  // one for each row instead
    bool keepdims = false;
    bool alone = false;  // one thread was asked for
    bool ignores = false;
    npy_int64 ignore_index = 0;
};

// An array as rows along one of its axes: `outer` times `inner` of them, those of an inner group side by side.
struct Slices {
    npy_intp outer, n, inner;
    int axis;
    npy_intp rows() const { return outer * inner; }
};

// Whether an object is an array as loops take it: NumPy's own class and dtype, aligned, one row after the other.
bool is_plain(PyObject* object) {
    if (!PyArray_CheckExact(object)) return false;
    PyArrayObject* const array = (PyArrayObject*)object;
    const int type = PyArray_TYPE(array);
    return (type == NPY_FLOAT || type == NPY_DOUBLE || type == NPY_HALF) && PyArray_ISCARRAY_RO(array) &&
           !PyDataType_METADATA(PyArray_DESCR(array));
}

bool has_shape(PyArrayObject* array, const npy_intp* dims, int ndim) {
    return PyArray_NDIM(array) == ndim && PyArray_CompareLists(PyArray_DIMS(array), dims, ndim);
}

bool is_alike(PyArrayObject* a, PyArrayObject* b) {
    return PyArray_TYPE(a) == PyArray_TYPE(b) && has_shape(b, PyArray_DIMS(a), PyArray_NDIM(a));
}

// The memory that the entries of an array lie in.
struct Extent {
    const char *begin, *end;

    explicit Extent(PyArrayObject* array) : begin(PyArray_BYTES(array)), end(begin + PyArray_ITEMSIZE(array)) {
        for (int axis = 0; axis < PyArray_NDIM(array); ++axis) {
            const npy_intp last = (PyArray_DIM(array, axis) - 1) * PyArray_STRIDE(array, axis);
            (last < 0 ? begin : end) += last;
        }
    }
};

bool is_disjoint(PyArrayObject* a, PyArrayObject* b) {
    const Extent one(a), other(b);
    return PyArray_SIZE(a) == 0 || PyArray_SIZE(b) == 0 || one.end <= other.begin || other.end <= one.begin;
}

bool read_integer(PyObject* object, npy_int64& value) {
    if (!PyLong_CheckExact(object)) return false;
    int overflow;
    value = PyLong_AsLongLongAndOverflow(object, &overflow);
    return !overflow;
}

bool read_number(PyObject* object, double& value) {
    npy_int64 integer;
    if (PyFloat_Check(object))
        value = PyFloat_AS_DOUBLE(object);
    else if (read_integer(object, integer))
        value = (double)integer;
    else
        return false;
    return true;
}

bool read_flag(PyObject* object, bool& value) {
    value = object == Py_True;
    return PyBool_Check(object);
}

// The rows of x along an axis: an integer, or none for the last one.
bool read_axis(PyArrayObject* x, PyObject* axis, Slices& slices) {
    const int ndim = PyArray_NDIM(x);
    npy_int64 value = -1;
    if (axis && !read_integer(axis, value)) return false;
    if (value < -ndim || value >= ndim) return false;
    const int place = (int)(value < 0 ? value + ndim : value);
    const npy_intp* const dims = PyArray_DIMS(x);
    slices = {PyArray_MultiplyList(dims, place), dims[place], PyArray_MultiplyList(dims + place + 1, ndim - place - 1),
              place};
    return true;
}

// Whether `object` is an array with a number for each row.
bool is_of_rows(PyObject* object, PyArrayObject* x, int axis) {
    if (!PyArray_CheckExact(object)) return false;
    npy_intp dims[NPY_MAXDIMS];
    for (int k = 0, place = 0; k < PyArray_NDIM(x); ++k)
        if (k != axis) dims[place++] = PyArray_DIM(x, k);
    return PyArray_ISCARRAY_RO((PyArrayObject*)object) && has_shape((PyArrayObject*)object, dims, PyArray_NDIM(x) - 1);
}

// Whether an array of bool is a mask of x, broadcast as NumPy does.
bool is_mask_of(PyArrayObject* x, PyObject* object) {
    if (!PyArray_CheckExact(object) || PyArray_TYPE((PyArrayObject*)object) != NPY_BOOL) return false;
    PyArrayObject* const mask = (PyArrayObject*)object;
    const int missing = PyArray_NDIM(x) - PyArray_NDIM(mask);
    if (missing < 0) return false;
    for (int axis = missing; axis < PyArray_NDIM(x); ++axis) {
        const npy_intp size = PyArray_DIM(mask, axis - missing);
        if (size != 1 && size != PyArray_DIM(x, axis)) return false;
    }
    return true;
}

// The step between neighbours along the axes of x from `begin` to `end`, taken as one, of an array that is broadcast
// to it; false where there is no single one.
bool read_step(PyArrayObject* x, PyArrayObject* array, int begin, int end, npy_intp& step) {
    const int missing = PyArray_NDIM(x) - PyArray_NDIM(array);
    npy_intp next = 0;
    step = 0;
    for (int axis = end - 1, first = 1; axis >= begin; --axis) {
        const npy_intp size = PyArray_DIM(x, axis);
        if (size == 1) continue;
        const bool is_repeated = axis < missing || PyArray_DIM(array, axis - missing) == 1;
        const npy_intp own = is_repeated ? 0 : PyArray_STRIDE(array, axis - missing);
        if (first)
            step = own;
        else if (own != next)
            return false;
        first = 0;
        next = own * size;
    }
    return true;
}

// The steps of a mask to the next entry, the next row and the next group of rows.
bool read_mask_steps(PyArrayObject* x, PyArrayObject* mask, const Slices& slices, npy_intp* steps) {
    npy_intp before, after;
    if (!read_step(x, mask, slices.axis, slices.axis + 1, steps[0]) || !read_step(x, mask, 0, slices.axis, before) ||
        !read_step(x, mask, slices.axis + 1, PyArray_NDIM(x), after))
        return false;
    steps[1] = slices.inner == 1 ? before : after;
    steps[2] = before;
    return true;
}

// Whether an array holds a temperature of at least 0 for each row.
bool are_temperatures(PyArrayObject* x, PyArrayObject* array, const Slices& slices) {
    if (PyArray_NDIM(array) == 0 || PyArray_TYPE(array) != NPY_DOUBLE) return false;
    if (!is_of_rows((PyObject*)array, x, slices.axis)) return false;
    const double* const values = (const double*)PyArray_DATA(array);
    bool valid = true;
    for (npy_intp i = 0; i < slices.rows(); ++i) valid &= values[i] >= 0;
    return valid;
}

// What a kernel takes besides its operands.
struct Accepted {
    bool where, temperature, workers, keepdims, labels;
    const char* outs[MOST_RESULTS];  // the names of the options that take the results
};

bool read_option(const Accepted& accepted, PyArrayObject* x, PyObject* name, PyObject* value, Options& options) {
    const auto is = [&](const char* text) { return PyUnicode_CompareWithASCIIString(name, text) == 0; };
    const bool is_none = value == Py_None;
    if (is("axis")) {
        options.axis = value;
        return !is_none;  // all axes
    }
    for (int i = 0; i < MOST_RESULTS && accepted.outs[i]; ++i)
        if (is(accepted.outs[i])) {
            options.outs[i] = is_none ? nullptr : value;
            return true;
        }
    if (is("where") && accepted.where) {
        options.where = is_none ? nullptr : (PyArrayObject*)value;
        return is_none || is_mask_of(x, value);
    }
    if (is("temperature") && accepted.temperature) {
        if (!PyArray_CheckExact(value)) return read_number(value, options.temperature) && options.temperature >= 0;
        options.temperatures = (PyArrayObject*)value;
        return true;
    }
    if (is("workers") && accepted.workers) {
        npy_int64 workers = 0;
        if (!is_none && !read_integer(value, workers)) return false;
        options.alone = workers == 1;
        return is_none || options.alone;
    }
    if (is("keepdims") && accepted.keepdims) return read_flag(value, options.keepdims);
    if (is("sample_weight") && accepted.labels) {
        options.sample_weight = is_none ? nullptr : value;
        return true;
    }
    if (is("weight") && accepted.labels) {
        options.weight = is_none ? nullptr : value;
        return true;
    }
    if (is("label_smoothing") && accepted.labels)
        return read_number(value, options.smoothing) && options.smoothing >= 0 && options.smoothing <= 1;
    if (is("z_loss") && accepted.labels)
        return read_number(value, options.z_loss) && options.z_loss >= 0 && options.z_loss < INFINITY;
    if (is("ignore_index") && accepted.labels) {
        options.ignores = !is_none;
        return is_none || read_integer(value, options.ignore_index);
    }
    return false;
}

bool read_options(const Accepted& accepted, PyArrayObject* x, PyObject* names, PyObject* const* values,
                  Options& options) {
    const Py_ssize_t count = names ? PyTuple_GET_SIZE(names) : 0;
    for (Py_ssize_t i = 0; i < count; ++i)
        if (!read_option(accepted, x, PyTuple_GET_ITEM(names, i), values[i], options)) return false;
    return true;
}

// The labels of rows as kernels take them, and what multiplies the loss of each: its weight, 0 where it is ignored.
class Labels {
   public:
    Labels() = default;
    Labels(const Labels&) = delete;
    ~Labels() { PyMem_Free(labels_); }

    // Whether `object` holds a class for each row, and the options a weight; one label may be a Python integer.
    bool read(PyObject* object, PyArrayObject* x, const Slices& slices, const Options& options) {
        const npy_intp rows = slices.rows();
        labels_ = (npy_int64*)PyMem_Malloc((rows ? rows : 1) * 2 * sizeof(npy_int64));
        if (!labels_ || slices.n == 0) return false;
        if (options.ignores || options.sample_weight || options.weight) weights_ = (double*)(labels_ + rows);
        return read_labels(object, x, slices, options) &&
               (!options.sample_weight || multiply(options.sample_weight, x, slices)) &&
               (!options.weight || multiply_by_class(options.weight, slices));
    }

    npy_int64* labels() { return labels_; }
    // One for each row; null: all are 1.
    double* weights() { return weights_; }

   private:
    npy_int64* labels_ = nullptr;
    double* weights_ = nullptr;

    bool read_labels(PyObject* object, PyArrayObject* x, const Slices& slices, const Options& options) {
        npy_int64 one;
        if (PyArray_NDIM(x) == 1 && read_integer(object, one)) return copy(&one, slices, options);
        if (!is_of_rows(object, x, slices.axis)) return false;
        const void* const data = PyArray_DATA((PyArrayObject*)object);
        switch (PyArray_TYPE((PyArrayObject*)object)) {
            case NPY_INT8:
                return copy((const npy_int8*)data, slices, options);
            case NPY_UINT8:
                return copy((const npy_uint8*)data, slices, options);
            case NPY_INT16:
                return copy((const npy_int16*)data, slices, options);
            case NPY_INT32:
                return copy((const npy_int32*)data, slices, options);
            case NPY_INT64:
                return copy((const npy_int64*)data, slices, options);
            default:
                return false;  // the rarer types
        }
    }
    template <class Integer>
    bool copy(const Integer* given, const Slices& slices, const Options& options) {
        npy_uint64 largest = 0;
        for (npy_intp i = 0; i < slices.rows(); ++i) {
            const npy_int64 label = (npy_int64)given[i];
            const bool ignored = options.ignores && label == options.ignore_index;
            labels_[i] = ignored ? 0 : label;
            if (weights_) weights_[i] = ignored ? 0 : 1;
            largest = (npy_uint64)labels_[i] > largest ? (npy_uint64)labels_[i] : largest;  // negative ones are large
        }
        return largest < (npy_uint64)slices.n;
    }

    bool multiply(PyObject* weight, PyArrayObject* x, const Slices& slices) {
        double one;
        if (read_number(weight, one)) return multiply(&one, 0, slices.rows());
        if (!is_of_rows(weight, x, slices.axis)) return false;
        const void* const data = PyArray_DATA((PyArrayObject*)weight);
        switch (PyArray_TYPE((PyArrayObject*)weight)) {
            case NPY_FLOAT:
                return multiply((const float*)data, 1, slices.rows());
            case NPY_DOUBLE:
                return multiply((const double*)data, 1, slices.rows());
            default:
                return false;
        }
    }
    template <class Real>
    bool multiply(const Real* given, npy_intp step, npy_intp rows) {
        bool valid = true;
        for (npy_intp i = 0; i < rows; ++i) {
            const double weight = given[i * step];
            valid &= is_weight(weight);
            weights_[i] = weights_[i] == 0 ? 0 : weight;
        }
        return valid;
    }
    static bool is_weight(double weight) { return weight >= 0 && weight - weight == 0; }

    // The weight of each row by that of its class, of which there are n.
    bool multiply_by_class(PyObject* weight, const Slices& slices) {
        if (!PyArray_CheckExact(weight)) return false;
        PyArrayObject* const array = (PyArrayObject*)weight;
        if (!PyArray_ISCARRAY_RO(array) || !has_shape(array, &slices.n, 1)) return false;
        const void* const data = PyArray_DATA(array);
        switch (PyArray_TYPE(array)) {
            case NPY_FLOAT:
                return multiply_by_class((const float*)data, slices);
            case NPY_DOUBLE:
                return multiply_by_class((const double*)data, slices);
            default:
                return false;
        }
    }
    template <class Real>
    bool multiply_by_class(const Real* given, const Slices& slices) {
        bool valid = true;
        for (npy_intp j = 0; j < slices.n; ++j) valid &= is_weight(given[j]);
        for (npy_intp i = 0; valid && i < slices.rows(); ++i) weights_[i] *= given[labels_[i]];
        return valid;
    }
};

}  // namespace
