/* Roots and running frames: where a walk begins. Part of _walk.c.
 *
 * Theory of operation. All roots are marked as dead before the first one is followed, so references
 * among them count for nothing.
 *
 * A running frame has no valid stack top, so its fast locals are read slot by slot, and of its
 * value stack as many slots as the caller says (stack_depth.py). The slots of a frame that a
 * pending call interrupted are good. A frame further down is in the middle of an instruction, or in
 * the middle of the clean-up after it: finalizers may be running, and then a slot may point to what
 * is freed already. Such a slot is only *compared*: if the walk met an object at that address
 * elsewhere, one reference to it is accounted for. It is never looked through. The exception is a
 * frame that runs the generator or coroutine that lies on its stack, which proves that it is not
 * cleaning up.
 *
 * References are borrowed, but for the generators of running frames, which are held until the end.
 * The GIL is held. */

#ifndef ACTORKIT_HEAP_ROOTS_H
#define ACTORKIT_HEAP_ROOTS_H

#include "_first_pass.h"

static int
check_sequences(PyObject *const *arguments, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyTuple_Check(arguments[i]) && !PyList_Check(arguments[i])) {
            PyErr_SetString(PyExc_TypeError, "roots must be a tuple or a list");
            return 0;
        }
    }
    return 1;
}

static int
check_frames(PyObject *frames)
{
    int fine = PyTuple_Check(frames);
    for (Py_ssize_t i = 0; fine && i < PyTuple_GET_SIZE(frames); i++) {
        fine = PyFrame_Check(PyTuple_GET_ITEM(frames, i));
    }
    if (!fine) {
        PyErr_SetString(PyExc_TypeError, "frames must be a tuple of frames");
    }
    return fine;
}

/* Two ints for each frame. The first is the depth of its value stack, or -1 if that is not known.
 * The second is 0 if its slots are certainly good; n > 0 if they are good provided that the n-th
 * slot from the top is the generator that the frame before this one in `frames` belongs to; -1 if
 * they may be out of date. */
static int
check_stacks(PyObject *stacks, PyObject *frames)
{
    int fine = PyTuple_Check(stacks) && PyTuple_GET_SIZE(stacks) == 2 * PyTuple_GET_SIZE(frames);
    for (Py_ssize_t i = 0; fine && i < PyTuple_GET_SIZE(stacks); i++) {
        int overflow = 0;
        fine = PyLong_Check(PyTuple_GET_ITEM(stacks, i));
        fine = fine && (PyLong_AsLongAndOverflow(PyTuple_GET_ITEM(stacks, i), &overflow), !overflow);
    }
    if (!fine) {
        PyErr_SetString(PyExc_TypeError, "stacks must be a tuple of two ints for each frame");
    }
    return fine;
}

/* Mark `object` as dead, whatever its count is; `charge_root` will count it. The caller holds a
 * reference to it that no other root owns. */
static void
mark_root(Walk *walk, PyObject *object)
{
    if (is_immortal(object) || facts_of(walk, Py_TYPE(object))->flags & TYPE_NEVER_COUNTS) {
        return;
    }
    Entry *entry = enter(walk, object);
    if (entry == NULL || (entry->object != NULL && entry->flags & ENTRY_DEAD)) {
        return;
    }
    entry->object = object;
    entry->left = 0;
    entry->flags = ENTRY_DEAD | ENTRY_ROOT;
}

static void
charge_root(Walk *walk, PyObject *object)
{
    Entry *entry = find_entry(walk, object);
    if (entry != NULL && entry->flags & ENTRY_ROOT) {
        entry->flags &= ~(uint32_t)ENTRY_ROOT;
        charge(walk, object, facts_of(walk, Py_TYPE(object)));
        drain(walk, release);
    }
}

/* Drop the value stack of a running frame without a valid stack top. `stack`: two ints, see
 * `check_stacks`. `inner`: the frame that this one called, or NULL. */
static void
drop_value_stack(Walk *walk, struct _PyInterpreterFrame *frame, PyObject *const *stack, PyObject *inner)
{
    PyCodeObject *code = frame_code(frame);
    long depth = PyLong_AsLong(stack[0]), certain = PyLong_AsLong(stack[1]);
    if (depth < 0 || depth > code->co_stacksize) {
        walk->inexact = 1;
        return;
    }
    PyObject **bottom = frame_slots(frame) + code->co_nlocalsplus;
    if (certain > 0) {
        PyObject *runs = inner == NULL ? NULL : frame_generator(frame_of(inner));
        certain = runs != NULL && certain <= depth && bottom[depth - certain] == runs ? 0 : -1;
    }
    walk->inexact |= certain < 0;
    for (long i = 0; i < depth; i++) {
        if (certain == 0) {
            push_optional(walk, bottom[i]);
        }
        else if (bottom[i] != NULL && ROOM(walk, stale, stale_count, stale_size)) {
            walk->stale[walk->stale_count++] = bottom[i];
        }
    }
}

/* Take away the references from slots that may be out of date, of objects that were met
   elsewhere. */
static void
settle_stale(Walk *walk)
{
    for (int progress = 1; progress && !ended(walk);) {
        progress = 0;
        for (size_t i = 0; i < walk->stale_count && !ended(walk); i++) {
            Entry *entry = walk->stale[i] == NULL ? NULL : find_entry(walk, walk->stale[i]);
            if (entry == NULL || entry->flags & (ENTRY_DEAD | ENTRY_STOP) || entry->left == 0) {
                continue;
            }
            walk->stale[i] = NULL;
            progress = 1;
            if (--entry->left == 0) {
                PyObject *object = entry->object;
                entry->flags |= ENTRY_DEAD;
                charge(walk, object, facts_of(walk, Py_TYPE(object)));
                drain(walk, release);
                drain_with_adapters(walk, release);
            }
        }
    }
}

/* Drop the slots of a running frame, and what else it holds. The frame object itself is only a view
 * of it that the caller made: it does not count. A frame that is part of a generator or coroutine
 * dies with it: that one is a root, and if the frame is not on top, its own traversal shows the
 * slots. */
static void
drop_frame(Walk *walk, PyObject *object, PyObject *const *stack, PyObject *inner)
{
    struct _PyInterpreterFrame *frame = frame_of(object);
    Entry *entry = find_entry(walk, object);
    if (entry == NULL || !(entry->flags & ENTRY_ROOT)) {
        return;
    }
    entry->flags &= ~(uint32_t)ENTRY_ROOT;
    PyObject *generator = frame_generator(frame);
    if (generator != NULL) {
        charge_root(walk, generator);
        if (ended(walk) || frame_shows_slots(frame)) {
            return;
        }
    }
    else {
        push_optional(walk, frame_function(frame));
        push_optional(walk, frame_locals(frame));
        push_optional(walk, frame_instance(frame));
    }
    int slots = frame_used_slots(frame);
    for (int i = 0; i < slots; i++) {
        push_optional(walk, frame_slots(frame)[i]);
    }
    if (!frame_shows_slots(frame)) {
        drop_value_stack(walk, frame, stack, inner);
    }
    drain(walk, release);
}

/* Drop the objects in a tuple or list, and the frames in another (or NULL). All are marked before
 * the first one is followed, so references among them count for nothing. */
static void
drop_all(Walk *walk, PyObject *roots, PyObject *frames, PyObject *stacks)
{
    Py_ssize_t length = PySequence_Fast_GET_SIZE(roots), frame_count = 0;
    for (Py_ssize_t i = 0; i < length; i++) {
        mark_root(walk, PySequence_Fast_GET_ITEM(roots, i));
    }
    if (frames != NULL) {
        frame_count = PyTuple_GET_SIZE(frames);
        for (Py_ssize_t i = 0; i < frame_count; i++) {
            PyObject *frame = PyTuple_GET_ITEM(frames, i);
            PyObject *generator = frame_generator(frame_of(frame));
            mark_root(walk, frame);
            /* A root needs a reference from outside: with a count of 1 it would not go through the
               table. */
            if (generator != NULL && ROOM(walk, temporaries, temporary_count, temporary_size)) {
                walk->temporaries[walk->temporary_count++] = Py_NewRef(generator);
                mark_root(walk, generator);
            }
        }
    }
    for (Py_ssize_t i = 0; i < length && !ended(walk); i++) {
        charge_root(walk, PySequence_Fast_GET_ITEM(roots, i));
    }
    for (Py_ssize_t i = 0; i < frame_count && !ended(walk); i++) {
        drop_frame(walk, PyTuple_GET_ITEM(frames, i), &PyTuple_GET_ITEM(stacks, 2 * i),
                   i ? PyTuple_GET_ITEM(frames, i - 1) : NULL);
    }
    drain_with_adapters(walk, release);
    settle_stale(walk);
}

/* The first pass over both groups of roots. Returns the bytes of the first group. */
static size_t
drop_state_and_mailbox(Walk *walk, PyObject *roots, PyObject *mailbox, PyObject *frames, PyObject *stacks)
{
    drop_all(walk, roots, frames, stacks);
    size_t state = walk->bytes;
    if (!ended(walk)) {
        walk->group = GROUP_MAILBOX;
        drop_all(walk, mailbox, NULL, NULL);
    }
    return state;
}

#endif
