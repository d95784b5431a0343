/* Arrivals: charging an account with the messages that its actor receives. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * Others have allocated what a message holds, so it is charged when the actor receives it.
 * `receive` sizes a message and charges it in one call, if it fits beneath `soft`; `accept` also
 * puts it into the record's mailbox. The size comes from the walk: through a function pointer in a
 * capsule if the walk is an extension too, else from its function in Python.
 *
 * `foreign_due` notes that a message had cycles: only a look into the objects of others finds them.
 * If there were too many to look into, nothing is charged for them, and the receiver is looked at at
 * its next boundary.
 *
 * The walk may run Python code (adapters): nothing borrowed from a record or an account is kept
 * over that call. The GIL is held. */

#ifndef ACTORKIT_HEAP_ARRIVALS_H
#define ACTORKIT_HEAP_ARRIVALS_H

#include "_account.h"
#include "_contract.h"
#include "_record_slots.h"

#define ENVELOPE 96 /* bytes of a message's own tuple and its place in a queue */

static MessageSizer bytes_of_objects; /* NULL: `sizer` is asked instead */
static PyObject *sizer;               /* owned; NULL: nothing sizes messages yet */

/* At least the bytes of a message's arguments, for this receiver; -1 with an exception. */
static Py_ssize_t
bytes_of_arguments(Account *account, PyObject *arguments)
{
    if (LIKELY(bytes_of_objects != NULL)) {
        int cycles = 0;
        Py_ssize_t bytes = bytes_of_objects(&PyTuple_GET_ITEM(arguments, 0), PyTuple_GET_SIZE(arguments), &cycles);
        if (UNLIKELY(cycles)) {
            account->foreign_due |= (char)cycles;
            if (cycles & CYCLES_CAPPED) {
                STORE(account->due, 1);
            }
        }
        return bytes;
    }
    if (sizer == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "nothing can size messages yet: import actorkit.heap.walk");
        return -1;
    }
    PyObject *answer = PyObject_CallObject(sizer, arguments);
    Py_ssize_t bytes = answer == NULL ? -1 : PyLong_AsSsize_t(answer);
    Py_XDECREF(answer);
    if (bytes < 0 && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "a size must not be negative");
    }
    return bytes;
}

PyDoc_STRVAR(size_with_doc, "size_with(sizer, /)\n--\n\n"
"Let `receive` size messages with this: a function of the objects, or the walk's capsule.");

static PyObject *
clock_size_with(PyObject *Py_UNUSED(module), PyObject *argument)
{
    if (PyCapsule_CheckExact(argument)) {
        const MessageSizer *function = PyCapsule_GetPointer(argument, SIZER_CAPSULE);
        if (function == NULL) {
            return NULL;
        }
        bytes_of_objects = *function; /* modules are never unloaded */
        Py_CLEAR(sizer);
        Py_RETURN_NONE;
    }
    if (!PyCallable_Check(argument)) {
        PyErr_Format(PyExc_TypeError, "the sizer must be callable or the walk's capsule, not %.100s",
                     Py_TYPE(argument)->tp_name);
        return NULL;
    }
    bytes_of_objects = NULL;
    Py_XSETREF(sizer, Py_NewRef(argument));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(receive_doc, "receive($self, arguments, /)\n--\n\n"
"Charge the account with a message of these arguments if that leaves `bytes` below `soft`, and say whether it\n"
"did. The charge is their size if all others let go of them, or somewhat more, and ENVELOPE. False at once if\n"
"`measured` is set.");

static PyObject *
account_receive(Account *account, PyObject *arguments)
{
    if (UNLIKELY(!PyTuple_CheckExact(arguments))) {
        PyErr_Format(PyExc_TypeError, "the arguments must be a tuple, not %.100s", Py_TYPE(arguments)->tp_name);
        return NULL;
    }
    if (account->measured) {
        Py_RETURN_FALSE;
    }
    Py_ssize_t bytes = bytes_of_arguments(account, arguments);
    if (UNLIKELY(bytes < 0)) {
        return NULL;
    }
    return PyBool_FromLong(account_take(account, (uint64_t)bytes + ENVELOPE));
}

PyDoc_STRVAR(accept_doc, "accept($self, record, function, arguments, /)\n--\n\n"
"As `receive`, and append the message (function, arguments, None) to the record's inbox, if fewer than `bound`\n"
"messages wait there and in its outbox (see deliver_to). True: it is behind others. None: it is in an inbox made\n"
"for it, since there was none. False: nothing was charged or queued.");

static PyObject *
account_accept(Account *account, PyObject *const *arguments, Py_ssize_t count)
{
    if (UNLIKELY(count != 3 || !PyTuple_CheckExact(arguments[2]))) {
        PyErr_SetString(PyExc_TypeError, "accept takes a record, a function and a tuple of arguments");
        return NULL;
    }
    if (account->measured) {
        Py_RETURN_FALSE;
    }
    Py_ssize_t bytes = bytes_of_arguments(account, arguments[2]);
    if (UNLIKELY(bytes < 0)) {
        return NULL;
    }
    /* Sizing may have run Python code, so the record is looked at only now. */
    PyObject *record = arguments[0];
    RecordSlots *known = slots_of(Py_TYPE(record));
    if (UNLIKELY(known == NULL || known->inbox == 0 || known->outbox == 0
                 || SLOT(record, known->account) != (PyObject *)account)) {
        Py_RETURN_FALSE;
    }
    PyObject *inbox = SLOT(record, known->inbox), *outbox = SLOT(record, known->outbox);
    Py_ssize_t waiting = 0;
    if (inbox != Py_None) {
        if (inbox == NULL || !PyList_CheckExact(inbox)) {
            Py_RETURN_FALSE;
        }
        waiting = PyList_GET_SIZE(inbox);
    }
    if (outbox != NULL && PyList_CheckExact(outbox)) {
        waiting += PyList_GET_SIZE(outbox);
    }
    if (waiting >= account->bound || !account_take(account, (uint64_t)bytes + ENVELOPE)) {
        Py_RETURN_FALSE;
    }
    PyObject *message = PyTuple_Pack(3, arguments[1], arguments[2], Py_None);
    if (message == NULL) {
        return NULL;
    }
    if (inbox != Py_None) {
        int status = PyList_Append(inbox, message);
        Py_DECREF(message);
        if (status < 0) {
            return NULL;
        }
        Py_RETURN_TRUE;
    }
    PyObject *first = PyList_New(1);
    if (first == NULL) {
        Py_DECREF(message);
        return NULL;
    }
    PyList_SET_ITEM(first, 0, message);
    SLOT(record, known->inbox) = first;
    Py_DECREF(inbox);
    Py_RETURN_NONE;
}

#endif
