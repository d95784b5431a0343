/* The memory of a walk: its table of objects, its stack of edges, and how it begins and ends. Part
 * of _walk.c.
 *
 * Theory of operation. The table has an entry for each object that may be met over more than one
 * edge: its *virtual* reference count and what is known about it. It is open addressing over
 * `table`, and `order` lists the slots in use, so that emptying it costs what was used.
 *
 * All of this comes from malloc, not from Python's allocators, which are being watched. If there is
 * no memory, `no_memory` is set, the walk ends, and its caller raises MemoryError. The buffers of
 * one small walk are kept for the next one. The own pass keeps the counts of what lies on own pages
 * elsewhere (`_own_pages.h`).
 *
 * References. The objects in the table, on the stack and among the records are borrowed, but for
 * the first `pinned` ones of the table and for `temporaries`: those are ours until the end
 * (`_hidden_memory.h`). The registered types and functions are referenced by the walk itself. The
 * GIL is held. Emptying the table may free objects, and then Python code may run. */

#ifndef ACTORKIT_HEAP_TABLE_H
#define ACTORKIT_HEAP_TABLE_H

#include "_whose.h"

enum EntryFlag {
    ENTRY_DEAD = 1,     /* first pass: its virtual count is 0 */
    ENTRY_STOP = 2,     /* a module's namespace */
    ENTRY_OPENED = 4,   /* own pass: its references have been counted */
    ENTRY_SHARED = 8,   /* own pass: held from elsewhere */
    ENTRY_CYCLE = 16,   /* own pass: a collection would free it */
    ENTRY_ROOT = 32,    /* a root that has not been counted yet */
    ENTRY_MET = 64,     /* only of a shadow: it has a record there */
    ENTRY_PINNED = 128  /* only of a shadow: it holds a reference of ours */
};
enum { SHADOW_SHIFT = 8 };  /* the bits of a shadow from this one on: what is left */
enum { HIDDEN_SHIFT = 8 };  /* the flags from this bit on: 1 + the index of what the adapter said, or 0 */

typedef struct {
    PyObject *object;
    uint32_t left;  /* references that are not accounted for yet */
    uint32_t flags;
} Entry;

/* What an adapter said of one object. */
typedef struct {
    size_t bytes;
    size_t first, count;  /* its referents, in `referents` */
} Hidden;

/* An object that was counted: for the sums by type, and for tests. */
typedef struct {
    PyObject *object;
    size_t bytes;
    int group;
} Counted;

enum Group { GROUP_STATE, GROUP_MAILBOX, GROUP_AFTER_GC, GROUP_SHARED };

enum { TYPE_CACHE = 256, SMALL_TABLE = 64, KEPT_TABLE = 8192, KEPT_STACK = 65536, IN_FLIGHT = 8 };

/* An edge is a pointer to its target, with this bit set if the target must go through the table. */
#define THROUGH_TABLE ((uintptr_t)1)

typedef struct {
    TypeFacts types[TYPE_CACHE]; /* what was learned about types, by address */
    uint64_t number;             /* of this walk; a new one after each adapter */
    uint64_t registration;       /* the state of the registry that `types` were learned with */

    Entry *table;     /* open addressing */
    size_t mask;      /* its length less 1 */
    uint32_t *order;  /* the slots in use, in the order of their use */
    size_t used;      /* how many */
    size_t pinned;    /* so many of them, from the first, hold a reference of ours */

    uintptr_t *stack; /* edges to follow */
    size_t depth, stack_size;

    PyObject **waiting;  /* objects in the table whose adapter has to be called */
    size_t waiting_count, waiting_size;
    Hidden *hidden;      /* what adapters have said */
    size_t hidden_count, hidden_size;
    PyObject **referents;  /* what they named, one object after the other */
    size_t referent_count, referent_size;
    PyObject **temporaries;  /* objects that are ours until the end */
    size_t temporary_count, temporary_size;

    OwnPages own;      /* of the account, if it is known */
    int account;       /* it is: count what lies elsewhere, and what it has made of its own */
    int namespaces_stop; /* at a module's globals */
    PyObject *code;    /* the code object that was asked about last, whether the account has made it */
    int own_code;      /* it has */
    int pinning;       /* what is met on own pages gets a reference of ours */

    PyObject **foreign;  /* own pass: containers elsewhere, in the order of their opening */
    size_t foreign_count, foreign_size;
    PyObject **unexplained;  /* those of them that had other holders when it was their turn */
    size_t unexplained_count, unexplained_size;
    size_t foreign_cap;  /* so many of them at most; UNBOUNDED: all */
    size_t foreign_entered, foreign_opened;
    size_t opened;     /* bytes of what was opened */
    Whose whose_opened, whose_shared;
    int capped;        /* something was not opened */

    PyObject **stale;  /* addresses from value stacks that may be out of date: never followed */
    size_t stale_count, stale_size;

    Counted *counted;  /* the objects that were counted, if `recording` */
    size_t counted_count, counted_size;
    int recording;

    Registry registry; /* what is registered, held until the end */
    size_t bytes;      /* of the objects counted in the first pass */
    size_t objects;    /* how many */
    size_t limit;      /* more bytes end the walk */
    size_t guard;      /* more objects need a look whether there can be so many */
    Whose whose;       /* these bytes and after_gc, if the account is known */
    size_t edges;      /* followed in the own pass */
    size_t edge_cap;   /* more edges end the own pass */
    size_t shared;     /* bytes of leftovers that others hold */
    size_t after_gc;   /* bytes of leftovers that a collection would free */
    int group;         /* of the objects that are being counted */
    int over;          /* past the limit, the cap or the guard: the walk ends */
    int inexact;       /* the figures are estimates, or too low */
    int no_memory;     /* for the walk itself */
    int raised;        /* an adapter raised something that we must not swallow */
} Walk;

#define UNBOUNDED SIZE_MAX

static Registry registered;
static Walk *spare;            /* the buffers of a walk that is over, for the next one */
static uint64_t walk_numbers;  /* the number of the last walk */
static uint64_t registrations; /* how often the registry was replaced */

/* --- Growing arrays --------------------------------------------------------------------------- */

/* Make room for one more element. 0 if there is no memory. */
static int
make_room(Walk *walk, void **array, size_t *size, size_t needed, size_t element)
{
    if (needed < *size) {
        return 1;
    }
    size_t larger = *size ? *size * 2 : 64;
    while (larger <= needed) {
        larger *= 2;
    }
    void *moved = realloc(*array, larger * element);
    if (moved == NULL) {
        walk->no_memory = 1;
        return 0;
    }
    *array = moved;
    *size = larger;
    return 1;
}

#define ROOM(walk, array, count, size) \
    make_room(walk, (void **)&(walk)->array, &(walk)->size, (walk)->count, sizeof *(walk)->array)

/* --- The table -------------------------------------------------------------------------------- */

static inline size_t
slot_of(PyObject *object)
{
    return (size_t)((((uint64_t)(uintptr_t)object >> 4) * UINT64_C(0x9E3779B97F4A7C15)) >> 20);
}

static int
resize_table(Walk *walk, size_t slots)
{
    Entry *table = calloc(slots, sizeof *table);
    uint32_t *order = slots > (size_t)UINT32_MAX ? NULL : malloc(slots / 2 * sizeof *order + sizeof *order);
    if (table == NULL || order == NULL) {
        free(table);
        free(order);
        walk->no_memory = 1;
        return 0;
    }
    size_t mask = slots - 1;
    for (size_t i = 0; i < walk->used; i++) {
        Entry entry = walk->table[walk->order[i]];
        size_t slot = slot_of(entry.object) & mask;
        while (table[slot].object != NULL) {
            slot = (slot + 1) & mask;
        }
        table[slot] = entry;
        order[i] = (uint32_t)slot;
    }
    free(walk->table);
    free(walk->order);
    walk->table = table;
    walk->order = order;
    walk->mask = mask;
    return 1;
}

static inline Entry *
find_entry(Walk *walk, PyObject *object)
{
    size_t slot = slot_of(object) & walk->mask;
    for (;;) {
        Entry *entry = &walk->table[slot];
        if (entry->object == object) {
            return entry;
        }
        if (entry->object == NULL) {
            return NULL;
        }
        slot = (slot + 1) & walk->mask;
    }
}

/* The entry of `object`, made if there is none. In a new entry `object` is NULL: the caller fills
 * it in. The pointer is good until the next call. NULL if there is no memory. */
static inline Entry *
enter(Walk *walk, PyObject *object)
{
    for (;;) {
        size_t slot = slot_of(object) & walk->mask;
        for (;;) {
            Entry *entry = &walk->table[slot];
            if (entry->object == object) {
                return entry;
            }
            if (entry->object == NULL) {
                if ((walk->used + 1) * 2 > walk->mask + 1) {
                    break;
                }
                walk->order[walk->used++] = (uint32_t)slot;
                return entry;
            }
            slot = (slot + 1) & walk->mask;
        }
        if (!resize_table(walk, (walk->mask + 1) * 2)) {
            return NULL;
        }
    }
}

/* --- The life of a walk ----------------------------------------------------------------------- */

static void
free_walk(Walk *walk)
{
    free(walk->table);
    free(walk->order);
    free(walk->stack);
    free(walk->waiting);
    free(walk->hidden);
    free(walk->referents);
    free(walk->temporaries);
    free(walk->stale);
    free(walk->foreign);
    free(walk->unexplained);
    free_own_pages(&walk->own);
    free(walk->counted);
    free(walk);
}

/* A walk that is ready to begin. NULL with MemoryError if there is no memory. */
static Walk *
begin_walk(void)
{
    Walk *walk = spare;
    spare = NULL;
    if (walk == NULL) {
        walk = calloc(1, sizeof *walk);
        if (walk == NULL || !resize_table(walk, SMALL_TABLE)) {
            if (walk != NULL) {
                free_walk(walk);
            }
            PyErr_NoMemory();
            return NULL;
        }
    }
    walk->number = ++walk_numbers;
    if (walk->registration != registrations) {
        walk->registration = registrations;
        memset(walk->types, 0, sizeof walk->types);
    }
    walk->registry.stop_types = Py_NewRef(registered.stop_types);
    walk->registry.adapters_by_type = Py_NewRef(registered.adapters_by_type);
    walk->registry.adapters_by_name = Py_NewRef(registered.adapters_by_name);
    walk->bytes = walk->objects = walk->edges = walk->shared = walk->after_gc = 0;
    walk->limit = walk->edge_cap = SIZE_MAX;
    walk->foreign_cap = UNBOUNDED;
    walk->foreign_entered = walk->foreign_opened = 0;
    walk->opened = 0;
    walk->whose = walk->whose_opened = walk->whose_shared = (Whose){0, 0};
    walk->guard = (size_t)1 << 20;
    walk->group = GROUP_STATE;
    walk->over = walk->inexact = walk->no_memory = walk->raised = walk->recording = 0;
    walk->account = walk->capped = 0;
    walk->code = NULL;
    walk->namespaces_stop = 1;
    return walk;
}

/* Hold what was met on own pages, before Python code runs for the first time. What is met there
 * later is held at once. */
static void
pin_shadows(Walk *walk)
{
    if (walk->own.shadows == NULL || walk->pinning) {
        return;
    }
    walk->pinning = 1;
    for (size_t word = 0; word < walk->own.page_count * OWN_WORDS; word++) {
        if (walk->own.shadows[word] != 0) {
            walk->own.shadows[word] |= ENTRY_PINNED;
            Py_INCREF(object_of_shadow(&walk->own, word));
        }
    }
}

static void
clear_shadows(Walk *walk)
{
    OwnPages own = walk->own;
    int pinning = walk->pinning;
    walk->pinning = 0;
    for (size_t word = 0; pinning && word < own.page_count * OWN_WORDS; word++) {
        if (own.shadows[word] & ENTRY_PINNED) {
            Py_DECREF(object_of_shadow(&own, word));
        }
    }
    forget_own_pages(&walk->own);
}

/* Empty the table, for the next actor. This may free objects, and then Python code may run. */
static void
clear_table(Walk *walk)
{
    size_t pinned = walk->pinned, temporaries = walk->temporary_count;
    walk->pinned = walk->temporary_count = 0;
    walk->depth = walk->waiting_count = walk->hidden_count = walk->referent_count = walk->counted_count = 0;
    walk->stale_count = walk->foreign_count = walk->unexplained_count = 0;
    for (size_t i = 0; i < walk->used; i++) {
        Entry *entry = &walk->table[walk->order[i]];
        PyObject *object = entry->object;
        *entry = (Entry){NULL, 0, 0};
        if (i < pinned) {
            Py_DECREF(object);
        }
    }
    walk->used = 0;
    for (size_t i = 0; i < temporaries; i++) {
        Py_DECREF(walk->temporaries[i]);
    }
    if (walk->account) {
        clear_shadows(walk);
    }
}

/* End the walk. 0 with an exception if it has failed. */
static int
end_walk(Walk *walk)
{
    int no_memory = walk->no_memory, raised = walk->raised;
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    if (raised) {
        PyErr_Fetch(&type, &value, &traceback);
    }
    Registry registry = walk->registry;
    clear_table(walk);
    Py_DECREF(registry.stop_types);
    Py_DECREF(registry.adapters_by_type);
    Py_DECREF(registry.adapters_by_name);
    int small = walk->mask < KEPT_TABLE && walk->stack_size <= KEPT_STACK && walk->counted_size == 0;
    if (spare == NULL && small) {
        spare = walk;
    }
    else {
        free_walk(walk);
    }
    if (raised) {
        PyErr_Restore(type, value, traceback);
        return 0;
    }
    if (no_memory) {
        PyErr_NoMemory();
        return 0;
    }
    return 1;
}

#endif
