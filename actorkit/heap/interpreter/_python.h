/* The only way to Python.h and to CPython's internal headers, and what differs between versions
 * without being a layout. Include this first.
 *
 * Theory of operation. The structures come from the interpreter's own internal headers, so the
 * compiler checks them. A version that is not listed here does not compile: the extensions are
 * optional, and `versions.py` says what that means for the package. Nothing outside of this folder
 * asks which version it is, or includes an internal header. */

#ifndef ACTORKIT_INTERPRETER_PYTHON_H
#define ACTORKIT_INTERPRETER_PYTHON_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_BUILD_CORE_MODULE
#define Py_BUILD_CORE_MODULE 1
#endif
#include <Python.h>

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030E0000
#error "the insides of this CPython version are not known; see actorkit/heap/interpreter"
#endif
#ifdef Py_GIL_DISABLED
#error "the extensions rely on the GIL; on free-threaded builds actorkit uses its twins in Python"
#endif

#ifdef __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
#include "internal/pycore_object.h"
#include "internal/pycore_dict.h"
#include "internal/pycore_frame.h"
#include "internal/pycore_gc.h"
#include "internal/pycore_interp.h"
#include "internal/pycore_pystate.h"
#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif

#undef ADDRESS_BITS /* of the interpreter's allocator, which nobody here looks into */

#include <stddef.h>
#include <stdint.h>

/* A slot of a module definition: one interpreter only. Before 3.12 there is no such slot. */
#if PY_VERSION_HEX >= 0x030C0000
#define ONE_INTERPRETER_ONLY {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#else
#define ONE_INTERPRETER_ONLY
#endif

/* New: the namespace of a class, or NULL. From 3.12 on that of a built-in class is the
 * interpreter's. */
static inline PyObject *
class_namespace(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyType_GetDict(type);
#else
    return Py_XNewRef(type->tp_dict);
#endif
}

/* Does the traversal of a BytesIO visit its buffer? */
#define BYTES_IO_SHOWS_BUFFER (PY_VERSION_HEX >= 0x030C0000)

#endif
