/* Nobody's: functions whose allocations are charged to no account. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * An actor is charged for its own data. While its code runs, the runtime grows tables too: who
 * lives, who is linked to whom, what is due when. Who happens to make such a table grow would be
 * charged for all that is in it, and refused, if its limit is small. So the functions that keep
 * these tables are wrapped: a `Nobodys` leaves the account, calls the function, and goes back.
 *
 * They step aside and back as the guards do (`_guards.h`). The function may enter accounts and leave
 * them, as a birth does; what it has left entered is left behind.
 *
 * A wrapped function is a method like any other, and tracebacks do not show the wrapper. */

#ifndef ACTORKIT_HEAP_NOBODY_H
#define ACTORKIT_HEAP_NOBODY_H

#include "_guards.h"

#include <stddef.h>

typedef struct {
    PyObject_HEAD
    PyObject *function; /* owned */
    vectorcallfunc call;
} Nobodys;

static PyObject *
nobodys_call(PyObject *self, PyObject *const *arguments, size_t count, PyObject *keywords)
{
    Account *account = step_aside();
    PyObject *result = PyObject_Vectorcall(((Nobodys *)self)->function, arguments, count, keywords);
    step_back(account);
    return result;
}

/* As a function in a class does: bound to the object. */
static PyObject *
nobodys_bind(PyObject *self, PyObject *object, PyObject *Py_UNUSED(type))
{
    return object == NULL || object == Py_None ? Py_NewRef(self) : PyMethod_New(self, object);
}

/* What it does not have itself, it has from the function: its name, its signature, its code. */
static PyObject *
nobodys_attribute(PyObject *self, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return value;
    }
    PyErr_Clear();
    return PyObject_GetAttr(((Nobodys *)self)->function, name);
}

static PyObject *
nobodys_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<nobody's %R>", ((Nobodys *)self)->function);
}

static int
nobodys_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((Nobodys *)self)->function);
    return 0;
}

static void
nobodys_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(((Nobodys *)self)->function);
    Py_TYPE(self)->tp_free(self);
}

/* Of the function, where a type has one of its own. */
static PyObject *
nobodys_get(PyObject *self, void *name)
{
    return PyObject_GetAttrString(((Nobodys *)self)->function, name);
}

static PyObject *
nobodys_function(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(((Nobodys *)self)->function);
}

static PyGetSetDef nobodys_getters[] = {
    {"__wrapped__", nobodys_function, NULL, "The function itself.", NULL},
    {"__doc__", nobodys_get, NULL, NULL, "__doc__"},
    {"__module__", nobodys_get, NULL, NULL, "__module__"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject NobodysType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "actorkit.heap.c._clock.Nobodys",
    .tp_basicsize = sizeof(Nobodys),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_call = PyVectorcall_Call,
    .tp_vectorcall_offset = offsetof(Nobodys, call),
    .tp_descr_get = nobodys_bind,
    .tp_getattro = nobodys_attribute,
    .tp_repr = nobodys_repr,
    .tp_traverse = nobodys_traverse,
    .tp_dealloc = nobodys_dealloc,
    .tp_getset = nobodys_getters,
    .tp_free = PyObject_GC_Del,
};

PyDoc_STRVAR(nobodys_doc, "nobodys(function, /)\n--\n\n"
"The function, made so that what it allocates is charged to no account, whoever calls it.");

static PyObject *
clock_nobodys(PyObject *Py_UNUSED(module), PyObject *function)
{
    if (!PyCallable_Check(function)) {
        PyErr_Format(PyExc_TypeError, "nobodys takes a function, not %.100s", Py_TYPE(function)->tp_name);
        return NULL;
    }
    Nobodys *made = PyObject_GC_New(Nobodys, &NobodysType);
    if (made == NULL) {
        return NULL;
    }
    made->function = Py_NewRef(function);
    made->call = nobodys_call;
    PyObject_GC_Track(made);
    return (PyObject *)made;
}

#endif
