/* The second pass: which of the leftovers only a collection would free. Part of _walk.c.
 *
 * Theory of operation. The first pass cannot see private reference cycles. This one, on request, is
 * trial deletion among the leftovers, the objects that were reached but did not die. It counts the
 * references among them and all that they reach. Those with references from elsewhere, and what
 * they reach, are shared; a collection would free the rest. It traverses shared data, hence the cap
 * on its edges.
 *
 * References are borrowed, but for what is pinned for adapters (`_hidden_memory.h`). The GIL is
 * held. */

#ifndef ACTORKIT_HEAP_SECOND_PASS_H
#define ACTORKIT_HEAP_SECOND_PASS_H

#include "_hidden_memory.h"

/* Count a reference among the leftovers, and follow it when its target is first met. */
static inline void
count_edge(Walk *walk, uintptr_t edge)
{
    PyObject *object = (PyObject *)(edge & ~THROUGH_TABLE);
    if (is_immortal(object)) {
        return;
    }
    TypeFacts *facts = facts_of(walk, Py_TYPE(object));
    if (facts->flags & (TYPE_NEVER_COUNTS | TYPE_STOPS)) {
        return;
    }
    if (++walk->edges > walk->edge_cap) {
        walk->inexact = 1;
        walk->over = 1;
        return;
    }
    Py_ssize_t count = Py_REFCNT(object);
    if (count != 1 || edge & THROUGH_TABLE || facts->adapter != NULL) {
        Entry *entry = enter(walk, object);
        if (entry == NULL) {
            return;
        }
        if (entry->object != NULL) {
            if (!(entry->flags & (ENTRY_DEAD | ENTRY_STOP)) && entry->left) {
                entry->left--;
            }
            return;
        }
        entry->object = object;
        entry->left = count > (Py_ssize_t)UINT32_MAX ? UINT32_MAX : (uint32_t)(count - 1);
        if (is_namespace(object, facts)) {
            entry->flags = ENTRY_STOP;
            return;
        }
        entry->flags = ENTRY_OPENED;
        if (facts->adapter != NULL) {
            wait_for_adapter(walk, object);
        }
    }
    expand(walk, object, facts);
}

/* Count a leftover among the shared objects or the private cycles, and push what it holds. */
static inline void
settle(Walk *walk, uintptr_t edge, size_t *sum, uint32_t mark, int group)
{
    PyObject *object = (PyObject *)(edge & ~THROUGH_TABLE);
    if (is_immortal(object)) {
        return;
    }
    TypeFacts *facts = facts_of(walk, Py_TYPE(object));
    if (facts->flags & (TYPE_NEVER_COUNTS | TYPE_STOPS)) {
        return;
    }
    uint32_t flags = 0;
    if (Py_REFCNT(object) != 1 || edge & THROUGH_TABLE || facts->adapter != NULL) {
        Entry *entry = find_entry(walk, object);
        if (entry == NULL || entry->flags & (ENTRY_DEAD | ENTRY_STOP | ENTRY_SHARED | ENTRY_CYCLE)) {
            return;
        }
        entry->flags |= mark;
        flags = entry->flags;
    }
    size_t bytes = object_bytes(object, facts);
    expand(walk, object, facts);
    size_t hidden = 0;
    expand_hidden(walk, flags, &hidden);
    *sum += bytes + hidden;
    record(walk, object, bytes + hidden, group);
}

static void
settle_shared(Walk *walk, uintptr_t edge)
{
    settle(walk, edge, &walk->shared, ENTRY_SHARED, GROUP_SHARED);
}

static void
settle_cycle(Walk *walk, uintptr_t edge)
{
    settle(walk, edge, &walk->after_gc, ENTRY_CYCLE, GROUP_AFTER_GC);
}

/* Tell the leftovers that only a collection would free from those that others hold. */
static void
run_second_pass(Walk *walk)
{
    size_t leftovers = walk->used;
    for (size_t i = 0; i < leftovers && !ended(walk); i++) {
        Entry *entry = &walk->table[walk->order[i]];
        if (entry->flags & (ENTRY_DEAD | ENTRY_STOP | ENTRY_OPENED)) {
            continue;
        }
        entry->flags |= ENTRY_OPENED;
        PyObject *object = entry->object;
        TypeFacts *facts = facts_of(walk, Py_TYPE(object));
        if (facts->adapter != NULL) {
            wait_for_adapter(walk, object);
        }
        expand(walk, object, facts);
        drain(walk, count_edge);
    }
    drain_with_adapters(walk, count_edge);
    /* The answers of the adapters are kept: from here on no Python code runs. */
    for (int cycles = 0; cycles < 2; cycles++) {
        for (size_t i = 0; i < walk->used && !ended(walk); i++) {
            Entry *entry = &walk->table[walk->order[i]];
            if (entry->flags & (ENTRY_DEAD | ENTRY_STOP | ENTRY_SHARED | ENTRY_CYCLE)) {
                continue;
            }
            uintptr_t edge = (uintptr_t)entry->object | THROUGH_TABLE;
            if (cycles) {
                settle_cycle(walk, edge);
                drain(walk, settle_cycle);
            }
            else if (entry->left) {
                settle_shared(walk, edge);
                drain(walk, settle_shared);
            }
        }
    }
    if (walk->over) {
        walk->shared = walk->after_gc = 0;
        walk->over = 0;
    }
}

#endif
