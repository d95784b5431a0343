/* The account as Python sees it: the type `Account`. Part of _clock.c.
 *
 * All methods are called with the GIL. The collector sees what an account references, its owner and
 * its verdict. A freed account abandons its heap, which lives on while others hold blocks of it. */

#ifndef ACTORKIT_HEAP_ACCOUNT_TYPE_H
#define ACTORKIT_HEAP_ACCOUNT_TYPE_H

#include "_arrivals.h"
#include "_counting.h"

#include <structmember.h>

static PyObject *
account_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"owner", NULL};
    PyObject *owner = Py_None;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:Account", names, &owner)) {
        return NULL;
    }
    Account *account = (Account *)type->tp_alloc(type, 0);
    if (account != NULL) {
        account->alarm_at = account->watch_at = account->heap_at = NONE_SET;
        account->soft = account->hard = account->giant = account->limit = NONE_SET;
        account->bound = PY_SSIZE_T_MAX;
        account->owner = Py_NewRef(owner);
    }
    return (PyObject *)account;
}

static int
account_traverse(Account *account, visitproc visit, void *arg)
{
    Py_VISIT(account->owner);
    Py_VISIT(account->verdict);
    return 0;
}

static int
account_clear(Account *account)
{
    Py_CLEAR(account->owner);
    Py_CLEAR(account->verdict);
    return 0;
}

static void
account_dealloc(Account *account)
{
    PyObject_GC_UnTrack(account);
    if (account->weak_references != NULL) {
        PyObject_ClearWeakRefs((PyObject *)account);
    }
    (void)account_clear(account);
#ifdef HAVE_SLABS
    if (account->heap != NULL) {
        heap_abandon(account->heap);
    }
#endif
    if (account->ledger != NULL) {
        ledger_close(account->ledger, account->large);
    }
    Py_TYPE(account)->tp_free(account);
}

/* Read a number of bytes that Python code gives. -1 with an exception if it is none. */
static int
as_size(PyObject *value, const char *name, uint64_t *size)
{
    if (value == NULL) {
        PyErr_Format(PyExc_AttributeError, "%s cannot be deleted", name);
        return -1;
    }
    long long number = PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (number < 0) {
        PyErr_Format(PyExc_ValueError, "%s must not be negative, but is %lld", name, number);
        return -1;
    }
    *size = (uint64_t)number;
    return 0;
}

static void
account_set_origin(Account *account, uint64_t bytes)
{
    STORE(account->origin, account_total(account) - bytes);
    account_arm(account);
}

static PyObject *
account_get_bytes(Account *account, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(account_bytes(account));
}

static int
account_set_bytes(Account *account, PyObject *value, void *Py_UNUSED(closure))
{
    uint64_t bytes;
    if (as_size(value, "bytes", &bytes) < 0) {
        return -1;
    }
    account_set_origin(account, bytes);
    return 0;
}

static PyObject *
account_get_total(Account *account, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(account_total(account));
}

static PyObject *
account_get_due(Account *account, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(LOAD(account->due));
}

static PyObject *
account_get_live(Account *account, void *Py_UNUSED(closure))
{
#ifdef HAVE_SLABS
    if (account->heap != NULL) {
        return PyLong_FromUnsignedLongLong(account_own_live(account));
    }
#else
    (void)account;
#endif
    Py_RETURN_NONE;
}

static PyObject *
account_get_own_live(Account *account, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(account_own_live(account));
}

static PyObject *
account_get_large_live(Account *account, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(account_large_live(account));
}

static PyObject *
account_get_elsewhere(Account *account, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(account_elsewhere(account));
}

static PyObject *
account_get_held_at_most(Account *account, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(account_held_at_most(account));
}

static PyObject *
account_get_resident(Account *account, void *Py_UNUSED(closure))
{
#ifdef HAVE_SLABS
    if (account->heap != NULL) {
        return PyLong_FromUnsignedLongLong(account->heap->pages * PAGE_BYTES);
    }
#else
    (void)account;
#endif
    Py_RETURN_NONE;
}

static PyObject *
account_get_own_heap(Account *account, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(account->serving != NULL);
}

static int
account_set_own_heap(Account *account, PyObject *value, void *Py_UNUSED(closure))
{
    int own = value == NULL ? 0 : PyObject_IsTrue(value);
    if (own < 0) {
        return -1;
    }
    account_serve(account, own && slabs_serve);
    return 0;
}

static PyObject *
account_get_number(Account *account, void *offset)
{
    return PyLong_FromUnsignedLongLong(LOAD(*(uint64_t *)((char *)account + (size_t)offset)));
}

static PyObject *
account_get_threshold(Account *account, void *offset)
{
    uint64_t threshold = LOAD(*(uint64_t *)((char *)account + (size_t)offset));
    return PyLong_FromUnsignedLongLong(threshold == NONE_SET ? 0 : threshold);
}

static int
account_set_threshold(Account *account, PyObject *value, void *offset)
{
    uint64_t threshold;
    if (as_size(value, "a threshold", &threshold) < 0) {
        return -1;
    }
    STORE(*(uint64_t *)((char *)account + (size_t)offset), threshold == 0 ? NONE_SET : threshold);
    if ((size_t)offset == offsetof(Account, soft)) {
        account_arm(account);
    }
    return 0;
}

PyDoc_STRVAR(reset_doc, "reset($self, /, bytes=0, elsewhere=None)\n--\n\n"
"Begin anew: `bytes` is this number, and the account is no longer due. The thresholds stay. After an exact\n"
"look, `elsewhere` is what it has found that neither own_live nor large_live counts; None: it was not exact.");

static PyObject *
account_reset(Account *account, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"bytes", "elsewhere", NULL};
    PyObject *argument = NULL, *found = Py_None;
    uint64_t bytes = 0, elsewhere = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|OO:reset", names, &argument, &found)) {
        return NULL;
    }
    if ((argument != NULL && as_size(argument, "bytes", &bytes) < 0)
        || (found != Py_None && as_size(found, "elsewhere", &elsewhere) < 0)) {
        return NULL;
    }
    if (found != Py_None) {
        account_set_elsewhere(account, elsewhere);
    }
    account_set_origin(account, bytes);
    STORE(account->due, 0);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(settle_doc, "settle($self, held, /)\n--\n\n"
"A look has found that it holds so many bytes. An account that holds much gets a heap of its own, and one that\n"
"no longer does loses it. From the first call on, the account is also due when it has allocated that much.");

static PyObject *
account_settle_method(Account *account, PyObject *argument)
{
    uint64_t held;
    if (as_size(argument, "what is held", &held) < 0) {
        return NULL;
    }
    account_settle(account, held);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(charge_doc, "charge($self, n, /)\n--\n\n"
"Add bytes that others have allocated for the account: a message that its actor receives.");

static PyObject *
account_charge(Account *account, PyObject *argument)
{
    uint64_t number;
    if (as_size(argument, "a charge", &number) < 0) {
        return NULL;
    }
    account_add(account, number);
    if (account_total(account) >= account->alarm_at) {
        STORE(account->due, 1);
        look_at_account();
    }
    Py_RETURN_NONE;
}

#define NUMBER(name, doc) \
    {#name, (getter)account_get_number, NULL, PyDoc_STR(doc), (void *)offsetof(Account, name)}
#define THRESHOLD(name, doc) \
    {#name, (getter)account_get_threshold, (setter)account_set_threshold, PyDoc_STR(doc), \
     (void *)offsetof(Account, name)}

static PyGetSetDef account_getset[] = {
    {"bytes", (getter)account_get_bytes, (setter)account_set_bytes,
     PyDoc_STR("Bytes allocated and charged since the last reset. Frees are not counted."), NULL},
    {"total", (getter)account_get_total, NULL,
     PyDoc_STR("Bytes allocated and charged since the account was made."), NULL},
    {"due", (getter)account_get_due, NULL, PyDoc_STR("Has bytes reached soft since the last reset?"), NULL},
    {"live", (getter)account_get_live, NULL,
     PyDoc_STR("Bytes of the blocks in its own heap, which are of up to 512 bytes; None: it never had one."), NULL},
    {"own_live", (getter)account_get_own_live, NULL,
     PyDoc_STR("Bytes of its blocks on pages of its own; 0 if it has none."), NULL},
    {"large_live", (getter)account_get_large_live, NULL,
     PyDoc_STR("Bytes of its blocks of more than 512 bytes that are in use; 0 where there are no ledgers."), NULL},
    {"elsewhere", (getter)account_get_elsewhere, NULL,
     PyDoc_STR("What the last exact look has found anywhere else, and what was allocated there or charged since then.\n"
               "Frees are not counted."), NULL},
    {"held_at_most", (getter)account_get_held_at_most, NULL,
     PyDoc_STR("A bound of what it has allocated or received and may still hold: the sum of these three."), NULL},
    {"resident", (getter)account_get_resident, NULL,
     PyDoc_STR("Bytes that the pages of its own heap take; None if it has none."), NULL},
    {"own_heap", (getter)account_get_own_heap, (setter)account_set_own_heap,
     PyDoc_STR("Do its blocks of up to 512 bytes come from pages of its own? Stays False where that cannot be had."),
     NULL},
    THRESHOLD(soft, "The alarm is due when bytes has reached this; 0 for never."),
    THRESHOLD(limit, "While held_at_most is no more than this, soft moves on by itself and nobody is called; 0 for none."),
    THRESHOLD(hard, "A request of 64 KiB or more that would take both bytes and held_at_most past this is refused;\n"
                    "0 for none."),
    THRESHOLD(giant, "A single request larger than this, and of 64 KiB or more, is refused; 0 for none."),
    NUMBER(peak_request, "The largest single request above 512 bytes so far, served or refused."),
    NUMBER(refused, "How many requests were refused."),
    NUMBER(last_refused, "The size of the last refused request."),
    NUMBER(activation, "How often the account was entered."),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef account_members[] = {
    {"owner", T_OBJECT, offsetof(Account, owner), 0, PyDoc_STR("Whose account this is; the clock does not use it.")},
    {"foreign_due", T_BOOL, offsetof(Account, foreign_due), 0,
     PyDoc_STR("Has a message come that had cycles? They are found only by a look into the objects of others.")},
    {"measured", T_BOOL, offsetof(Account, measured), 0,
     PyDoc_STR("receive() leaves every message to its caller, which measures it, shared parts too.")},
    {"bound", T_PYSSIZET, offsetof(Account, bound), 0,
     PyDoc_STR("accept() leaves messages to its caller when so many are waiting.")},
    {"verdict", T_OBJECT, offsetof(Account, verdict), 0,
     PyDoc_STR("Set by the judge of the budget; it stands until it is cleared.")},
    {NULL, 0, 0, 0, NULL},
};

PyDoc_STRVAR(fits_doc, "fits($self, n, /)\n--\n\n"
"Charge n bytes if that leaves `bytes` below `soft`, and say whether it did.");

static PyObject *
account_fits(Account *account, PyObject *argument)
{
    uint64_t number;
    if (as_size(argument, "a charge", &number) < 0) {
        return NULL;
    }
    return PyBool_FromLong(account_take(account, number));
}

static PyMethodDef account_methods[] = {
    {"reset", (PyCFunction)(void (*)(void))account_reset, METH_VARARGS | METH_KEYWORDS, reset_doc},
    {"charge", (PyCFunction)account_charge, METH_O, charge_doc},
    {"settle", (PyCFunction)account_settle_method, METH_O, settle_doc},
    {"fits", (PyCFunction)account_fits, METH_O, fits_doc},
    {"receive", (PyCFunction)account_receive, METH_O, receive_doc},
    {"accept", (PyCFunction)(void (*)(void))account_accept, METH_FASTCALL, accept_doc},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject AccountType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "actorkit.heap.c._clock.Account",
    .tp_doc = PyDoc_STR("Account(owner=None)\n--\n\n"
                        "What one actor has allocated, and the thresholds that apply to it."),
    .tp_basicsize = sizeof(Account),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = account_new,
    .tp_dealloc = (destructor)account_dealloc,
    .tp_traverse = (traverseproc)account_traverse,
    .tp_clear = (inquiry)account_clear,
    .tp_free = PyObject_GC_Del,
    .tp_weaklistoffset = offsetof(Account, weak_references),
    .tp_getset = account_getset,
    .tp_members = account_members,
    .tp_methods = account_methods,
};

#endif
