/* How a census reads a record, and what the record would free if it alone died. Part of _walk.c.
 *
 * Theory of operation. A record is an instance of a class with slots. The plan says which slot
 * holds what: the *held* object and the two queues are the roots, *state* tells the idle from the
 * dead, and *account* is what the clock counts for it. Most records have nothing else, and of those
 * everything is read here, in some ten nanoseconds besides the walk. A record with something in one
 * of its *rare* slots, or of another class, is described by the plan's Python function instead.
 *
 * A census makes the first pass only. What an account says is compared with what that has found at
 * once: whoever may hold much more is a *suspect*. Cycles of its own may hide that, and another pass
 * has to look.
 *
 * References. The caller's tuple holds the records; everything else is borrowed from them during
 * the walk of one record. Python code may run between two records (the plan's functions are
 * called), never within one, but for adapters; nothing borrowed is kept over that. The GIL is
 * held. */

#ifndef ACTORKIT_HEAP_RECORDS_H
#define ACTORKIT_HEAP_RECORDS_H

#include "_roots.h"

#include <structmember.h>

enum { PLAN_KIND, PLAN_HELD, PLAN_QUEUES, PLAN_STATE, PLAN_IDLE, PLAN_DEAD, PLAN_GROUP, PLAN_RANK, PLAN_ACCOUNT,
       PLAN_LIMIT, PLAN_RARE, PLAN_DESCRIBE, PLAN_LENGTH };
enum { MOST_RARE = 16 };

static PyObject *name_held_at_most;

/* A RecordPlan of record_plan.py, with the offsets of the slots. */
typedef struct {
    PyTypeObject *kind;
    Py_ssize_t held, inbox, outbox, state, group, account, rare[MOST_RARE], rare_count;
    PyObject *idle, *dead, *rank_of, *limit, *describe;
} Plan;

/* What one record would free. */
typedef struct {
    Py_ssize_t bytes, mailbox, objects; /* `mailbox` is a part of `bytes` */
    Py_ssize_t leftovers; /* containers that were reached and did not die */
} Dropped;

static Py_ssize_t
slot_offset(PyTypeObject *kind, PyObject *slot)
{
    if (!Py_IS_TYPE(slot, &PyMemberDescr_Type) || !PyType_IsSubtype(kind, PyDescr_TYPE(slot))
        || ((PyMemberDescrObject *)slot)->d_member->type != T_OBJECT_EX) {
        PyErr_Format(PyExc_TypeError, "%R is not a slot of %R", slot, kind);
        return -1;
    }
    return ((PyMemberDescrObject *)slot)->d_member->offset;
}

/* Borrowed; NULL if the slot is empty or holds None. */
static inline PyObject *
in_slot(PyObject *record, Py_ssize_t offset)
{
    PyObject *value = *(PyObject **)((char *)record + offset);
    return value == Py_None ? NULL : value;
}

static int
read_plan(Plan *read, PyObject *plan)
{
    if (!PyTuple_Check(plan) || PyTuple_GET_SIZE(plan) != PLAN_LENGTH
        || !PyType_Check(PyTuple_GET_ITEM(plan, PLAN_KIND)) || !PyTuple_Check(PyTuple_GET_ITEM(plan, PLAN_QUEUES))
        || PyTuple_GET_SIZE(PyTuple_GET_ITEM(plan, PLAN_QUEUES)) != 2
        || !PyTuple_Check(PyTuple_GET_ITEM(plan, PLAN_LIMIT)) || !PyTuple_Check(PyTuple_GET_ITEM(plan, PLAN_RARE))
        || PyTuple_GET_SIZE(PyTuple_GET_ITEM(plan, PLAN_RARE)) > MOST_RARE) {
        PyErr_SetString(PyExc_TypeError, "not a RecordPlan");
        return 0;
    }
    PyObject *queues = PyTuple_GET_ITEM(plan, PLAN_QUEUES), *rare = PyTuple_GET_ITEM(plan, PLAN_RARE);
    read->kind = (PyTypeObject *)PyTuple_GET_ITEM(plan, PLAN_KIND);
    read->held = slot_offset(read->kind, PyTuple_GET_ITEM(plan, PLAN_HELD));
    read->inbox = read->held < 0 ? -1 : slot_offset(read->kind, PyTuple_GET_ITEM(queues, 0));
    read->outbox = read->inbox < 0 ? -1 : slot_offset(read->kind, PyTuple_GET_ITEM(queues, 1));
    read->state = read->outbox < 0 ? -1 : slot_offset(read->kind, PyTuple_GET_ITEM(plan, PLAN_STATE));
    read->group = read->state < 0 ? -1 : slot_offset(read->kind, PyTuple_GET_ITEM(plan, PLAN_GROUP));
    read->account = read->group < 0 ? -1 : slot_offset(read->kind, PyTuple_GET_ITEM(plan, PLAN_ACCOUNT));
    for (Py_ssize_t i = 0; read->account >= 0 && i < PyTuple_GET_SIZE(rare); i++) {
        read->rare[i] = slot_offset(read->kind, PyTuple_GET_ITEM(rare, i));
        read->rare_count++;
        if (read->rare[i] < 0) {
            return 0;
        }
    }
    read->idle = PyTuple_GET_ITEM(plan, PLAN_IDLE);
    read->dead = PyTuple_GET_ITEM(plan, PLAN_DEAD);
    read->rank_of = PyTuple_GET_ITEM(plan, PLAN_RANK);
    read->limit = PyTuple_GET_ITEM(plan, PLAN_LIMIT);
    read->describe = PyTuple_GET_ITEM(plan, PLAN_DESCRIBE);
    return read->account >= 0;
}

static inline int
is_plain(const Plan *plan, PyObject *record)
{
    if (!PyObject_TypeCheck(record, plan->kind)) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < plan->rare_count; i++) {
        if (in_slot(record, plan->rare[i]) != NULL) {
            return 0;
        }
    }
    PyObject *inbox = in_slot(record, plan->inbox), *outbox = in_slot(record, plan->outbox);
    return (inbox == NULL || PyList_CheckExact(inbox)) && (outbox == NULL || PyList_CheckExact(outbox))
        && in_slot(record, plan->group) != NULL && in_slot(record, plan->held) != NULL;
}

/* Drop some objects, as `drop_all` does. */
static void
drop_objects(Walk *walk, PyObject *const *objects, int count)
{
    for (int i = 0; i < count; i++) {
        mark_root(walk, objects[i]);
    }
    for (int i = 0; i < count && !ended(walk); i++) {
        charge_root(walk, objects[i]);
    }
    drain_with_adapters(walk, release);
}

static Py_ssize_t
leftovers_of(Walk *walk)
{
    Py_ssize_t count = 0;
    for (size_t i = 0; i < walk->used; i++) {
        count += is_leftover(walk, &walk->table[walk->order[i]]);
    }
    return count;
}

/* Take down what was dropped since the last call, of which `state` bytes are no mailbox, and be
   ready for the next record. 0 with an exception. `leftovers`: count them. */
static int
end_record(Walk *walk, size_t state, int leftovers, Dropped *dropped)
{
    if (walk->no_memory || walk->raised) {
        return 0;
    }
    *dropped = (Dropped){(Py_ssize_t)walk->bytes, (Py_ssize_t)(walk->bytes - state), (Py_ssize_t)walk->objects,
                         leftovers ? leftovers_of(walk) : 0};
    walk->over = 0;
    walk->bytes = walk->objects = 0;
    walk->group = GROUP_STATE;
    clear_table(walk);
    return 1;
}

/* Drop what a plain record holds. 0 with an exception. */
static int
drop_plain(Walk *walk, const Plan *plan, PyObject *record, int leftovers, Dropped *dropped)
{
    PyObject *held = in_slot(record, plan->held), *queues[2];
    int count = 0;
    drop_objects(walk, &held, 1);
    size_t state = walk->bytes;
    /* Read only now: an adapter may have run, and may have ended the actor. */
    const Py_ssize_t slots[2] = {plan->inbox, plan->outbox};
    for (int i = 0; i < 2; i++) {
        PyObject *queue = in_slot(record, slots[i]);
        if (queue != NULL && PyList_CheckExact(queue) && PyList_GET_SIZE(queue)) {
            queues[count++] = queue;
        }
    }
    if (count && !ended(walk)) {
        walk->group = GROUP_MAILBOX;
        drop_objects(walk, queues, count);
    }
    return end_record(walk, state, leftovers, dropped);
}

/* What the plan's function says of a record. */
typedef struct {
    PyObject *told; /* owned; the others are borrowed from it. NULL: the record is left out */
    PyObject *roots, *mailbox, *rank;
    double limit; /* 0: none */
    int idle;
} Description;

/* 0 with an exception. */
static int
describe(const Plan *plan, PyObject *record, Description *description)
{
    *description = (Description){.told = PyObject_CallOneArg(plan->describe, record)};
    if (description->told == NULL) {
        return 0;
    }
    if (description->told == Py_None) {
        Py_CLEAR(description->told);
        return 1;
    }
    PyObject *limit;
    if (!PyTuple_Check(description->told)) {
        PyErr_SetString(PyExc_TypeError, "a record must be described as (roots, mailbox, rank, idle, limit)");
    }
    else if (PyArg_ParseTuple(description->told, "OOOpO", &description->roots, &description->mailbox,
                              &description->rank, &description->idle, &limit)
             && check_sequences((PyObject *[]){description->roots, description->mailbox}, 2)) {
        description->limit = limit == Py_None ? 0.0 : PyFloat_AsDouble(limit);
    }
    if (PyErr_Occurred()) {
        Py_CLEAR(description->told);
        return 0;
    }
    return 1;
}

/* Drop what the plan's function says that a record holds. 0 with an exception. */
static int
drop_described(Walk *walk, const Description *description, int leftovers, Dropped *dropped)
{
    size_t state = drop_state_and_mailbox(walk, description->roots, description->mailbox, NULL, NULL);
    return end_record(walk, state, leftovers, dropped);
}

#define SUSPICIOUS (64 * 1024) /* this many bytes more than were found make a suspect, at least */

/* At most what the owner of an account has allocated or received and holds still; 0 if the account
   does not say. The clock's accounts are read directly; others are for tests. */
static Py_ssize_t
held_at_most(PyObject *account)
{
    uint64_t known = owners == NULL ? 0 : owners->held_at_most(account);
    if (known) {
        return known > PY_SSIZE_T_MAX ? PY_SSIZE_T_MAX : (Py_ssize_t)known;
    }
    PyObject *value = PyObject_GetAttr(account, name_held_at_most);
    Py_ssize_t bytes = value == NULL ? -1 : PyLong_AsSsize_t(value);
    Py_XDECREF(value);
    if (bytes < 0) {
        PyErr_Clear();
        return 0;
    }
    return bytes;
}

/* Is it suspicious that so many bytes may be held besides those that were found? */
static inline int
is_suspicious(Py_ssize_t more, Py_ssize_t found)
{
    return more > SUSPICIOUS && more > found / 4;
}

/* Enter (index, more) into the list if the account says that the record may hold much more, and
   something was reached behind which it may lie. -1 with an exception. */
static int
suspect(PyObject *suspects, const Plan *plan, PyObject *record, Py_ssize_t index, const Dropped *dropped)
{
    PyObject *account = dropped->bytes < 0 || dropped->leftovers == 0 || !PyObject_TypeCheck(record, plan->kind) ? NULL
        : in_slot(record, plan->account);
    Py_ssize_t more = account == NULL ? 0 : held_at_most(account) - dropped->bytes;
    if (!is_suspicious(more, dropped->bytes)) {
        return 0;
    }
    PyObject *row = Py_BuildValue("(nn)", index, more);
    int status = row == NULL ? -1 : PyList_Append(suspects, row);
    Py_XDECREF(row);
    return status;
}

#endif
