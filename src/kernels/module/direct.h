// A kernel as a plain function. NumPy's way to a loop costs several times what the loop does on ten numbers, and arrays
// that are laid out as the loop wants them need none of it. Any other call is answered with NotImplemented, for the
// caller to make in another way: nothing here raises an error over an argument.
#pragma once

#include "module/arguments.h"
#include "module/gil.h"

namespace {

struct Direct {
    const Kernel* kernel;
    const Loop* plain;
    const Loop* where;   // with a mask, too, and where the kernel takes one, a temperature for all rows; none: null
    const Loop* target;  // of labels and what is the same for every class besides; none: null
    Accepted accepted;
    int inputs;      // that a user gives: slices of the row's dtype, and labels
    npy_intp below;  // more bytes of the computed type may be worth more than one thread

    int outputs() const { return kernel->signature.outputs(); }
    bool is_slice(int k) const { return kernel->signature.dimensions(k) == 1; }
    bool is_matrix(int k) const { return kernel->signature.dimensions(k) == 2; }
    bool is_labels(int k) const { return kernel->types[k] == 'q'; }
};

// Whether a kernel takes slices of the row's dtype and, after them, one number (a temperature, 1 here) or labels with
// factors for each row; and returns slices, numbers or one matrix of that dtype.
bool is_direct(const Kernel& kernel) {
    const Signature& signature = kernel.signature;
    bool labels = false;
    int numbers = 0;
    for (int k = 0; k < signature.inputs; ++k) {
        const char type = kernel.types[k];
        if (signature.dimensions(k) == 0) {
            if (type != 'd' && !(type == 'q' && k == 1)) return false;
            numbers += type == 'd';
            labels = labels || type == 'q';
        } else if (signature.dimensions(k) > 1 || type != 'T' || numbers || labels) {
            return false;
        }
    }
    for (int k = signature.inputs; k < signature.operands; ++k)
        if (kernel.types[k] != 'T' || (signature.dimensions(k) == 2 && signature.outputs() > 1)) return false;
    return labels || numbers <= 1;
}

// The operands of a loop as they are handed over: data, then the steps of their rows and those of their entries.
class Operands {
   public:
    char* data[MOST_OPERANDS];
    npy_intp steps[2 * MOST_OPERANDS];

    // n entries to a row, of `size` bytes each.
    void add_slices(void* first, const Slices& slices, npy_intp size) {
        add(first, slices.inner == 1 ? slices.n * size : size, slices.n * slices.inner * size);
        entries_[slices_++] = slices.inner * size;
    }
    // n × n entries to a row, all of which lie one after the other.
    void add_matrices(void* first, const Slices& slices, npy_intp size) {
        add(first, slices.n * slices.n * size, 0);
        entries_[slices_++] = slices.n * size;
        entries_[slices_++] = size;
    }
    void add_numbers(void* first, const Slices& slices, npy_intp size) { add(first, size, slices.inner * size); }
    // Any slices: the steps to the next entry, the next row, and the next group of rows.
    void add_strided(void* first, const npy_intp (&steps)[3]) {
        add(first, steps[1], steps[2]);
        entries_[slices_++] = steps[0];
    }
    void add_constant(void* number) { add(number, 0, 0); }
    void close() { std::memcpy(steps + count_, entries_, slices_ * sizeof *entries_); }

    // The next group of rows that lie side by side.
    void next_group() {
        for (int k = 0; k < count_; ++k) data[k] += groups_[k];
    }

   private:
    int count_ = 0, slices_ = 0;
    npy_intp entries_[MOST_OPERANDS + 1], groups_[MOST_OPERANDS];

    void add(void* first, npy_intp row, npy_intp group) {
        data[count_] = (char*)first;
        steps[count_] = row;
        groups_[count_++] = group;
    }
};

// A call whose arguments were checked.
struct DirectCall {
    const Direct& direct;
    PyObject* const* inputs;
    const Options& options;
    Slices slices;
    npy_intp mask_steps[3];  // to the next entry, row, and group of rows
    Labels labels;

    PyArrayObject* x() const { return (PyArrayObject*)inputs[0]; }
    bool is_plain() const { return !options.where && !options.temperatures && options.temperature == 1; }
    bool has_target() const { return options.smoothing != 0 || options.z_loss != 0; }
};

// ε/n, the coefficient of every class in a smoothed target, rounded as `smoothed` of _formulas/losses.py does.
double share_of_class(double smoothing, npy_intp n) {
    const double count = (double)n, share = smoothing / count, back = share * count;
    return share + ((smoothing - back) - std::fma(share, count, -back)) / count;
}

// The shape of the i-th result.
struct ResultShape {
    npy_intp dims[NPY_MAXDIMS + 1];
    int ndim = 0;

    ResultShape(const DirectCall& call, int i) {
        const int k = call.direct.kernel->signature.inputs + i;
        for (int axis = 0; axis < PyArray_NDIM(call.x()); ++axis) {
            const npy_intp size = PyArray_DIM(call.x(), axis);
            const bool is_reduced = axis == call.slices.axis && !call.direct.is_slice(k);
            if (!is_reduced || call.direct.is_matrix(k)) dims[ndim++] = size;
            if (is_reduced && call.direct.is_matrix(k)) dims[ndim++] = size;
            if (is_reduced && call.options.keepdims) dims[ndim++] = 1;
        }
    }
};

// Whether a loop may write its i-th result to where the options say: instead of an operand, entry by entry, if it is
// the only result, or apart from all of them.
bool takes_result(const DirectCall& call, int i, const ResultShape& shape) {
    PyObject* const out = call.options.outs[i];
    PyArrayObject* const result = (PyArrayObject*)out;
    if (!out) return true;
    if (!is_plain(out) || !PyArray_ISWRITEABLE(result) || PyArray_TYPE(result) != PyArray_TYPE(call.x())) return false;
    if (!has_shape(result, shape.dims, shape.ndim)) return false;
    const bool is_only_slice = call.direct.outputs() == 1 && call.direct.is_slice(call.direct.kernel->signature.inputs);
    for (int k = 0; k < call.direct.inputs; ++k) {
        if (call.direct.is_labels(k)) continue;  // a copy is read
        PyArrayObject* const input = (PyArrayObject*)call.inputs[k];
        const bool in_place = is_only_slice && PyArray_BYTES(input) == PyArray_BYTES(result);
        if (!in_place && !is_disjoint(input, result)) return false;
    }
    for (int k = 0; k < i; ++k)
        if (call.options.outs[k] && !is_disjoint((PyArrayObject*)call.options.outs[k], result)) return false;
    PyArrayObject* const read[] = {call.options.where, call.options.temperatures};
    for (PyArrayObject* const array : read)
        if (array && !is_disjoint(array, result)) return false;
    return true;
}

// The loop over arrays that were checked; false with an error set where memory ran out.
bool run_loop(DirectCall& call, PyObject* const* results) {
    const Direct& direct = call.direct;
    const Slices& slices = call.slices;
    if (slices.rows() == 0) return true;  // as NumPy does: a loop of no rows is not run
    const npy_intp size = PyArray_ITEMSIZE(call.x());
    constexpr npy_intp REPEATED[3] = {};
    bool everything = true;
    double temperature = call.options.temperature, one = 1, z_loss = call.options.z_loss;
    double kept = 1 - call.options.smoothing, share = share_of_class(call.options.smoothing, slices.n);
    float share_in_single = (float)share;
    Operands operands;
    for (int k = 0; k < direct.kernel->signature.inputs; ++k) {
        if (direct.is_labels(k) && call.has_target())
            operands.add_strided(size == sizeof(double) ? (void*)&share : &share_in_single, REPEATED);
        if (direct.is_slice(k))
            operands.add_slices(PyArray_DATA((PyArrayObject*)call.inputs[k]), slices, size);
        else if (direct.is_labels(k))
            operands.add_numbers(call.labels.labels(), slices, sizeof(npy_int64));
        else if (call.labels.weights() && direct.is_labels(k - 1))
            operands.add_numbers(call.labels.weights(), slices, sizeof(double));
        else
            operands.add_constant(&one);
        if (direct.is_labels(k) && call.has_target()) operands.add_constant(&kept);
        if (k > 0 && direct.is_labels(k - 1) && call.has_target()) operands.add_constant(&z_loss);
    }
    if (call.options.where)
        operands.add_strided(PyArray_DATA(call.options.where), call.mask_steps);
    else if (!call.is_plain())
        operands.add_strided(&everything, REPEATED);
    if (call.options.temperatures)
        operands.add_numbers(PyArray_DATA(call.options.temperatures), slices, sizeof(double));
    else if (!call.is_plain() && direct.accepted.temperature)
        operands.add_constant(&temperature);
    for (int i = 0; i < direct.outputs(); ++i) {
        void* const data = PyArray_DATA((PyArrayObject*)results[i]);
        if (direct.is_matrix(direct.kernel->signature.inputs + i))
            operands.add_matrices(data, slices, size);
        else if (direct.is_slice(direct.kernel->signature.inputs + i))
            operands.add_slices(data, slices, size);
        else
            operands.add_numbers(data, slices, size);
    }
    operands.close();
    const int type = PyArray_TYPE(call.x());
    const RowType row = type == NPY_DOUBLE ? FLOAT64 : type == NPY_FLOAT ? FLOAT32 : FLOAT16;
    void* const loop = (void*)(call.has_target() ? direct.target : call.is_plain() ? direct.plain : direct.where)[row];
    const bool is_last = slices.inner == 1;
    const npy_intp dims[] = {is_last ? slices.outer : slices.inner, slices.n};
    for (npy_intp group = 0; group < (is_last ? 1 : slices.outer); ++group, operands.next_group())
        run_unlocked(operands.data, dims, operands.steps, loop);
    return !PyErr_Occurred();
}

// One result, or a tuple of several, of which the options may name the arrays; NotImplemented if one does not fit, null
// with an error set if memory runs out.
PyObject* compute(DirectCall& call) {
    const int count = call.direct.outputs();
    for (int i = 0; i < count; ++i)
        if (!takes_result(call, i, ResultShape(call, i))) Py_RETURN_NOTIMPLEMENTED;
    PyObject* results[MOST_RESULTS] = {};
    bool done = true;
    for (int i = 0; done && i < count; ++i) {
        PyObject* const out = call.options.outs[i];
        const ResultShape shape(call, i);
        // A writeable array may still have a warning to give: the one over the result of np.broadcast_arrays.
        done = !out || PyArray_FailUnlessWriteable((PyArrayObject*)out, call.direct.accepted.outs[i]) == 0;
        results[i] = out ? Py_NewRef(out) : PyArray_SimpleNew(shape.ndim, shape.dims, PyArray_TYPE(call.x()));
        done = done && results[i];
    }
    done = done && run_loop(call, results);
    for (int i = 0; done && i < count; ++i)
        if (!call.options.outs[i]) results[i] = PyArray_Return((PyArrayObject*)results[i]);
    if (done && count == 1) return results[0];
    PyObject* const found = done ? PyTuple_New(count) : nullptr;
    for (int i = 0; found && i < count; ++i) PyTuple_SET_ITEM(found, i, Py_NewRef(results[i]));
    for (PyObject* const result : results) Py_XDECREF(result);
    return found;
}

PyObject* call_directly(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* names) {
    const Direct& direct = *(const Direct*)PyCapsule_GetPointer(self, nullptr);
    if (count != direct.inputs || !is_plain(args[0])) Py_RETURN_NOTIMPLEMENTED;
    PyArrayObject* const x = (PyArrayObject*)args[0];
    Options options;
    if (PyArray_NDIM(x) == 0 || !read_options(direct.accepted, x, names, args + count, options))
        Py_RETURN_NOTIMPLEMENTED;
    DirectCall call{direct, args, options, {}, {}, {}};
    if (call.has_target() && options.weight) Py_RETURN_NOTIMPLEMENTED;  // of every class, not of the row
    if (!read_axis(x, options.axis, call.slices)) Py_RETURN_NOTIMPLEMENTED;
    if (options.where && !read_mask_steps(x, options.where, call.slices, call.mask_steps)) Py_RETURN_NOTIMPLEMENTED;
    if (options.temperatures && !are_temperatures(x, options.temperatures, call.slices)) Py_RETURN_NOTIMPLEMENTED;
    if (call.slices.axis != PyArray_NDIM(x) - 1 && direct.is_matrix(direct.kernel->signature.inputs))
        Py_RETURN_NOTIMPLEMENTED;
    // A single row of that length is summed in blocks, whose bits are the same with one thread and with many.
    const npy_intp size = PyArray_TYPE(x) == NPY_DOUBLE ? 8 : 4,
                   entries = options.alone ? call.slices.n : PyArray_SIZE(x);
    if (entries * size >= direct.below) Py_RETURN_NOTIMPLEMENTED;
    for (int i = 1; i < direct.inputs; ++i) {
        const bool fits = direct.is_labels(i) ? call.labels.read(args[i], x, call.slices, options)
                                              : is_plain(args[i]) && is_alike(x, (PyArrayObject*)args[i]);
        if (!fits) Py_RETURN_NOTIMPLEMENTED;
    }
    return compute(call);
}

#define SOFTGRAD_METHOD(name, signature, types, loop)                              \
    {#name, (PyCFunction)(void (*)())call_directly, METH_FASTCALL | METH_KEYWORDS, \
     "The kernel on plain arrays, with the options that a loop knows; NotImplemented for any other call."},
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

// The function of the kernel at `index` in the table, for arrays of fewer than `below` bytes of the computed type.
PyObject* make_direct(int index, const Loops& loops, npy_intp below) {
    const Kernel& kernel = KERNELS[index];
    const Signature& signature = kernel.signature;
    const int where = find_kernel(kernel.name, "_where");
    Direct* const direct = (Direct*)PyMem_Malloc(sizeof(Direct));
    if (!direct) return PyErr_NoMemory();
    Accepted accepted = {};
    accepted.where = where >= 0;
    accepted.temperature = where >= 0 && std::strchr(KERNELS[where].types, 'd');
    accepted.labels = std::strchr(kernel.types, 'q');
    const char* const names[] = {"out", accepted.labels || signature.outputs() == 2 ? "grad_out" : "grad_p_out",
                                 accepted.labels ? "hess_out" : "grad_q_out"};
    for (int i = 0; i < signature.outputs(); ++i) accepted.outs[i] = names[i];
    const int result = signature.dimensions(signature.inputs);
    accepted.workers = accepted.where || (signature.outputs() == 1 && result == 1);
    accepted.keepdims = accepted.where && result == 0;
    int inputs = 0;
    while (inputs < signature.inputs && kernel.types[inputs] != 'd') ++inputs;
    const int target = find_kernel("target_", kernel.name);
    *direct = {&kernel,
               loops.of[index],
               where < 0 ? nullptr : loops.of[where],
               target < 0 ? nullptr : loops.of[target],
               accepted,
               inputs,
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
