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
 * A function's globals and builtins are left out, unless they are the account's own; and so are its
 * names and its text, unless the account is known: they nearly always are its code's.
 *
 * Classes, code and modules do not count, nor do the namespaces of modules: they are the world's.
 * But if the account is known, those that it has allocated itself are objects like others: classes
 * made in a handler, what `exec` made. A namespace then is a dict like any other, unless the walk has
 * no cap.
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
place_of_type(Walk *walk, PyTypeObject *type)
{
    return &walk->types[(((uintptr_t)type >> 4) ^ ((uintptr_t)type >> 12)) & (TYPE_CACHE - 1)];
}

static inline TypeFacts *
facts_of(Walk *walk, PyTypeObject *type)
{
    TypeFacts *facts = place_of_type(walk, type);
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

/* Is a class, a code object or a module the account's own? Foreign code mostly is asked about again
 * and again, once for each function. */
static __attribute__((noinline)) int
has_made(Walk *walk, PyObject *object, const TypeFacts *facts)
{
    if (facts->flags & TYPE_CODE) {
        if (walk->code != object) {
            walk->code = object;
            walk->own_code = is_its_own(&walk->own, object, facts);
        }
        return walk->own_code;
    }
    if (!(facts->flags & TYPE_CLASS)) {
        return is_its_own(&walk->own, object, facts);
    }
    PyTypeObject *class = (PyTypeObject *)object;
    if (!PyType_HasFeature(class, Py_TPFLAGS_HEAPTYPE)) {
        return 0;
    }
    TypeFacts *of_class = facts_of(walk, class); /* `facts` may be gone now: they share a place */
    if (of_class->own == 0) {
        TypeFacts of_metaclass = *facts_of(walk, Py_TYPE(object));
        of_class = facts_of(walk, class);
        of_class->own = is_its_own(&walk->own, object, &of_metaclass) ? MADE_BY_IT : MADE_BY_OTHERS;
    }
    return of_class->own == MADE_BY_IT;
}

/* The facts of what a reference leads to; NULL: it never counts. */
static inline TypeFacts *
facts_if_counted(Walk *walk, PyObject *object)
{
    if (is_immortal(object)) {
        return NULL;
    }
    TypeFacts *facts = facts_of(walk, Py_TYPE(object));
    if (UNLIKELY(facts->flags & (TYPE_NEVER_COUNTS | TYPE_STOPS))) {
        if (!walk->account || !(facts->flags & TYPE_OWNABLE)) {
            return NULL;
        }
        const TypeFacts *known = place_of_type(walk, (PyTypeObject *)object); /* each instance leads to its class */
        if (known->type == (PyTypeObject *)object && known->own == MADE_BY_OTHERS && known->walk == walk->number) {
            return NULL;
        }
        if (!has_made(walk, object, facts)) {
            return NULL;
        }
        facts = facts_of(walk, Py_TYPE(object));
    }
    return facts;
}

/* The namespace of a function, which is not its own unless the account has made it: an own page says
 * so, or own code does, which `exec` has run. */
static inline void
push_namespaces(Walk *walk, PyFunctionObject *function)
{
    int own_code = 0;
    if (!walk->namespaces_stop) {
        PyObject *code = function->func_code;
        own_code = !is_immortal(code) && has_made(walk, code, facts_of(walk, Py_TYPE(code)));
    }
    if (own_code || own_page_of(&walk->own, function->func_globals)) {
        push_optional(walk, function->func_globals);
    }
    if (own_page_of(&walk->own, function->func_builtins)) {
        push_optional(walk, function->func_builtins);
    }
}

static void
expand_function(Walk *walk, PyObject *object)
{
    PyFunctionObject *function = (PyFunctionObject *)object;
    if (walk->account) {
        PyObject *texts[] = {function->func_code, function->func_doc, function->func_name, function->func_qualname};
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            push_optional(walk, texts[i]);
        }
        push_namespaces(walk, function);
    }
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

static __attribute__((noinline)) void
expand_code(Walk *walk, PyObject *object)
{
    PyObject *parts[CODE_PARTS];
    code_parts((PyCodeObject *)object, parts);
    for (int i = 0; i < CODE_PARTS; i++) {
        push_optional(walk, parts[i]);
    }
}

static __attribute__((noinline)) void
expand_class(Walk *walk, PyObject *object)
{
    PyObject *parts[CLASS_PARTS];
    class_parts((PyTypeObject *)object, parts);
    for (int i = 0; i < CLASS_PARTS; i++) {
        push_optional(walk, parts[i]);
    }
}

/* Push an edge for each reference that `object` owns. */
static inline void
expand(Walk *walk, PyObject *object, const TypeFacts *facts)
{
    if (facts->flags & (TYPE_FUNCTION | TYPE_CODE | TYPE_CLASS)) {
        if (facts->flags & TYPE_FUNCTION) {
            expand_function(walk, object);
            return;
        }
        if (facts->flags & TYPE_CODE) {
            expand_code(walk, object);
            return;
        }
        expand_class(walk, object);
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

/* Is this a module's globals, where the walk stops? Asked only about dicts that have another holder,
   when they are first met. */
static int
is_namespace(Walk *walk, PyObject *object, const TypeFacts *facts)
{
    return walk->namespaces_stop && facts->type == &PyDict_Type && dict_has_plain_str_keys((PyDictObject *)object)
        && PyDict_GetItemWithError(object, name_builtins) != NULL && !own_page_of(&walk->own, object);
}

#endif
