/* Guards: what runs in an actor's turn and is nobody's. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * *Imports.* A module that is loaded for the first time is everybody's. CPython looks
 * `_frozen_importlib._find_and_load` up by name for every module that is not loaded yet, whoever
 * asks for it (the statement, `importlib`, C code). The guard takes that attribute's place, leaves
 * the account, calls what stood there, and enters the account again, on errors too. It is a C
 * function, so it adds no line to tracebacks. Each guard has the function that it stands for as its
 * own `self`. So one that another tool has wrapped goes on working, and one that was thrown away
 * can be replaced by a new one.
 *
 * *Collections.* The collector runs in the turn of whoever allocates: finalisers and callbacks of
 * weak references that it calls belong to whatever is collected, and must not be cut off by an
 * alarm. CPython calls the functions in its list of callbacks before and after each collection, in
 * the thread that collects. The guard leaves the account at the start, and enters it again at the
 * end.
 *
 * Meanwhile `entered` is NULL, so nothing is counted and no alarm comes. Entering again makes no new
 * activation. An alarm that was asked for may have been dropped in the meantime, so the account
 * forgets that it asked.
 *
 * References. What `entered` owned is kept by `step_aside`'s caller until `step_back`. Everything
 * needs the GIL. */

#ifndef ACTORKIT_HEAP_GUARDS_H
#define ACTORKIT_HEAP_GUARDS_H

#include "../interpreter/_collector.h"
#include "_account.h"

/* Be in nobody's account. Returns the reference that the thread had. */
static inline Account *
step_aside(void)
{
    Account *account = entered;
    entered = NULL;
    return account;
}

/* Be in the account again, whatever was entered meanwhile. */
static inline void
step_back(Account *account)
{
    Account *left_behind = entered;
    if (account != NULL) {
        account->asked = 0;
    }
    entered = account;
    Py_XDECREF((PyObject *)left_behind); /* may run any code, so it comes last */
}

/* --- Imports ---------------------------------------------------------------------------------- */

#define BOOTSTRAP "_frozen_importlib"
#define FIND_AND_LOAD "_find_and_load"

static PyObject *
guarded_find_and_load(PyObject *original, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
    Account *account = step_aside();
    PyObject *module = PyObject_Vectorcall(original, arguments, (size_t)count, keywords);
    step_back(account);
    return module;
}

static PyMethodDef import_guard = {
    FIND_AND_LOAD, (PyCFunction)(void (*)(void))guarded_find_and_load, METH_FASTCALL | METH_KEYWORDS,
    PyDoc_STR("importlib's own, in nobody's account."),
};

static bool
is_import_guard(PyObject *function)
{
    return PyCFunction_Check(function) && PyCFunction_GET_FUNCTION(function) == import_guard.ml_meth;
}

/* Put a guard in place if none stands there; or take it away if it does. -1 with an exception. */
static int
set_import_guard(bool wanted)
{
    PyObject *bootstrap = PyImport_ImportModule(BOOTSTRAP);
    PyObject *now = bootstrap == NULL ? NULL : PyObject_GetAttrString(bootstrap, FIND_AND_LOAD);
    int status = now == NULL ? -1 : 0;
    if (status == 0 && is_import_guard(now) != wanted) {
        PyObject *next = wanted ? PyCFunction_New(&import_guard, now) : Py_NewRef(PyCFunction_GET_SELF(now));
        status = next == NULL ? -1 : PyObject_SetAttrString(bootstrap, FIND_AND_LOAD, next);
        Py_XDECREF(next);
    }
    Py_XDECREF(now);
    Py_XDECREF(bootstrap);
    return status;
}

/* --- Collections ------------------------------------------------------------------------------ */

static PyObject *collection_guard; /* owned; the function in the collector's list, or NULL */

/* The account of the thread while a collection runs in it (owned, may be NULL), and whether one
   does. */
THREAD_LOCAL Account *before_collection;
THREAD_LOCAL bool collects_here;

static void
collection_ends(void)
{
    if (collects_here) {
        Account *account = before_collection;
        collects_here = false;
        before_collection = NULL;
        step_back(account);
    }
}

static void
collection_begins(void)
{
    collection_ends(); /* of one whose end was not reported, if any */
    before_collection = step_aside();
    collects_here = true;
}

static PyObject *
collection_reported(PyObject *Py_UNUSED(self), PyObject *const *arguments, Py_ssize_t count)
{
    if (count > 0 && PyUnicode_Check(arguments[0])) {
        if (PyUnicode_CompareWithASCIIString(arguments[0], "start") == 0) {
            collection_begins();
        }
        else {
            collection_ends();
        }
    }
    Py_RETURN_NONE;
}

static PyMethodDef collection_guard_method = {
    "collection_guard", (PyCFunction)(void (*)(void))collection_reported, METH_FASTCALL,
    PyDoc_STR("Collections run in nobody's account."),
};

/* Put the guard at the head of the collector's list, or take it out. -1 with an exception. */
static int
set_collection_guard(bool wanted)
{
    PyObject *callbacks = collector_callbacks();
    if (callbacks == NULL) {
        return 0;
    }
    if (wanted && collection_guard == NULL) {
        collection_guard = PyCFunction_New(&collection_guard_method, NULL);
        if (collection_guard == NULL) {
            return -1;
        }
    }
    for (Py_ssize_t at = PyList_GET_SIZE(callbacks) - 1; at >= 0 && collection_guard != NULL; at--) {
        if (PyList_GET_ITEM(callbacks, at) == collection_guard) {
            if (wanted) {
                return 0;
            }
            return PyList_SetSlice(callbacks, at, at + 1, NULL);
        }
    }
    return wanted ? PyList_Insert(callbacks, 0, collection_guard) : 0;
}

/* --- Both ------------------------------------------------------------------------------------- */

static int
set_guards(bool wanted)
{
    int status = set_import_guard(wanted);
    if (set_collection_guard(wanted) < 0) {
        status = -1;
    }
    if (!wanted) {
        collection_ends(); /* uninstalled by a finaliser: the end will not be reported */
    }
    return status;
}

PyDoc_STRVAR(guard_imports_doc, "guard_imports()\n--\n\n"
"Let modules that are loaded for the first time be in nobody's account, and everything that the cyclic collector\n"
"runs. `install` does that; call it again if a tool may have taken a guard away. Returns whether both stand:\n"
"False while the clock is not installed.");

#endif
