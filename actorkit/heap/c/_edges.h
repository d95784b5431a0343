/* Edges: from an object to what it holds. Part of _walk.c.
 *
 * Theory of operation. An edge is a reference that an object owns. `expand` pushes the edges of an
 * object onto the walk's stack, mostly by the traversal of its type; `drain` takes them off and
 * follows each, in a way that its caller chooses (`_first_pass.h`, `_second_pass.h`).
 *
 * An object with a count of 1 that is met over an owning reference has no other holder, so it needs
 * no entry in the table. This keeps trees out of the table, and most data are trees. It is true
 * only if a traversal visits what it owns, no more and nothing twice. Third-party C code may get
 * that wrong; what its traversals visit always goes through the table (such edges carry a mark), so
 * that no object is expanded for ever.
 *
 * What a type's traversal does not visit is followed by hand: the keys of dicts with only str keys.
 * What it visits but the object does not own is left out: a function's globals and builtins.
 *
 * References. All pointers are borrowed. The GIL is held, and traversals run no Python code. */

#ifndef ACTORKIT_HEAP_EDGES_H
#define ACTORKIT_HEAP_EDGES_H

#include "_table.h"

typedef void (*EdgeFunction)(Walk *, uintptr_t);

static inline int
push(Walk *walk, uintptr_t edge)
{
    if (walk->depth == walk->stack_size && !ROOM(walk, stack, depth, stack_size)) {
        return -1;
    }
    walk->stack[walk->depth++] = edge;
    return 0;
}

static int
visit(PyObject *object, void *argument)
{
#ifdef __GNUC__
    __builtin_prefetch(object);
#endif
    return push(argument, (uintptr_t)object);
}

static int
visit_through_table(PyObject *object, void *argument)
{
    return push(argument, (uintptr_t)object | THROUGH_TABLE);
}

static inline TypeFacts *
facts_of(Walk *walk, PyTypeObject *type)
{
    TypeFacts *facts = &walk->types[(((uintptr_t)type >> 4) ^ ((uintptr_t)type >> 12)) & (TYPE_CACHE - 1)];
    if (UNLIKELY(facts->type != type || (facts->walk != walk->number && facts->walk != LASTING))) {
        learn_type(facts, type, &walk->registry, walk->number);
    }
    return facts;
}

static inline void
push_optional(Walk *walk, PyObject *object)
{
    if (object != NULL) {
        visit(object, walk);
    }
}

static void
expand_function(Walk *walk, PyObject *object)
{
    PyFunctionObject *function = (PyFunctionObject *)object;
    push_optional(walk, function->func_closure);
    push_optional(walk, function->func_defaults);
    push_optional(walk, function->func_kwdefaults);
    push_optional(walk, function->func_dict);
    push_optional(walk, function->func_annotations);
}

/* A traversal visits only the values of a table with only str keys. Keys that the instances of a
 * class share belong to the class. 0: the keys are not this dict's own, or its traversal visits
 * them. */
static int
expand_str_keys(Walk *walk, PyObject *object, int with_values)
{
    PyDictObject *dict = (PyDictObject *)object;
    StrEntry *entries = own_str_entries(dict);
    if (entries == NULL) {
        return 0;
    }
    for (Py_ssize_t i = 0, length = dict_entries(dict); i < length; i++) {
        if (entries[i].me_value != NULL) {
            visit(entries[i].me_key, walk);
            if (with_values) {
                visit(entries[i].me_value, walk);
            }
        }
    }
    return 1;
}

/* Push an edge for each reference that `object` owns. */
static inline void
expand(Walk *walk, PyObject *object, const TypeFacts *facts)
{
    if (facts->flags & TYPE_FUNCTION) {
        expand_function(walk, object);
        return;
    }
    if (facts->flags & TYPE_DICT) {
        int plain = facts->type == &PyDict_Type;
        if (expand_str_keys(walk, object, plain) && plain) {
            return;
        }
    }
    if (facts->traverse != NULL && PyObject_IS_GC(object)) {
        facts->traverse(object, facts->flags & TYPE_UNKNOWN_CODE ? visit_through_table : visit, walk);
    }
}

/* Push the edges that only the adapter knows, and add its bytes. */
static void
expand_hidden(Walk *walk, uint32_t flags, size_t *bytes)
{
    if (flags >> HIDDEN_SHIFT == 0) {
        return;
    }
    Hidden *hidden = &walk->hidden[(flags >> HIDDEN_SHIFT) - 1];
    *bytes += hidden->bytes;
    for (size_t i = 0; i < hidden->count; i++) {
        push(walk, (uintptr_t)walk->referents[hidden->first + i] | THROUGH_TABLE);
    }
}

static void
record(Walk *walk, PyObject *object, size_t bytes, int group)
{
    if (walk->recording && ROOM(walk, counted, counted_count, counted_size)) {
        walk->counted[walk->counted_count++] = (Counted){object, bytes, group};
    }
}

static int
ended(Walk *walk)
{
    return walk->over || walk->no_memory || walk->raised;
}

/* Where more of an object lies that its traversal will read. The object itself is in the cache. */
static inline void
prefetch_inside(PyObject *object)
{
#ifdef __GNUC__
    PyTypeObject *type = Py_TYPE(object);
    if (type == &PyList_Type) {
        __builtin_prefetch(((PyListObject *)object)->ob_item);
    }
    else if (type == &PyDict_Type) {
        __builtin_prefetch(dict_hint((PyDictObject *)object));
    }
    else if (PyType_HasFeature(type, Py_TPFLAGS_MANAGED_DICT)) {
        __builtin_prefetch(instance_values_hint(object));
    }
#else
    (void)object;
#endif
}

/* Follow all edges on the stack. A few are in flight at a time, so that their targets can arrive in
   the cache; `deep`: and what their traversals will read. */
static ALWAYS_INLINE void
drain_edges(Walk *walk, EdgeFunction follow, int deep)
{
    uintptr_t ring[IN_FLIGHT];
    unsigned head = 0, count = 0;
    for (;;) {
        while (count < IN_FLIGHT && walk->depth) {
            ring[(head + count++) % IN_FLIGHT] = walk->stack[--walk->depth];
        }
        if (count == 0) {
            return;
        }
        if (deep && count > IN_FLIGHT / 2) {
            prefetch_inside((PyObject *)(ring[(head + IN_FLIGHT / 2) % IN_FLIGHT] & ~THROUGH_TABLE));
        }
        follow(walk, ring[head]);
        head = (head + 1) % IN_FLIGHT;
        count--;
        if (walk->over | walk->no_memory) {
            walk->depth = 0;
            return;
        }
    }
}

static ALWAYS_INLINE void
drain(Walk *walk, EdgeFunction follow)
{
    drain_edges(walk, follow, 0);
}

/* Is this a module's globals? Asked only about dicts that have another holder, when they are first
   met. */
static int
is_namespace(PyObject *object, const TypeFacts *facts)
{
    return facts->type == &PyDict_Type && dict_has_plain_str_keys((PyDictObject *)object)
        && PyDict_GetItemWithError(object, name_builtins) != NULL;
}

#endif
