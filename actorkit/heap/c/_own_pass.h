/* The own pass: which of the leftovers only a collection would free. Part of _walk.c.
 *
 * Theory of operation. The first pass cannot see private reference cycles. This one is trial
 * deletion among the leftovers, the objects that were reached but did not die:
 *
 *  1. *Count.* Leftovers are *opened*: each reference that leaves them is taken away from what is
 *     left of its target's count. What is met for the first time on the way is opened too. The
 *     bytes of what is opened are summed up.
 *  2. *Mark.* What has something left is held from outside, and so is what was not opened. From the
 *     opened ones among them everything is marked that they reach, and its bytes are summed up as
 *     shared. What is neither is private: a collection would free it.
 *
 * Whatever the set of opened objects is, the result is never too high: what was not opened counts as
 * a holder. So the pass opens what is likely to be private, and leaves out the world. What lies on
 * the account's own pages (`_own_pages.h`) is opened as soon as it is met: it is at most what the
 * actor has allocated. A *foreign* container is put off until nothing of its own is left to open.
 * Then those come first whose references are all explained, then the others, one structure after the
 * other, up to a cap. (The header of a list of its own often lies elsewhere, since the interpreter keeps
 * freed ones in lists for everybody.) A long foreign container is opened only if much in it is its
 * own, or leads nowhere. So modules, configuration and other actors cost nothing, however large they
 * are. Objects without references of their own are opened by being met, wherever they lie.
 *
 * A cap on what is its own would be of no use, and no limit ends the pass early: in a strongly
 * connected structure the last object that is not opened holds all others.
 *
 * Without a cap (UNBOUNDED) the pass opens all that is reached, in the order of meeting, and then it
 * also knows what is shared. It has no end but its cap on edges.
 *
 * It goes on with the table of the first pass, in the same call: the roots and the frames are in
 * there. Entries of objects on own pages move to the shadows first. An object with a count of 1 has
 * no record, as in the first pass. One with an adapter is in the table wherever it lies.
 *
 * References are borrowed, but for what is pinned for adapters (`_hidden_memory.h`). The GIL is
 * held. */

#ifndef ACTORKIT_HEAP_OWN_PASS_H
#define ACTORKIT_HEAP_OWN_PASS_H

#include "_first_pass.h"

enum {
    SAMPLES = 16,
    FOREIGN_EDGES = 16,  /* so many for each container under the cap lead out of foreign ones at most */
    MOST_COUNTED = 0xFFFFFF  /* references that a shadow can count */
};
#define SHADOW_LEFT ((uint32_t)1 << SHADOW_SHIFT)
#define NOT_PRIVATE (ENTRY_DEAD | ENTRY_STOP | ENTRY_SHARED)

static inline uint32_t
new_shadow(size_t left, int stop)
{
    return stop || left > MOST_COUNTED ? ENTRY_MET | ENTRY_STOP : (uint32_t)left << SHADOW_SHIFT | ENTRY_MET;
}

/* --- Counting --------------------------------------------------------------------------------- */

/* Sum up the bytes of what is opened. */
static inline void
count_opened(Walk *walk, PyObject *object, const TypeFacts *facts)
{
    size_t bytes = object_bytes(object, facts);
    walk->opened += bytes;
    if (walk->account) {
        add_object(&walk->own, &walk->whose_opened, object, facts, bytes);
    }
}

static inline void
open_entry(Walk *walk, Entry *entry, PyObject *object, const TypeFacts *facts)
{
    entry->flags |= ENTRY_OPENED;
    count_opened(walk, object, facts);
    if (facts->adapter != NULL) {
        wait_for_adapter(walk, object);
    }
    expand(walk, object, facts);
}

/* A reference to something that is not on own pages, or has an adapter. */
static void
count_foreign(Walk *walk, PyObject *object, const TypeFacts *facts)
{
    int leaf = is_leaf(object, facts);
    if (walk->foreign_entered >= walk->foreign_cap && !leaf) {
        Entry *known = find_entry(walk, object);
        if (known == NULL) {
            walk->capped = 1;
        }
        else if (!(known->flags & (ENTRY_DEAD | ENTRY_STOP)) && known->left) {
            known->left--;
        }
        return;
    }
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
    size_t left = (size_t)Py_REFCNT(object) - 1;
    entry->object = object;
    entry->left = left > UINT32_MAX ? UINT32_MAX : (uint32_t)left;
    entry->flags = is_namespace(walk, object, facts) ? ENTRY_STOP : 0;
    if (entry->flags) {
        return;
    }
    walk->foreign_entered += !leaf;
    if (leaf || walk->foreign_cap == UNBOUNDED) {
        open_entry(walk, entry, object, facts);
    }
    else if (ROOM(walk, foreign, foreign_count, foreign_size)) {
        walk->foreign[walk->foreign_count++] = object;
    }
}

/* Count a reference that leaves an opened object, and follow it when its target is first met. */
static inline void
count_edge(Walk *walk, uintptr_t edge)
{
    PyObject *object = (PyObject *)(edge & ~THROUGH_TABLE);
    uint32_t *shadow = shadow_of(&walk->own, object);
    if (++walk->edges > walk->edge_cap) {
        walk->over = 1;
        return;
    }
    if (shadow != NULL && *shadow != 0) {
        if (!(*shadow & (ENTRY_DEAD | ENTRY_STOP)) && *shadow >= SHADOW_LEFT) {
            *shadow -= SHADOW_LEFT;
        }
        return;
    }
    TypeFacts *facts = facts_if_counted(walk, object);
    if (facts == NULL) {
        return;
    }
    int leaf = is_leaf(object, facts);
    int only_here = Py_REFCNT(object) == 1 && !(edge & THROUGH_TABLE) && facts->adapter == NULL;
    if (only_here && leaf) {
        count_opened(walk, object, facts);
        return;
    }
    if (facts->adapter != NULL || (shadow == NULL && !(only_here && walk->foreign_cap == UNBOUNDED))) {
        count_foreign(walk, object, facts);
        return;
    }
    if (!only_here) {
        *shadow = new_shadow((size_t)Py_REFCNT(object) - 1, is_namespace(walk, object, facts));
        if (walk->pinning) {
            *shadow |= ENTRY_PINNED;
            Py_INCREF(object);
        }
        if (*shadow & ENTRY_STOP) {
            return;
        }
        *shadow |= ENTRY_OPENED;
    }
    count_opened(walk, object, facts);
    if (!leaf) {
        expand(walk, object, facts);
    }
}

/* Is this a long container in which hardly anything is its own? Then it is a table of somebody
 * else's. A few elements are asked. Where nobody has pages of its own, it may be opened if all its
 * references are explained and its elements are within the cap. */
static int
is_others_table(Walk *walk, PyObject *object, uint32_t left)
{
    PyObject **items = NULL;
    const PyDictObject *dict = NULL;
    size_t entered = walk->foreign_entered, cap = walk->foreign_cap;
    size_t room = walk->own.page_count || left || entered > cap ? 0 : cap - entered;
    Py_ssize_t length = 0, most = (Py_ssize_t)(room > cap / 8 ? room : cap / 8), theirs = 0;
    size_t of_table;
    const void *table = table_of(object, facts_of(walk, Py_TYPE(object)), &of_table);
    if (of_table > SMALL && walk->own.ledger != NULL && owners->bytes_in_ledger(walk->own.ledger, table)) {
        return 0; /* the account has made the table grow */
    }
    if (PyList_Check(object) || PyTuple_Check(object)) {
        items = PyList_Check(object) ? ((PyListObject *)object)->ob_item : &PyTuple_GET_ITEM(object, 0);
        length = Py_SIZE(object);
    }
    else if (PyDict_Check(object) && !dict_shares_keys((PyDictObject *)object)) {
        dict = (PyDictObject *)object;
        length = dict_entries(dict);
    }
    else if (PyAnySet_Check(object)) {
        return PySet_GET_SIZE(object) > most;
    }
    for (Py_ssize_t i = 0; length > most && i < SAMPLES; i++) {
        Py_ssize_t at = i * (length - 1) / (SAMPLES - 1);
        PyObject *value = items != NULL ? items[at] : dict_value_at(dict, at);
        theirs += value != NULL && !own_page_of(&walk->own, value) && !is_leaf(value, facts_of(walk, Py_TYPE(value)));
    }
    return 2 * theirs > SAMPLES || (size_t)length > walk->foreign_cap * FOREIGN_EDGES;
}

/* Open a container that lies elsewhere, and what of its own turns up in it. */
static void
open_foreign(Walk *walk, PyObject *object)
{
    Entry *entry = find_entry(walk, object);
    if (entry == NULL || entry->flags & (ENTRY_DEAD | ENTRY_STOP | ENTRY_OPENED)) {
        return;
    }
    if (walk->foreign_cap != UNBOUNDED) {
        if (walk->foreign_opened >= walk->foreign_cap * FOREIGN_EDGES || is_others_table(walk, object, entry->left)) {
            walk->capped = 1;
            return;
        }
    }
    open_entry(walk, entry, object, facts_of(walk, Py_TYPE(object)));
    walk->foreign_opened += 1 + walk->depth;
    drain_edges(walk, count_edge, 1);
}

/* Open what is explained among what was put off since the last time: nobody else holds that, unless
 * somebody holds what holds it. The rest goes onto the stack of what is not. */
static void
open_explained(Walk *walk, size_t *next)
{
    while (!ended(walk) && *next < walk->foreign_count) {
        PyObject *object = walk->foreign[(*next)++];
        Entry *entry = find_entry(walk, object);
        if (entry->left == 0) {
            open_foreign(walk, object);
        }
        else if (ROOM(walk, unexplained, unexplained_count, unexplained_size)) {
            walk->unexplained[walk->unexplained_count++] = object;
        }
    }
}

/* Open what is on the stack above `base`, the last first, until so many more have been met. */
static void
open_unexplained(Walk *walk, size_t *next, size_t base, size_t most)
{
    size_t until = walk->foreign_entered + most;
    while (!ended(walk) && walk->unexplained_count > base && walk->foreign_entered < until) {
        open_foreign(walk, walk->unexplained[--walk->unexplained_count]);
        open_explained(walk, next);
    }
}

/* Open what was put off. Each of the first ones gets a part of the cap, and is followed into the
 * depth: better some structures in full than all of them in part, of which none would be private.
 * What is left of them comes last. */
static void
open_all_foreign(Walk *walk)
{
    size_t next = 0;
    open_explained(walk, &next);
    size_t first = walk->unexplained_count;
    for (size_t i = 0; i < first && !ended(walk); i++) {
        size_t base = walk->unexplained_count;
        open_foreign(walk, walk->unexplained[i]);
        open_explained(walk, &next);
        open_unexplained(walk, &next, base, walk->foreign_cap / 4);
    }
    do {
        if (walk->waiting_count && !ended(walk)) {
            ask_adapter(walk, walk->waiting[--walk->waiting_count]);
            drain_edges(walk, count_edge, 1);
            open_explained(walk, &next);
        }
        open_unexplained(walk, &next, first, SIZE_MAX / 2);
    } while (walk->waiting_count && !ended(walk));
}

/* Entries of what lies on own pages move to the shadows. */
static void
move_to_shadows(Walk *walk)
{
    for (size_t i = 0; walk->own.page_count && i < walk->used; i++) {
        Entry *entry = &walk->table[walk->order[i]];
        uint32_t *shadow = shadow_of(&walk->own, entry->object);
        if (shadow != NULL && facts_of(walk, Py_TYPE(entry->object))->adapter == NULL) {
            *shadow = new_shadow(entry->left, (entry->flags & ENTRY_STOP) != 0);
            *shadow |= entry->flags & ENTRY_DEAD;
            entry->flags |= ENTRY_STOP;
            if (walk->pinning) {
                *shadow |= ENTRY_PINNED;
                Py_INCREF(entry->object);
            }
        }
    }
}

/* Open the leftovers of the first pass, and what they lead to. */
static void
count_all(Walk *walk)
{
    size_t leftovers = walk->used;
    move_to_shadows(walk);
    for (size_t i = 0; i < leftovers && !ended(walk); i++) {
        PyObject *object = walk->table[walk->order[i]].object;
        TypeFacts *facts = facts_of(walk, Py_TYPE(object));
        uint32_t *shadow = facts->adapter == NULL ? shadow_of(&walk->own, object) : NULL;
        if (shadow != NULL && !(*shadow & (ENTRY_DEAD | ENTRY_STOP | ENTRY_OPENED))) {
            *shadow |= ENTRY_OPENED;
            count_opened(walk, object, facts);
            expand(walk, object, facts);
            drain_edges(walk, count_edge, 1);
        }
    }
    for (size_t i = 0; i < leftovers && !ended(walk); i++) {
        Entry *entry = &walk->table[walk->order[i]];
        PyObject *object = entry->object;
        TypeFacts *facts = facts_of(walk, Py_TYPE(object));
        if (entry->flags & (ENTRY_DEAD | ENTRY_STOP | ENTRY_OPENED)) {
            continue;
        }
        if (walk->foreign_cap == UNBOUNDED || is_leaf(object, facts)) {
            open_entry(walk, entry, object, facts);
            drain_edges(walk, count_edge, 1);
        }
        else if (walk->foreign_entered >= walk->foreign_cap) {
            walk->capped = 1;
        }
        else if (ROOM(walk, foreign, foreign_count, foreign_size)) {
            walk->foreign_entered++;
            walk->foreign[walk->foreign_count++] = object;
        }
    }
    open_all_foreign(walk);
    /* The answers of the adapters are kept: from here on no Python code runs. */
}

/* --- Marking ---------------------------------------------------------------------------------- */

/* Mark an opened object, and push what it holds. */
static inline void
settle(Walk *walk, uintptr_t edge, uint32_t mark)
{
    PyObject *object = (PyObject *)(edge & ~THROUGH_TABLE);
    uint32_t *shadow = shadow_of(&walk->own, object), flags = 0;
    if (shadow != NULL && *shadow & (NOT_PRIVATE | ENTRY_CYCLE)) {
        return;
    }
    TypeFacts *facts = facts_if_counted(walk, object);
    if (facts == NULL) {
        return;
    }
    int only_here = Py_REFCNT(object) == 1 && !(edge & THROUGH_TABLE) && facts->adapter == NULL;
    if (shadow != NULL && facts->adapter == NULL) {
        if (*shadow == 0 && !only_here) {
            return; /* it was never met */
        }
        if (*shadow != 0) {
            *shadow |= mark;
        }
    }
    else if (!only_here || !(walk->foreign_cap == UNBOUNDED || is_leaf(object, facts))) {
        Entry *entry = find_entry(walk, object);
        if (entry == NULL || entry->flags & (NOT_PRIVATE | ENTRY_CYCLE)) {
            return;
        }
        entry->flags |= mark;
        flags = entry->flags;
        if (!(flags & ENTRY_OPENED)) {
            return; /* what it holds was not counted, so that is held anyway */
        }
    }
    size_t bytes = object_bytes(object, facts), hidden = 0;
    expand(walk, object, facts);
    expand_hidden(walk, flags, &hidden);
    if (mark == ENTRY_CYCLE) {
        record(walk, object, bytes + hidden, GROUP_AFTER_GC);
        return;
    }
    walk->shared += bytes + hidden;
    if (walk->account) {
        add_object(&walk->own, &walk->whose_shared, object, facts, bytes);
        walk->whose_shared.elsewhere += hidden;
    }
    if (walk->foreign_cap == UNBOUNDED) {
        record(walk, object, bytes + hidden, GROUP_SHARED);
    }
}

static void
settle_shared(Walk *walk, uintptr_t edge)
{
    settle(walk, edge, ENTRY_SHARED);
}

static void
settle_cycle(Walk *walk, uintptr_t edge)
{
    settle(walk, edge, ENTRY_CYCLE);
}

/* References from slots that may be out of date, of objects that the first pass did not meet: see
 * `settle_stale`. */
static void
count_stale(Walk *walk)
{
    for (size_t i = 0; i < walk->stale_count; i++) {
        PyObject *object = walk->stale[i];
        uint32_t *shadow = object == NULL ? NULL : shadow_of(&walk->own, object);
        Entry *entry = object == NULL ? NULL : find_entry(walk, object);
        if (shadow != NULL && *shadow >= SHADOW_LEFT) {
            *shadow -= SHADOW_LEFT;
        }
        else if (entry != NULL && entry->left) {
            entry->left--;
        }
    }
}

/* Mark from each object on that this concerns: what is shared, or the rest, to record it. */
static void
settle_all(Walk *walk, int cycles)
{
    uint32_t done = NOT_PRIVATE | ENTRY_CYCLE;
    for (size_t word = 0; word < walk->own.page_count * OWN_WORDS && !ended(walk); word++) {
        uint32_t shadow = walk->own.shadows[word];
        if (shadow == 0 || shadow & done || !(cycles || shadow >= SHADOW_LEFT)) {
            continue;
        }
        uintptr_t edge = (uintptr_t)object_of_shadow(&walk->own, word) | THROUGH_TABLE;
        if (cycles) {
            settle_cycle(walk, edge);
            drain(walk, settle_cycle);
        }
        else {
            settle_shared(walk, edge);
            drain_edges(walk, settle_shared, 1);
        }
    }
    for (size_t i = 0; i < walk->used && !ended(walk); i++) {
        Entry *entry = &walk->table[walk->order[i]];
        if (entry->flags & done) {
            continue;
        }
        uintptr_t edge = (uintptr_t)entry->object | THROUGH_TABLE;
        if (cycles) {
            settle_cycle(walk, edge);
            drain(walk, settle_cycle);
        }
        else if (!(entry->flags & ENTRY_OPENED)) {
            entry->flags |= ENTRY_SHARED;
        }
        else if (entry->left) {
            settle_shared(walk, edge);
            drain_edges(walk, settle_shared, 1);
        }
    }
}

/* Tell the leftovers that only a collection would free from those that others hold. */
static void
run_own_pass(Walk *walk, size_t foreign_cap)
{
    walk->foreign_cap = foreign_cap;
    if (!cast_shadows(&walk->own)) {
        walk->no_memory = 1;
        return;
    }
    count_all(walk);
    if (walk->over) { /* the cap on edges */
        walk->over = 0;
        walk->inexact = 1;
        return;
    }
    count_stale(walk);
    settle_all(walk, 0);
    if (walk->opened > walk->shared) { /* else an adapter has changed what was counted */
        walk->after_gc = walk->opened - walk->shared;
        walk->whose.elsewhere += walk->whose_opened.elsewhere - walk->whose_shared.elsewhere;
        walk->whose.surplus += walk->whose_opened.surplus - walk->whose_shared.surplus;
    }
    if (walk->recording) {
        settle_all(walk, 1);
    }
    if (foreign_cap != UNBOUNDED) {
        walk->shared = 0;
    }
}

#endif
