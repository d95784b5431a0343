/* The first pass: dropped objects die, and what only they held dies with them. Part of _walk.c.
 *
 * Theory of operation. Each reference that leaves a dead object is taken away from the virtual
 * count of its target (`release`). A target whose virtual count reaches 0 would be freed: its bytes
 * count, and its own references are followed (`charge`). What somebody else holds never reaches 0:
 * it is looked up, never traversed, so shared data cost nothing, however large they are.
 *
 * All that this pass counts is certainly private. That is why it may stop early: more than the
 * limit is a proof. It also stops when it has counted more objects than there can be, since then
 * some traversal lies.
 *
 * References are borrowed, the GIL is held, and no Python code runs. */

#ifndef ACTORKIT_HEAP_FIRST_PASS_H
#define ACTORKIT_HEAP_FIRST_PASS_H

#include "_hidden_memory.h"

#include <stdio.h>
#include <unistd.h>

static PyObject *allocated_blocks; /* sys.getallocatedblocks; found when the module is loaded */

/* The bytes of address space that this process has; SIZE_MAX where that is not known. */
static size_t
address_space(void)
{
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm != NULL) {
        if (fscanf(statm, "%lu", &pages) != 1) {
            pages = 0;
        }
        fclose(statm);
    }
    return pages ? (size_t)pages * (size_t)sysconf(_SC_PAGESIZE) : SIZE_MAX;
}

/* Many objects were counted: are there as many blocks? If not, some traversal lies, and the walk
 * ends. Only the interpreter's own allocator counts its blocks. With another one
 * (PYTHONMALLOC=malloc) the bound is what memory could hold, which is loose. */
static void
look_at_guard(Walk *walk)
{
    PyObject *answer = allocated_blocks == NULL ? NULL : PyObject_CallNoArgs(allocated_blocks);
    size_t blocks = answer == NULL ? 0 : PyLong_AsSize_t(answer);
    Py_XDECREF(answer);
    PyErr_Clear();
    size_t bound = blocks ? blocks * 2 + ((size_t)1 << 20) : address_space() / sizeof(PyObject);
    if (walk->objects > bound) {
        walk->inexact = 1;
        walk->over = 1;
    }
    walk->guard = walk->objects > bound ? walk->objects : bound;
}

/* `object` dies: count it, and push what it holds. */
static inline void
charge(Walk *walk, PyObject *object, const TypeFacts *facts)
{
    size_t bytes = object_bytes(object, facts);
    walk->bytes += bytes;
    walk->objects++;
    if (walk->account) {
        add_object(&walk->own, &walk->whose, object, facts, bytes);
    }
    if (walk->recording) {
        record(walk, object, bytes, walk->group);
    }
    if (walk->bytes > walk->limit) {
        walk->over = 1;
        return;
    }
    if (walk->objects > walk->guard) {
        look_at_guard(walk);
    }
    if (facts->adapter != NULL) {
        wait_for_adapter(walk, object);
    }
    expand(walk, object, facts);
}

/* Take a reference of a dead object away from its target. */
static inline void
release(Walk *walk, uintptr_t edge)
{
    PyObject *object = (PyObject *)(edge & ~THROUGH_TABLE);
    TypeFacts *facts = facts_if_counted(walk, object);
    if (facts == NULL) {
        return;
    }
    Py_ssize_t count = Py_REFCNT(object);
    if (count != 1 || edge & THROUGH_TABLE || facts->adapter != NULL) {
        Entry *entry = enter(walk, object);
        if (entry == NULL) {
            return;
        }
        if (entry->object == NULL) {
            entry->object = object;
            entry->left = count > (Py_ssize_t)UINT32_MAX ? UINT32_MAX : (uint32_t)(count - 1);
            entry->flags = entry->left && is_namespace(walk, object, facts) ? ENTRY_STOP : 0;
        }
        else if (entry->flags & (ENTRY_DEAD | ENTRY_STOP) || entry->left == 0) {
            return;
        }
        else {
            entry->left--;
        }
        if (entry->left) {
            return;
        }
        entry->flags |= ENTRY_DEAD;
    }
    charge(walk, object, facts);
}

/* Does it hold nothing that a traversal could show? */
static inline int
is_leaf(PyObject *object, const TypeFacts *facts)
{
    return facts->adapter == NULL && (facts->traverse == NULL || !PyObject_IS_GC(object)) && !(facts->flags & TYPE_CODE);
}

/* Is this entry a container that was reached and did not die? Cycles hide there, and shared data lie
 * there. */
static inline int
is_leftover(Walk *walk, const Entry *entry)
{
    return !(entry->flags & (ENTRY_DEAD | ENTRY_STOP)) && !is_leaf(entry->object, facts_of(walk, Py_TYPE(entry->object)));
}

#endif
