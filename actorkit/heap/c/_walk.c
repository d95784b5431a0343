/* The walk: how many bytes would be free again if some objects died now.
 *
 * Theory of operation. The free is simulated. The roots count as dropped; each reference that
 * leaves a dropped object is taken away from a *virtual* reference count of its target, a copy kept
 * beside the object; a target whose virtual count reaches 0 would be freed, so its bytes count
 * and its own references are followed. What somebody else holds never reaches 0: it is looked up, never
 * traversed, so shared data cost nothing, however large they are. This is the first pass, and all
 * that it counts is certainly private. That is why it may stop early: more than the limit is a proof.
 *
 * The first pass cannot see private reference cycles, which only a collection frees. The second pass, on
 * request, is trial deletion among the leftovers, the objects that were reached but did not die: it
 * counts the references among them and all that they reach. Those with references from elsewhere, and
 * what they reach, are shared; the rest would be freed by a collection. It traverses shared
 * data, hence the cap on its edges.
 *
 * An object with a count of 1 that is met over an owning reference has no other holder, so it needs no
 * entry in the table. This keeps trees out of the table, and most data are trees. It is true only
 * if a traversal visits what it owns, no more and nothing twice. Third-party C code may get that wrong; what
 * its traversals visit always goes through the table (such edges carry a mark), so that no object is
 * expanded for ever.
 *
 * What is not visited by a type's traversal is followed by hand: the keys of dicts with only str keys.
 * What is visited but does not belong to it is left out: a function's globals and builtins. A running
 * frame has no valid stack top, so its fast locals are read slot by slot, and of its value stack as many slots as
 * the caller says (stack_depth.py). Those of the frame that a pending call interrupted are good. A frame further
 * down is in the middle of an instruction, or in the middle of the clean-up after it: finalizers may be running, and
 * then a slot may point to what is freed already. Such a slot is only *compared*: if the walk met an object at that
 * address elsewhere, one reference to it is accounted for. It is never looked through. The exception is a frame that
 * runs the generator or coroutine that lies on its stack, which proves that it is not cleaning up.
 *
 * The GIL and references. The GIL is held from the beginning to the end. No Python code runs inside a
 * walk, and no object is allocated that the garbage collector tracks. So nothing can be freed meanwhile,
 * and all pointers to objects are borrowed. The exception are adapters: Python functions, which may do
 * anything, let other threads run, and even start another walk. They are called only when no edge is
 * pending, and first every object in the table gets a reference of ours ("pinned"), released at the end;
 * what an adapter returns is entered into the table before the next adapter is called. Pinning changes no
 * result, because the count of an object that has an entry is never read again. The registered types and
 * functions are referenced by the walk itself. An adapter may change the graph: then the figures are
 * those of no single moment, but every pointer is good.
 *
 * Memory of the walk itself comes from malloc, not from Python's allocators, which are being watched. If
 * there is none, the walk ends with MemoryError. */

#include "_blocks.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum EntryFlag {
    ENTRY_DEAD = 1,     /* first pass: its virtual count is 0 */
    ENTRY_STOP = 2,     /* a module's namespace */
    ENTRY_OPENED = 4,   /* second pass: its references have been counted */
    ENTRY_SHARED = 8,   /* second pass: held from elsewhere */
    ENTRY_CYCLE = 16,   /* second pass: a collection would free it */
    ENTRY_ROOT = 32     /* a root that has not been counted yet */
};
enum { HIDDEN_SHIFT = 8 };  /* the flags from here on: 1 + the index of what the adapter said */

typedef struct {
    PyObject *object;
    uint32_t left;  /* references that are not accounted for yet */
    uint32_t flags;
} Entry;

/* What an adapter said of one object. */
typedef struct {
    size_t bytes;
    size_t first, count;  /* its referents, in ``referents`` */
} Hidden;

/* An object that was counted, for the tests. */
typedef struct {
    PyObject *object;
    size_t bytes;
    int group;
} Record;

enum Group { GROUP_STATE, GROUP_MAILBOX, GROUP_AFTER_GC, GROUP_SHARED };

enum { TYPE_CACHE = 256, SMALL_TABLE = 64, KEPT_TABLE = 8192, KEPT_STACK = 65536, IN_FLIGHT = 8 };

/* An edge is a pointer to its target, with this bit set if the target must go through the table. */
#define THROUGH_TABLE ((uintptr_t)1)

typedef struct {
    TypeFacts types[TYPE_CACHE];
    uint64_t number;
    uint64_t registration; /* the state of the registry that ``types`` were learned with */

    Entry *table;     /* open addressing */
    size_t mask;
    uint32_t *order;  /* the slots in use, in the order of their use */
    size_t used;
    size_t pinned;    /* so many of them, from the first, hold a reference of ours */

    uintptr_t *stack;
    size_t depth, stack_size;

    PyObject **waiting;  /* objects in the table whose adapter has to be called */
    size_t waiting_count, waiting_size;
    Hidden *hidden;
    size_t hidden_count, hidden_size;
    PyObject **referents;
    size_t referent_count, referent_size;
    PyObject **temporaries;  /* objects that are ours until the end */
    size_t temporary_count, temporary_size;

    PyObject **stale;  /* addresses from value stacks that may be out of date: never looked at */
    size_t stale_count, stale_size;

    Record *records;
    size_t record_count, record_size;
    int recording;

    Registry registry;
    size_t bytes, limit, objects, guard, edges, edge_cap;
    size_t shared, after_gc;
    int group;
    int over;      /* past the limit */
    int inexact;
    int no_memory;
    int raised;    /* an adapter raised something that is not for us to swallow */
} Walk;

/* So that the function that a drain follows edges with is known when it is compiled. */
#ifdef __GNUC__
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#else
#define ALWAYS_INLINE inline
#define LIKELY(condition) (condition)
#define UNLIKELY(condition) (condition)
#endif

typedef void (*EdgeFunction)(Walk *, uintptr_t);

static Registry registered;
static Walk *spare;
static uint64_t walk_numbers;
static uint64_t registrations; /* how often the registry was replaced */
static PyObject *allocated_blocks;

/* --- Growing arrays ----------------------------------------------------------------------- */

/* Room for one more element; 0 if there is no memory. */
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

/* --- The table ---------------------------------------------------------------------------- */

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

/* The entry of ``object``, made if there is none (``object`` is then NULL in it: the caller sees that
 * it is new and fills it in). Good until the next call. NULL if there is no memory. */
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

/* --- Edges -------------------------------------------------------------------------------- */

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

/* A table with only str keys is traversed by its values alone. Keys that are shared by the instances of a
 * class belong to the class. */
static int
expand_str_keys(Walk *walk, PyObject *object, int with_values)
{
    PyDictObject *dict = (PyDictObject *)object;
    PyDictKeysObject *keys = dict->ma_keys;
    if (dict->ma_values != NULL || keys->dk_kind == DICT_KEYS_GENERAL || keys->dk_refcnt != 1) {
        return 0;
    }
    PyDictUnicodeEntry *entries = DK_UNICODE_ENTRIES(keys);
    for (Py_ssize_t i = 0; i < keys->dk_nentries; i++) {
        if (entries[i].me_value != NULL) {
            visit(entries[i].me_key, walk);
            if (with_values) {
                visit(entries[i].me_value, walk);
            }
        }
    }
    return 1;
}

/* Push an edge for each reference that ``object`` owns. */
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

/* Push the edges that only the adapter knows. */
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
    if (walk->recording && ROOM(walk, records, record_count, record_size)) {
        walk->records[walk->record_count++] = (Record){object, bytes, group};
    }
}

static int
ended(Walk *walk)
{
    return walk->over || walk->no_memory || walk->raised;
}

/* Work off the stack. Some edges are in flight, so that their targets can arrive in the cache. */
static ALWAYS_INLINE void
drain(Walk *walk, EdgeFunction follow)
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
        follow(walk, ring[head]);
        head = (head + 1) % IN_FLIGHT;
        count--;
        if (walk->over | walk->no_memory) {
            walk->depth = 0;
            return;
        }
    }
}

/* --- First pass --------------------------------------------------------------------------- */

/* A module's globals. Asked only of dicts with another holder, at first sight. */
static int
is_namespace(PyObject *object, const TypeFacts *facts)
{
    return facts->type == &PyDict_Type && ((PyDictObject *)object)->ma_keys->dk_kind == DICT_KEYS_UNICODE
        && PyDict_GetItemWithError(object, name_builtins) != NULL;
}

static int
wait_for_adapter(Walk *walk, PyObject *object)
{
    if (!ROOM(walk, waiting, waiting_count, waiting_size)) {
        return 0;
    }
    walk->waiting[walk->waiting_count++] = object;
    return 1;
}

/* The bytes of address space that this process has; SIZE_MAX where nobody says. */
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

/* More objects than blocks that hold them: some traversal lies. Only the interpreter's own allocator counts its
 * blocks. With another one (PYTHONMALLOC=malloc) the bound is what memory could hold, which is loose. */
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

/* ``object`` dies: count it, then follow what it holds. */
static inline void
charge(Walk *walk, PyObject *object, const TypeFacts *facts)
{
    size_t bytes = object_bytes(object, facts);
    walk->bytes += bytes;
    walk->objects++;
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

static inline void
release(Walk *walk, uintptr_t edge)
{
    PyObject *object = (PyObject *)(edge & ~THROUGH_TABLE);
    if (is_immortal(object)) {
        return;
    }
    TypeFacts *facts = facts_of(walk, Py_TYPE(object));
    if (facts->flags & (TYPE_NEVER_COUNTS | TYPE_STOPS)) {
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
            entry->flags = entry->left && is_namespace(object, facts) ? ENTRY_STOP : 0;
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

/* --- Second pass -------------------------------------------------------------------------- */

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

/* Count ``object``, a leftover, among the shared ones or the private cycles, and follow it. */
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

/* --- Adapters ----------------------------------------------------------------------------- */

static void
pin_table(Walk *walk)
{
    for (; walk->pinned < walk->used; walk->pinned++) {
        Py_INCREF(walk->table[walk->order[walk->pinned]].object);
    }
}

/* Take the referents out of ``sequence`` (a list or tuple) such that the sequence adds nothing to their
 * counts. */
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

/* Give the references back that ``take_referents`` took; no object dies of it. */
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

#define WRONG_ANSWER "an adapter returns (bytes, sequence of referents)"

/* Ask the adapter of ``object``. On return the edges that it knows of are on the stack. */
static void
ask_adapter(Walk *walk, PyObject *object)
{
    pin_table(walk);
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
    /* From here on no Python code runs until the next adapter. Types may have died meanwhile: what
     * is known about types is forgotten. */
    walk->number = ++walk_numbers;
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
        return;
    }
    walk->bytes += sum;
    for (size_t i = walk->record_count; walk->recording && i-- > 0;) {
        if (walk->records[i].object == object) {
            walk->records[i].bytes += sum;
            break;
        }
    }
    if (walk->bytes > walk->limit) {
        walk->over = 1;
        walk->depth = 0;
    }
}

/* Drain, and ask the adapters that turn up, until neither is left. */
static void
drain_with_adapters(Walk *walk, EdgeFunction follow)
{
    while (walk->waiting_count && !ended(walk)) {
        ask_adapter(walk, walk->waiting[--walk->waiting_count]);
        drain(walk, follow);
    }
}

/* --- Roots and frames --------------------------------------------------------------------- */

/* Mark ``object`` as dead whatever its count is; it will be counted by ``charge_root``. The caller holds a
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

/* The value stack of a running frame without a valid stack top. ``stack``: what was found out about it, see
 * ``check_stacks``. ``inner``: the frame that this one called, or NULL. */
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
        PyObject *runs = inner == NULL ? NULL : frame_generator(((PyFrameObject *)inner)->f_frame);
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

/* Account for the references from slots that may be out of date. */
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

/* The slots of a running frame, and what else it holds. The frame object itself is only a view of
 * it, which the caller made: it does not count. A frame that is part of a generator or
 * coroutine dies with it: that one is a root, and if the frame is not on top, its own
 * traversal shows the slots. */
static void
drop_frame(Walk *walk, PyObject *object, PyObject *const *stack, PyObject *inner)
{
    struct _PyInterpreterFrame *frame = ((PyFrameObject *)object)->f_frame;
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
        push_optional(walk, frame->f_locals);
        push_optional(walk, frame_instance(frame));
    }
    int slots = frame_shows_slots(frame) ? frame->stacktop : frame_code(frame)->co_nlocalsplus;
    for (int i = 0; i < slots; i++) {
        push_optional(walk, frame_slots(frame)[i]);
    }
    if (!frame_shows_slots(frame)) {
        drop_value_stack(walk, frame, stack, inner);
    }
    drain(walk, release);
}

/* Drop the objects of a tuple or list, and the frames of another (or NULL). All are marked before the first
 * one is followed: references among them count for nothing. */
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
            PyObject *generator = frame_generator(((PyFrameObject *)frame)->f_frame);
            mark_root(walk, frame);
            /* A root needs a reference from outside: with a count of 1 it would pass by the table. */
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

/* Find what of the leftovers only a collection would free, and what is held by others. */
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
    /* What adapters were asked for is kept: from here on no Python code runs. */
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

/* --- The life of a walk ------------------------------------------------------------------- */

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
    free(walk->records);
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
    walk->guard = (size_t)1 << 20;
    walk->group = GROUP_STATE;
    walk->over = walk->inexact = walk->no_memory = walk->raised = walk->recording = 0;
    return walk;
}

/* Empty the table, for the next actor. Objects may be freed by this, and then Python code may run. */
static void
clear_table(Walk *walk)
{
    size_t pinned = walk->pinned, temporaries = walk->temporary_count;
    walk->pinned = walk->temporary_count = 0;
    walk->depth = walk->waiting_count = walk->hidden_count = walk->referent_count = walk->record_count = 0;
    walk->stale_count = 0;
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
}

/* The walk is over: true, or false with an exception set. */
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
    int small = walk->mask < KEPT_TABLE && walk->stack_size <= KEPT_STACK && walk->record_size == 0;
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

/* --- The module --------------------------------------------------------------------------- */

static int
check_sequences(PyObject *const *arguments, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        if (!PyTuple_Check(arguments[i]) && !PyList_Check(arguments[i])) {
            PyErr_SetString(PyExc_TypeError, "roots are given as a tuple or a list");
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
        PyErr_SetString(PyExc_TypeError, "frames are given as a tuple of frames");
    }
    return fine;
}

/* Two ints for each frame: the depth of its value stack, or -1 if that is not known; and 0 if its slots are
 * certainly good, n > 0 if they are when the n-th slot from the top is the generator that the frame before this
 * one in ``frames`` belongs to, -1 if they are not certain. */
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
        PyErr_SetString(PyExc_TypeError, "stacks are given as a tuple of two ints for each frame");
    }
    return fine;
}

/* Both groups of roots, first pass. Returns the bytes of the first. */
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

typedef struct {
    PyObject *type;
    Py_ssize_t count, bytes;
} TypeSum;

/* The records by type, in a table of ``*slots``; each type in it has a reference of ours. Runs no Python code and
 * allocates nothing that the collector tracks: the objects live still. NULL if there is no memory. */
static TypeSum *
gather_types(Walk *walk, size_t *slots)
{
    size_t used = 0;
    *slots = SMALL_TABLE;
    TypeSum *sums = calloc(*slots, sizeof *sums);
    for (size_t i = 0; sums != NULL && i < walk->record_count; i++) {
        if ((used + 1) * 2 > *slots) {
            TypeSum *larger = calloc(*slots * 2, sizeof *sums);
            for (size_t k = 0; larger != NULL && k < *slots; k++) {
                if (sums[k].type != NULL) {
                    size_t slot = slot_of(sums[k].type) & (*slots * 2 - 1);
                    while (larger[slot].type != NULL) {
                        slot = (slot + 1) & (*slots * 2 - 1);
                    }
                    larger[slot] = sums[k];
                }
            }
            if (larger == NULL) {
                for (size_t k = 0; k < *slots; k++) {
                    Py_XDECREF(sums[k].type);
                }
            }
            free(sums);
            sums = larger;
            *slots *= 2;
            if (sums == NULL) {
                break;
            }
        }
        PyObject *type = (PyObject *)Py_TYPE(walk->records[i].object);
        size_t slot = slot_of(type) & (*slots - 1);
        while (sums[slot].type != NULL && sums[slot].type != type) {
            slot = (slot + 1) & (*slots - 1);
        }
        if (sums[slot].type == NULL) {
            sums[slot].type = Py_NewRef(type);
            used++;
        }
        sums[slot].count++;
        sums[slot].bytes += (Py_ssize_t)walk->records[i].bytes;
    }
    return sums;
}

/* {type: (count, bytes)} of what was counted, also when the walk has ended at its limit. A metaclass may have a
 * ``__hash__`` in Python, so from the first type that is put into the dict on, no record is looked at. */
static PyObject *
sums_by_type(Walk *walk)
{
    size_t slots;
    TypeSum *sums = gather_types(walk, &slots);
    PyObject *result = sums == NULL ? PyErr_NoMemory() : PyDict_New();
    for (size_t i = 0; sums != NULL && i < slots; i++) {
        if (sums[i].type == NULL) {
            continue;
        }
        PyObject *row = result == NULL ? NULL : Py_BuildValue("(nn)", sums[i].count, sums[i].bytes);
        if (row == NULL || PyDict_SetItem(result, sums[i].type, row) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(row);
        Py_DECREF(sums[i].type);
    }
    free(sums);
    return result;
}

#define BY_TYPE 2 /* the value of ``record`` that asks for these sums */

/* measure(roots, mailbox, frames, stacks, limit, cycles, edge_cap, record) */
static PyObject *
walk_measure(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *roots, *mailbox, *frames, *stacks;
    Py_ssize_t limit, edge_cap;
    int cycles, recording;
    if (!PyArg_ParseTuple(arguments, "OOOOnpni:measure", &roots, &mailbox, &frames, &stacks, &limit, &cycles,
                          &edge_cap, &recording)
        || !check_sequences((PyObject *[]){roots, mailbox}, 2) || !check_frames(frames)
        || !check_stacks(stacks, frames)) {
        return NULL;
    }
    Walk *walk = begin_walk();
    if (walk == NULL) {
        return NULL;
    }
    walk->limit = limit < 0 ? SIZE_MAX : (size_t)limit;
    walk->recording = recording;
    size_t state = drop_state_and_mailbox(walk, roots, mailbox, frames, stacks);
    size_t sum = walk->bytes;
    if (walk->over) {
        walk->inexact = 1;
    }
    else if (cycles && !ended(walk)) {
        walk->limit = SIZE_MAX;
        walk->edge_cap = edge_cap < 0 ? 0 : (size_t)edge_cap;
        run_second_pass(walk);
    }
    PyObject *records = Py_NewRef(Py_None);
    if (recording == BY_TYPE && !walk->no_memory && !walk->raised) {
        Py_SETREF(records, sums_by_type(walk));
    }
    else if (recording && !ended(walk)) {
        /* Addresses only: what they point to may be gone by now. */
        Py_SETREF(records, PyList_New(0));
        for (size_t i = 0; records != NULL && i < walk->record_count; i++) {
            Record *entry = &walk->records[i];
            PyObject *address = PyLong_FromVoidPtr(entry->object);
            PyObject *row = Py_BuildValue("(Nni)", address, (Py_ssize_t)entry->bytes, entry->group);
            if (row == NULL || PyList_Append(records, row) < 0) {
                Py_CLEAR(records);
            }
            Py_XDECREF(row);
        }
    }
    size_t objects = walk->objects, after_gc = walk->after_gc, shared = walk->shared;
    int exact = !walk->inexact;
    if (records == NULL || !end_walk(walk)) {
        if (records == NULL) {
            end_walk(walk);
        }
        Py_XDECREF(records);
        return NULL;
    }
    return Py_BuildValue("(nnnnnNN)", (Py_ssize_t)state, (Py_ssize_t)(sum - state), (Py_ssize_t)objects,
                         (Py_ssize_t)after_gc, (Py_ssize_t)shared, PyBool_FromLong(exact), records);
}

/* exceeds(roots, mailbox, frames, stacks, limit) */
static PyObject *
walk_exceeds(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 5) {
        PyErr_SetString(PyExc_TypeError, "exceeds() takes roots, mailbox, frames, stacks and limit");
        return NULL;
    }
    Py_ssize_t limit = PyLong_AsSsize_t(arguments[4]);
    if ((limit == -1 && PyErr_Occurred()) || !check_sequences(arguments, 2) || !check_frames(arguments[2])
        || !check_stacks(arguments[3], arguments[2])) {
        return NULL;
    }
    if (limit < 0) {
        PyErr_SetString(PyExc_ValueError, "a limit is a number of bytes, 0 or more");
        return NULL;
    }
    Walk *walk = begin_walk();
    if (walk == NULL) {
        return NULL;
    }
    walk->limit = (size_t)limit;
    drop_state_and_mailbox(walk, arguments[0], arguments[1], arguments[2], arguments[3]);
    size_t bytes = walk->bytes;
    if (!end_walk(walk)) {
        return NULL;
    }
    return bytes > (size_t)limit ? PyLong_FromSize_t(bytes) : Py_NewRef(Py_None);
}

/* One actor of a census: its bytes, or -1 with an exception. */
static Py_ssize_t
census_of(Walk *walk, PyObject *pair)
{
    PyObject *arguments[2];
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "an actor is given as a tuple (roots, mailbox)");
        return -1;
    }
    arguments[0] = PyTuple_GET_ITEM(pair, 0);
    arguments[1] = PyTuple_GET_ITEM(pair, 1);
    if (!check_sequences(arguments, 2)) {
        return -1;
    }
    walk->bytes = walk->objects = 0;
    walk->group = GROUP_STATE;
    drop_state_and_mailbox(walk, arguments[0], arguments[1], NULL, NULL);
    Py_ssize_t bytes = (Py_ssize_t)walk->bytes;
    if (walk->no_memory || walk->raised) {
        return -1;
    }
    walk->over = 0;
    clear_table(walk);
    return bytes;
}

static PyObject *
walk_census(PyObject *Py_UNUSED(module), PyObject *argument)
{
    PyObject *actors = PySequence_Tuple(argument);
    if (actors == NULL) {
        return NULL;
    }
    Walk *walk = begin_walk();
    PyObject *result = walk == NULL ? NULL : PyList_New(PyTuple_GET_SIZE(actors));
    for (Py_ssize_t i = 0; result != NULL && i < PyTuple_GET_SIZE(actors); i++) {
        Py_ssize_t bytes = census_of(walk, PyTuple_GET_ITEM(actors, i));
        PyObject *number = bytes < 0 ? NULL : PyLong_FromSsize_t(bytes);
        if (number == NULL) {
            Py_CLEAR(result);
            break;
        }
        PyList_SET_ITEM(result, i, number);
    }
    if (walk != NULL) {
        if (result == NULL && PyErr_Occurred()) {
            walk->raised = 1;
        }
        if (!end_walk(walk)) {
            Py_CLEAR(result);
        }
    }
    Py_DECREF(actors);
    return result;
}

#include "_census.h"
#include "_messages.h"

/* size_of(*objects) */
static PyObject *
walk_size_of(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    Py_ssize_t bytes = message_bytes(arguments, count);
    return bytes < 0 ? NULL : PyLong_FromSsize_t(bytes);
}

/* Nothing is registered for what ``flat_bytes`` sizes by itself. */
static int
leaves_builtins_alone(const Registry *registry)
{
    PyTypeObject *types[] = {&PyUnicode_Type, &PyLong_Type, &PyFloat_Type, &PyBytes_Type, &PyTuple_Type,
                             &PyList_Type, &PyDict_Type};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (find_adapter(registry, types[i]) != NULL || is_stop(registry, types[i])) {
            return 0;
        }
    }
    return 1;
}

/* register(stop_types, adapters_by_type, adapters_by_name), all tuples that nobody changes */
static PyObject *
walk_register(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *stop_types, *by_type, *by_name;
    if (!PyArg_ParseTuple(arguments, "O!O!O!:register", &PyTuple_Type, &stop_types, &PyTuple_Type, &by_type,
                          &PyTuple_Type, &by_name)) {
        return NULL;
    }
    int fine = 1;
    for (Py_ssize_t i = 0; fine && i < PyTuple_GET_SIZE(stop_types); i++) {
        fine = PyType_Check(PyTuple_GET_ITEM(stop_types, i));
    }
    for (Py_ssize_t i = 0; fine && i < PyTuple_GET_SIZE(by_type); i++) {
        PyObject *pair = PyTuple_GET_ITEM(by_type, i);
        fine = PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2 && PyType_Check(PyTuple_GET_ITEM(pair, 0));
    }
    for (Py_ssize_t i = 0; fine && i < PyTuple_GET_SIZE(by_name); i++) {
        PyObject *pair = PyTuple_GET_ITEM(by_name, i);
        fine = PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2 && PyBytes_Check(PyTuple_GET_ITEM(pair, 0));
    }
    if (!fine) {
        PyErr_SetString(PyExc_TypeError, "not (types, (type, function) pairs, (bytes, function) pairs)");
        return NULL;
    }
    Py_XSETREF(registered.stop_types, Py_NewRef(stop_types));
    Py_XSETREF(registered.adapters_by_type, Py_NewRef(by_type));
    Py_XSETREF(registered.adapters_by_name, Py_NewRef(by_name));
    registrations++;
    shortcuts = leaves_builtins_alone(&registered);
    Py_RETURN_NONE;
}

static PyMethodDef walk_methods[] = {
    {"measure", walk_measure, METH_VARARGS, 
     "measure(roots, mailbox, frames, stacks, limit, cycles, edge_cap, record)"},
    {"exceeds", (PyCFunction)(void (*)(void))walk_exceeds, METH_FASTCALL,
     "exceeds(roots, mailbox, frames, stacks, limit)"},
    {"census", walk_census, METH_O, "census(actors)"},
    {"census_rows", (PyCFunction)(void (*)(void))walk_census_rows, METH_FASTCALL, "census_rows(records, plan, best, floor)"},
    {"size_of", (PyCFunction)(void (*)(void))walk_size_of, METH_FASTCALL, "size_of(*objects)"},
    {"register", walk_register, METH_VARARGS, "register(stop_types, adapters_by_type, adapters_by_name)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef walk_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "actorkit.heap.c._walk",
    .m_doc = "The walk in C. Use actorkit.heap.walk.",
    .m_size = -1,  /* one per process: the registry is process-wide, subinterpreters are refused */
    .m_methods = walk_methods,
};

static PyObject *
import_attribute(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *found = imported == NULL ? NULL : PyObject_GetAttrString(imported, name);
    Py_XDECREF(imported);
    return found;
}

/* The traversal of classes made by a class statement is a static function: a class shows it. */
static int
learn_class_traverse(void)
{
    PyObject *probe = PyObject_CallFunction((PyObject *)&PyType_Type, "s(){}", "Probe");
    if (probe == NULL) {
        return 0;
    }
    python_class_traverse = ((PyTypeObject *)probe)->tp_traverse;
    Py_DECREF(probe);
    return 1;
}

/* The interpreter's array of small ints, in the order of their values. */
static int
learn_small_ints(void)
{
    PyObject *first = PyLong_FromLong(-5), *last = PyLong_FromLong(256);
    if (first != NULL && last != NULL && first < last) {
        first_small_int = (uintptr_t)first;
        last_small_int = (uintptr_t)last;
    }
    int fine = first != NULL && last != NULL;
    Py_XDECREF(first);
    Py_XDECREF(last);
    return fine;
}

/* The clock sizes what an actor receives without a call through Python. */
static int
export_message_bound(PyObject *module)
{
    static Py_ssize_t (*const function)(PyObject *const *, Py_ssize_t) = message_bound;
    PyObject *capsule = PyCapsule_New((void *)&function, "actorkit.heap.c._walk._message_bound", NULL);
    int status = PyModule_AddObjectRef(module, "_message_bound", capsule);
    Py_XDECREF(capsule);
    return status;
}

PyMODINIT_FUNC
PyInit__walk(void)
{
    if (registered.stop_types == NULL) {
        registered.stop_types = PyTuple_New(0);
        registered.adapters_by_type = PyTuple_New(0);
        registered.adapters_by_name = PyTuple_New(0);
        name_sizeof = PyUnicode_InternFromString("__sizeof__");
        name_builtins = PyUnicode_InternFromString("__builtins__");
        deque_type = (PyTypeObject *)import_attribute("_collections", "deque");
        bytesio_type = (PyTypeObject *)import_attribute("_io", "BytesIO");
        stdlib_module_names = import_attribute("sys", "stdlib_module_names");
        allocated_blocks = import_attribute("sys", "getallocatedblocks");
        if (!learn_class_traverse() || !learn_small_ints() || PyErr_Occurred()) {
            return NULL;
        }
    }
    PyObject *module = PyModule_Create(&walk_module);
    if (module != NULL && export_message_bound(module) < 0) {
        Py_CLEAR(module);
    }
    return module;
}
