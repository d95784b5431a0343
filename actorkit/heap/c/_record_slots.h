/* Where an actor's record keeps its account and its mailbox. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * `switch` and `accept` are called for every message, so they read slots of a record by their
 * offsets instead of asking for attributes. Offsets are looked up once for each class. A class is
 * known by its address and its version tag, which the interpreter never gives twice and takes away
 * when the class changes; so no reference to the class is needed. Classes without such slots are
 * asked the long way.
 *
 * Only the name `account` is ours. How the mailbox calls its two queues, it says itself
 * (`deliver_to`).
 *
 * The GIL is held; what a slot holds is borrowed. */

#ifndef ACTORKIT_HEAP_RECORD_SLOTS_H
#define ACTORKIT_HEAP_RECORD_SLOTS_H

#include "_account.h"

#include <string.h>
#include <structmember.h>

/* The offsets of the slots of one class. 0: there is no such slot. */
typedef struct {
    PyTypeObject *type;
    unsigned int version;
    Py_ssize_t account, inbox, outbox;
} RecordSlots;

static RecordSlots known_slots[8];
static PyObject *account_name;             /* interned */
static PyObject *inbox_name, *outbox_name; /* interned; NULL: no mailbox has told of itself yet */

#define SLOT(record, offset) (*(PyObject **)((char *)(record) + (offset)))

static inline RecordSlots *
place_of(PyTypeObject *type)
{
    return &known_slots[((uintptr_t)type >> 4 ^ (uintptr_t)type >> 9) & 7];
}

/* 0 if instances have no plain slot of this name. */
static Py_ssize_t
offset_of(PyTypeObject *type, PyObject *name)
{
    if (name == NULL) {
        return 0;
    }
    PyObject *descriptor = _PyType_Lookup(type, name); /* borrowed; gives the class a version tag */
    if (descriptor == NULL || Py_TYPE(descriptor) != &PyMemberDescr_Type || type->tp_version_tag == 0
        || type->tp_getattro != PyObject_GenericGetAttr) {
        return 0;
    }
    PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
    return member->type == T_OBJECT_EX && PyType_IsSubtype(type, PyDescr_TYPE(descriptor)) ? member->offset : 0;
}

/* Look a class up by the long way. NULL if its instances have no plain slot for an account. */
static RecordSlots *
learn_slots(PyTypeObject *type)
{
    Py_ssize_t account = offset_of(type, account_name);
    if (account == 0) {
        return NULL;
    }
    RecordSlots *known = place_of(type);
    *known = (RecordSlots){type, type->tp_version_tag, account, offset_of(type, inbox_name),
                           offset_of(type, outbox_name)};
    return known;
}

/* NULL if its instances have no plain slot for an account. */
static inline RecordSlots *
slots_of(PyTypeObject *type)
{
    RecordSlots *known = place_of(type);
    if (UNLIKELY(known->type != type || known->version != type->tp_version_tag || known->version == 0)) {
        known = learn_slots(type);
    }
    return known;
}

PyDoc_STRVAR(deliver_to_doc, "deliver_to(inbox, outbox, /)\n--\n\n"
"Let `accept` deliver to the slots of these names: the queue that senders append to, and the queue that the\n"
"actor takes from.");

static PyObject *
clock_deliver_to(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *inbox, *outbox;
    if (!PyArg_ParseTuple(arguments, "UU:deliver_to", &inbox, &outbox)) {
        return NULL;
    }
    Py_INCREF(inbox);
    Py_INCREF(outbox);
    PyUnicode_InternInPlace(&inbox);
    PyUnicode_InternInPlace(&outbox);
    Py_XSETREF(inbox_name, inbox);
    Py_XSETREF(outbox_name, outbox);
    memset(known_slots, 0, sizeof(known_slots));
    Py_RETURN_NONE;
}

#endif
