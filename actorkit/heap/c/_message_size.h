/* What a message is charged. Part of _walk.c, whose walk it spares most messages.
 *
 * Theory of operation. There are two figures. `message_bytes` is what the walk would say, to the
 * byte. `message_bound` is at least that, and quick for nested messages too: enough to say that a
 * message fits.
 *
 * Most messages are atoms (objects without references) or flat: a tuple, list or dict of atoms.
 * Their bytes are the walk's, to the byte, without a table: an atom counts if only its container
 * holds it, so its references there are all that it has. Wherever that would take long to find out,
 * and wherever something was registered for one of these types, NOT_FLAT sends the message to the
 * walk. Where that meets a container that others seem to hold too, it may be in a cycle within the
 * message, so the own pass follows, with a cap (and `_known_shared.h`). What it cannot tell is not
 * charged, and the receiver's account is told (`foreign_due`).
 *
 * References. None is taken and nothing is kept. The GIL is held, and no Python code runs but for
 * the adapters of a walk. */

#ifndef ACTORKIT_HEAP_MESSAGE_SIZE_H
#define ACTORKIT_HEAP_MESSAGE_SIZE_H

#include "_known_shared.h"
#include "_own_pass.h"
#include "_roots.h"

enum {
    NOT_FLAT = -1,
    SMALL_CONTAINER = 32,
    MESSAGE_CAP = 4096 /* so many containers are looked into for cycles */
};

static int shortcuts; /* nothing was registered for the types below: see `leaves_builtins_alone` */

static ALWAYS_INLINE Py_ssize_t
atom_bytes(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (is_immortal(object)) {
        return 0;
    }
    if (type == &PyUnicode_Type) {
        PyASCIIObject *ascii = (PyASCIIObject *)object;
        if (ascii->state.compact && ascii->state.ascii) {
            size_t request = sizeof(PyASCIIObject) + (size_t)ascii->length + 1;
            return LIKELY(request <= SMALL) ? (Py_ssize_t)small_block(request) : (Py_ssize_t)block_bytes(request);
        }
        return (Py_ssize_t)str_bytes(object, sizeof(PyUnicodeObject));
    }
    if (type == &PyLong_Type) {
        return (Py_ssize_t)block_bytes(INT_HEADER + int_digits(object) * sizeof(digit));
    }
    if (type == &PyFloat_Type) {
        return (Py_ssize_t)block_bytes(sizeof(PyFloatObject));
    }
    if (type == &PyBytes_Type) {
        return (Py_ssize_t)block_bytes((size_t)type->tp_basicsize + (size_t)Py_SIZE(object));
    }
    return object == Py_None || type == &PyBool_Type ? 0 : NOT_FLAT;
}

/* The bytes of `items[at]`: 0 if others hold it too, or if it is also among the items before. */
static inline Py_ssize_t
item_bytes(PyObject *const *items, Py_ssize_t length, Py_ssize_t at)
{
    PyObject *item = items[at];
    Py_ssize_t bytes = atom_bytes(item), held = 0;
    if (bytes <= 0 || Py_REFCNT(item) == 1) {
        return bytes;
    }
    if (Py_REFCNT(item) > length) {
        return 0;
    }
    if (length > SMALL_CONTAINER) {
        return NOT_FLAT;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        if (items[i] == item) {
            if (i < at) {
                return 0;
            }
            held++;
        }
    }
    return Py_REFCNT(item) == held ? bytes : 0;
}

static Py_ssize_t
items_bytes(PyObject *const *items, Py_ssize_t length)
{
    Py_ssize_t sum = 0;
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_ssize_t bytes = items[i] == NULL ? NOT_FLAT : item_bytes(items, length, i);
        if (bytes < 0) {
            return NOT_FLAT;
        }
        sum += bytes;
    }
    return sum;
}

/* The keys and values of a dict with only str keys, and nothing shared with other dicts. */
static Py_ssize_t
entries_bytes(PyDictObject *dict)
{
    if (dict->ma_used == 0) {
        return 0;
    }
    StrEntry *entries = own_str_entries(dict);
    if (entries == NULL) {
        return NOT_FLAT;
    }
    Py_ssize_t length = dict_entries(dict), sum = 0;
    PyObject *const *pointers = (PyObject *const *)(void *)entries; /* key, value, key, value … */
    for (Py_ssize_t i = 0; i < length; i++) {
        if (entries[i].me_value == NULL) {
            continue;
        }
        Py_ssize_t of_key = item_bytes(pointers, 2 * length, 2 * i);
        Py_ssize_t of_value = item_bytes(pointers, 2 * length, 2 * i + 1);
        if (of_key < 0 || of_value < 0) {
            return NOT_FLAT;
        }
        sum += of_key + of_value;
    }
    return sum;
}

/* One exact tuple, list or dict of atoms. */
static Py_ssize_t
container_bytes(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    size_t own;
    Py_ssize_t items;
    if (is_immortal(object)) {
        return 0;
    }
    if (type == &PyTuple_Type) {
        own = (size_t)PyTuple_GET_SIZE(object) * sizeof(PyObject *);
        items = items_bytes(&PyTuple_GET_ITEM(object, 0), PyTuple_GET_SIZE(object));
        own = block_bytes(bytes_before_object(type) + (size_t)type->tp_basicsize + own);
    }
    else if (type == &PyList_Type) {
        size_t array = (size_t)((PyListObject *)object)->allocated * sizeof(PyObject *);
        items = items_bytes(((PyListObject *)object)->ob_item, PyList_GET_SIZE(object));
        own = block_bytes(bytes_before_object(type) + (size_t)type->tp_basicsize) + (array ? block_bytes(array) : 0);
    }
    else if (type == &PyDict_Type) {
        items = entries_bytes((PyDictObject *)object);
        own = block_bytes(bytes_before_object(type) + (size_t)type->tp_basicsize)
            + dict_table_bytes((PyDictObject *)object);
    }
    else {
        return NOT_FLAT;
    }
    return items < 0 ? NOT_FLAT : items + (Py_ssize_t)own;
}

/* Without a walk: the bytes of one flat object, or of a few different atoms. */
static inline Py_ssize_t
flat_bytes(PyObject *const *objects, Py_ssize_t count)
{
    Py_ssize_t sum = 0;
    if (!shortcuts || count > SMALL_CONTAINER) {
        return NOT_FLAT;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        Py_ssize_t bytes = atom_bytes(objects[i]);
        if (bytes < 0) {
            return count == 1 ? container_bytes(objects[0]) : NOT_FLAT;
        }
        for (Py_ssize_t j = 0; j < i; j++) {
            bytes = objects[j] == objects[i] ? 0 : bytes;
        }
        sum += bytes;
    }
    return sum;
}

/* --- Cycles ------------------------------------------------------------------------------------ */

/* The bytes of private cycles in what a message holds. `*cycles` says whether there are any, or may be
 * more. */
static size_t
cyclic_bytes(Walk *walk, int *cycles)
{
    size_t met = walk->used, doubtful = 0;
    for (size_t i = 0; i < met; i++) {
        Entry *entry = &walk->table[walk->order[i]];
        doubtful += is_leftover(walk, entry) && !is_known_shared(entry->object);
    }
    if (doubtful == 0 || ended(walk)) {
        return 0;
    }
    run_own_pass(walk, MESSAGE_CAP);
    for (size_t i = 0; i < met; i++) {
        Entry *entry = &walk->table[walk->order[i]];
        if (is_leftover(walk, entry)) {
            if (entry->flags & ENTRY_SHARED) {
                remember_shared(entry->object);
            }
            else {
                forget_shared(entry->object);
            }
        }
    }
    *cycles |= (walk->after_gc ? CYCLES_CHARGED : 0) | (walk->capped ? CYCLES_CAPPED : 0);
    return walk->after_gc;
}

/* What `size_of` returns, or -1 with an exception. `*cycles`: see MessageSizer. */
static Py_ssize_t
message_bytes(PyObject *const *objects, Py_ssize_t count, int *cycles)
{
    Py_ssize_t flat = flat_bytes(objects, count);
    if (flat >= 0) {
        return flat;
    }
    Walk *walk = begin_walk();
    if (walk == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        mark_root(walk, objects[i]);
    }
    for (Py_ssize_t i = 0; i < count && !ended(walk); i++) {
        charge_root(walk, objects[i]);
    }
    drain_with_adapters(walk, release);
    size_t in_cycles = cyclic_bytes(walk, cycles);
    Py_ssize_t bytes = (Py_ssize_t)(walk->bytes + in_cycles);
    return end_walk(walk) ? bytes : -1;
}

/* --- A bound for nested messages -------------------------------------------------------------- */

/* The charge for a message may be too high, but never too low. So containers of exact types that
 * nothing but their container holds are opened without a table, to some depth. An atom in them
 * counts in full although others may hold it too; an atom that is met again and again (the keys of
 * a hundred dicts) nearly always counts once. Everything else sends the message to the walk: a
 * container that is held twice, and a large atom that others hold too, since the charge must not be
 * far too high. */

enum { DEPTH = 16, SHARED_ATOM = 128, RECENT = 64, GC_HEADER = 2 * sizeof(uintptr_t) };

static uintptr_t first_small_int, last_small_int; /* in the interpreter's array of small ints */

/* The shared atoms that were met lately, by address: compared, never followed. */
typedef struct {
    int any;
    PyObject *places[RECENT];
} Recent;

static Py_ssize_t bound_container(Recent *recent, PyObject *object, int depth);

static inline PyObject **
place_of(Recent *recent, PyObject *item)
{
    if (UNLIKELY(!recent->any)) {
        memset(recent->places, 0, sizeof recent->places);
        recent->any = 1;
    }
    return &recent->places[((uintptr_t)item >> 4 ^ (uintptr_t)item >> 10) & (RECENT - 1)];
}

/* The bytes of an item and of what it holds; NOT_FLAT sends the message to the walk. */
static ALWAYS_INLINE Py_ssize_t
bound_item(Recent *recent, PyObject *item, int depth)
{
    Py_ssize_t bytes;
    if (LIKELY(Py_REFCNT(item) == 1)) {
        bytes = atom_bytes(item);
        return LIKELY(bytes >= 0) || depth == DEPTH ? bytes : bound_container(recent, item, depth + 1);
    }
    PyObject **place = place_of(recent, item);
    if (*place == item || ((uintptr_t)item >= first_small_int && (uintptr_t)item <= last_small_int)) {
        return 0;
    }
    bytes = atom_bytes(item);
    if (bytes < 0) {
        return PyTuple_CheckExact(item) && PyTuple_GET_SIZE(item) == 0 ? 0 : NOT_FLAT; /* () is a single object */
    }
    *place = item;
    return bytes <= SHARED_ATOM ? bytes : NOT_FLAT;
}

static Py_ssize_t
bound_entries(Recent *recent, PyDictObject *dict, int depth)
{
    const StrEntry *entry = own_str_entries(dict);
    if (entry == NULL) {
        return dict->ma_used == 0 ? 0 : NOT_FLAT;
    }
    const StrEntry *end = entry + dict_entries(dict);
    Py_ssize_t sum = 0;
    for (; entry < end; entry++) {
        if (LIKELY(entry->me_value != NULL)) {
            Py_ssize_t of_key = bound_item(recent, entry->me_key, depth);
            Py_ssize_t of_value = bound_item(recent, entry->me_value, depth);
            if (UNLIKELY((of_key | of_value) < 0)) {
                return NOT_FLAT;
            }
            sum += of_key + of_value;
        }
    }
    return sum;
}

static Py_ssize_t
bound_container(Recent *recent, PyObject *object, int depth)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *const *item, *const *end;
    size_t own;
    if (type == &PyDict_Type) {
        Py_ssize_t entries = bound_entries(recent, (PyDictObject *)object, depth);
        own = block_bytes(GC_HEADER + sizeof(PyDictObject)) + dict_table_bytes((PyDictObject *)object);
        return entries < 0 ? NOT_FLAT : entries + (Py_ssize_t)own;
    }
    if (type == &PyTuple_Type) {
        item = &PyTuple_GET_ITEM(object, 0);
        end = item + PyTuple_GET_SIZE(object);
        own = block_bytes(GC_HEADER + offsetof(PyTupleObject, ob_item) + (size_t)((char *)end - (char *)item));
    }
    else if (type == &PyList_Type) {
        size_t array = (size_t)((PyListObject *)object)->allocated * sizeof(PyObject *);
        item = ((PyListObject *)object)->ob_item;
        end = item + PyList_GET_SIZE(object);
        own = block_bytes(GC_HEADER + sizeof(PyListObject)) + (array ? block_bytes(array) : 0);
    }
    else {
        return NOT_FLAT;
    }
    Py_ssize_t sum = (Py_ssize_t)own;
    for (; item < end; item++) {
        Py_ssize_t bytes = *item == NULL ? NOT_FLAT : bound_item(recent, *item, depth);
        if (UNLIKELY(bytes < 0)) {
            return NOT_FLAT;
        }
        sum += bytes;
    }
    return sum;
}

/* At least what `size_of` returns, or -1 with an exception. `*cycles`: see there. The clock calls it for each message. */
static Py_ssize_t
message_bound(PyObject *const *objects, Py_ssize_t count, int *cycles)
{
    Py_ssize_t sum = 0;
    int fine = shortcuts;
    Recent recent;
    recent.any = 0;
    for (Py_ssize_t i = 0; fine && i < count; i++) {
        Py_ssize_t bytes = atom_bytes(objects[i]);
        if (bytes < 0 && !is_immortal(objects[i])) {
            bytes = bound_container(&recent, objects[i], 0);
        }
        fine = bytes >= 0;
        sum += bytes;
    }
    return fine ? sum : message_bytes(objects, count, cycles);
}

#endif
