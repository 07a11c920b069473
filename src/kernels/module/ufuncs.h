// A kernel as a generalized ufunc: broadcasting, casting, layouts and overlapping memory are NumPy's.
#pragma once

#include "module/gil.h"

namespace {

// NumPy keeps the pointers that a ufunc is made of, so what they point to lives as long as the ufunc: in a capsule that
// the ufunc's `obj` slot owns.
struct Tables {
    PyUFuncGenericFunction loops[ROW_TYPES];
    void* data[ROW_TYPES];
    char types[ROW_TYPES * MOST_OPERANDS];
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

PyObject* make_ufunc(const Kernel& kernel, const Loop loops[ROW_TYPES]) {
    Tables* tables = (Tables*)PyMem_Calloc(1, sizeof(Tables));
    if (!tables) return PyErr_NoMemory();
    const char rows[ROW_TYPES] = {NPY_USHORT, NPY_HALF, NPY_FLOAT, NPY_DOUBLE};
    const int operands = kernel.signature.operands;
    for (int row = 0; row < ROW_TYPES; ++row) {
        tables->loops[row] = run_unlocked;
        tables->data[row] = (void*)loops[row];
        for (int i = 0; i < operands; ++i) tables->types[row * operands + i] = type_number(kernel.types[i], rows[row]);
    }
    PyObject* owner = PyCapsule_New(tables, nullptr, free_tables);
    if (!owner) {
        PyMem_Free(tables);
        return nullptr;
    }
    PyObject* ufunc = PyUFunc_FromFuncAndDataAndSignature(tables->loops, tables->data, tables->types, ROW_TYPES,
                                                          kernel.signature.inputs, kernel.signature.outputs(),
                                                          PyUFunc_None, kernel.name, nullptr, 0, kernel.text);
    if (!ufunc) {
        Py_DECREF(owner);
        return nullptr;
    }
    ((PyUFuncObject*)ufunc)->obj = owner;
    return ufunc;
}

}  // namespace
