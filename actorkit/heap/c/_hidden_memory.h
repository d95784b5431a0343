/* Adapters: Python functions that tell of memory which no traversal shows. Part of _walk.c.
 *
 * Theory of operation. An adapter may do anything: let other threads run, change the graph, even
 * start another walk. So adapters are called only when no edge is pending, and what an adapter
 * returns is entered into the table before the next one is called. If an adapter changes the graph,
 * the figures are those of no single moment, but every pointer is good. What was learned about
 * types is forgotten after each call, since types may have died.
 *
 * References. Before an adapter is called every object in the table gets a reference of ours
 * ("pinned"), which is released when the walk ends. Pinning changes no result, because the count of
 * an object that has an entry is never read again. The referents that an adapter names are only
 * lent: we hold those that nobody else holds ("temporaries"). */

#ifndef ACTORKIT_HEAP_HIDDEN_MEMORY_H
#define ACTORKIT_HEAP_HIDDEN_MEMORY_H

#include "_edges.h"

/* The adapter of this object, which is in the table, is to be asked. 0 if there is no memory. */
static int
wait_for_adapter(Walk *walk, PyObject *object)
{
    if (!ROOM(walk, waiting, waiting_count, waiting_size)) {
        return 0;
    }
    walk->waiting[walk->waiting_count++] = object;
    return 1;
}

static void
pin_what_was_met(Walk *walk)
{
    for (; walk->pinned < walk->used; walk->pinned++) {
        Py_INCREF(walk->table[walk->order[walk->pinned]].object);
    }
    pin_shadows(walk);
}

/* Hold the referents in `sequence` (a list or tuple) ourselves, so that the sequence can go. */
static void
take_referents(Walk *walk, PyObject *sequence, Hidden *hidden)
{
    Py_ssize_t length = PySequence_Fast_GET_SIZE(sequence);
    hidden->first = walk->referent_count;
    for (Py_ssize_t i = 0; i < length && ROOM(walk, referents, referent_count, referent_size); i++) {
        PyObject *referent = PySequence_Fast_GET_ITEM(sequence, i);
        if (!is_immortal(referent) && !never_counts(Py_TYPE(referent))) {
            walk->referents[walk->referent_count++] = Py_NewRef(referent);
        }
    }
    hidden->count = walk->referent_count - hidden->first;
}

/* Give back the references that `take_referents` took, so that counts are as before. No object dies
   of it. */
static void
lend_referents(Walk *walk, const Hidden *hidden)
{
    for (size_t i = 0; i < hidden->count; i++) {
        PyObject *referent = walk->referents[hidden->first + i];
        if (Py_REFCNT(referent) > 1) {
            Py_DECREF(referent);
        }
        else if (ROOM(walk, temporaries, temporary_count, temporary_size)) {
            walk->temporaries[walk->temporary_count++] = referent;
        }
    }
}

static int
swallow_exception(Walk *walk)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        walk->raised = 1;
        return 0;
    }
    PyErr_Clear();
    walk->inexact = 1;
    return 1;
}

#define WRONG_ANSWER "an adapter must return (bytes, sequence of referents)"

/* Ask the adapter of `object`. On return the edges that it knows of are on the stack. */
static void
ask_adapter(Walk *walk, PyObject *object)
{
    pin_what_was_met(walk);
    PyObject *adapter = facts_of(walk, Py_TYPE(object))->adapter;
    PyObject *answer = adapter == NULL ? NULL : PyObject_CallOneArg(adapter, object);
    PyObject *bytes = NULL, *sequence = NULL;
    Py_ssize_t size = -1;
    if (answer != NULL && PyTuple_Check(answer) && PyTuple_GET_SIZE(answer) == 2) {
        bytes = PyTuple_GET_ITEM(answer, 0);
        sequence = PySequence_Fast(PyTuple_GET_ITEM(answer, 1), WRONG_ANSWER);
        size = sequence == NULL ? -1 : PyLong_AsSsize_t(bytes);
    }
    else if (answer != NULL) {
        PyErr_SetString(PyExc_TypeError, WRONG_ANSWER);
    }
    if (size < 0) {
        Py_XDECREF(sequence);
        Py_XDECREF(answer);
        walk->number = ++walk_numbers;
        walk->code = NULL;
        walk->inexact = 1;
        if (PyErr_Occurred()) {
            swallow_exception(walk);
        }
        return;
    }
    Hidden hidden = {size ? block_bytes((size_t)size) : 0, 0, 0};
    take_referents(walk, sequence, &hidden);
    Py_DECREF(sequence);
    Py_DECREF(answer);
    /* From here on no Python code runs until the next adapter. Types may have died meanwhile, so
     * what is known about types is forgotten. */
    walk->number = ++walk_numbers;
    walk->code = NULL;
    lend_referents(walk, &hidden);
    if (walk->no_memory || !ROOM(walk, hidden, hidden_count, hidden_size)) {
        return;
    }
    walk->hidden[walk->hidden_count++] = hidden;
    Entry *entry = find_entry(walk, object);
    if (entry == NULL) {
        return;
    }
    entry->flags |= (uint32_t)walk->hidden_count << HIDDEN_SHIFT;
    size_t sum = 0;
    expand_hidden(walk, entry->flags, &sum);
    if (!(entry->flags & ENTRY_DEAD)) {
        walk->opened += sum;
        walk->whose_opened.elsewhere += sum;
        return;
    }
    walk->bytes += sum;
    walk->whose.elsewhere += sum;
    for (size_t i = walk->counted_count; walk->recording && i-- > 0;) {
        if (walk->counted[i].object == object) {
            walk->counted[i].bytes += sum;
            break;
        }
    }
    if (walk->bytes > walk->limit) {
        walk->over = 1;
        walk->depth = 0;
    }
}

/* Ask all adapters that are waiting, and follow what they tell of, until nothing is left. */
static void
drain_with_adapters(Walk *walk, EdgeFunction follow)
{
    while (walk->waiting_count && !ended(walk)) {
        ask_adapter(walk, walk->waiting[--walk->waiting_count]);
        drain(walk, follow);
    }
}

#endif
