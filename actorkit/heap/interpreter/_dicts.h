/* The insides of dicts, version by version: their tables, whose they are, and what they hold.
 *
 * Theory of operation. A dict has a table of keys. Instances of a class may *share* one; each has
 * an array of values of its own then. A table has entries in the order of insertion; those of a
 * table with only str keys are smaller, and have no hash. Deleted entries stay, without a value.
 *
 * References. What these functions return is borrowed. The GIL is held. */

#ifndef ACTORKIT_INTERPRETER_DICTS_H
#define ACTORKIT_INTERPRETER_DICTS_H

#include "_layout.h"

/* An entry with a str key: `me_key`, `me_value`. NULL for a value: it was deleted. */
typedef PyDictUnicodeEntry StrEntry;

/* Has it an array of values of its own, and shared keys? */
static inline int
dict_shares_keys(const PyDictObject *dict)
{
    return dict->ma_values != NULL;
}

/* Are all its keys str? Then a look-up of a str runs no code of theirs. */
static inline int
dict_has_str_keys(const PyDictObject *dict)
{
    return dict->ma_keys->dk_kind != DICT_KEYS_GENERAL;
}

/* And were they never shared, as in a module's globals? */
static inline int
dict_has_plain_str_keys(const PyDictObject *dict)
{
    return dict->ma_keys->dk_kind == DICT_KEYS_UNICODE;
}

/* How many entries its table has, deleted ones included. */
static inline Py_ssize_t
dict_entries(const PyDictObject *dict)
{
    return dict->ma_keys->dk_nentries;
}

/* The entries of a table that is this dict's own and has only str keys; NULL if it is no such. */
static inline StrEntry *
own_str_entries(const PyDictObject *dict)
{
    PyDictKeysObject *keys = dict->ma_keys;
    if (dict->ma_values != NULL || keys->dk_kind == DICT_KEYS_GENERAL || keys->dk_refcnt != 1) {
        return NULL;
    }
    return DK_UNICODE_ENTRIES(keys);
}

/* The value of one entry of a dict that does not share its keys; NULL if it was deleted. */
static inline PyObject *
dict_value_at(const PyDictObject *dict, Py_ssize_t at)
{
    PyDictKeysObject *keys = dict->ma_keys;
    return keys->dk_kind == DICT_KEYS_GENERAL ? DK_ENTRIES(keys)[at].me_value : DK_UNICODE_ENTRIES(keys)[at].me_value;
}

/* The size that a table of keys was requested with. */
static inline size_t
keys_table_request(const PyDictKeysObject *keys)
{
    size_t entry = keys->dk_kind == DICT_KEYS_GENERAL ? sizeof(PyDictKeyEntry) : sizeof(PyDictUnicodeEntry);
    size_t usable = (((size_t)1 << keys->dk_log2_size) << 1) / 3;
    return sizeof(PyDictKeysObject) + ((size_t)1 << keys->dk_log2_index_bytes) + usable * entry;
}

/* Is this the size that some table of keys is requested with? */
static inline int
is_request_of_keys_table(size_t request)
{
    for (int log2_size = 3; log2_size < 40; log2_size++) {
        size_t length = (size_t)1 << log2_size, usable = (length << 1) / 3;
        size_t index = length << (log2_size < 8 ? 0 : log2_size < 16 ? 1 : log2_size < 32 ? 2 : 3);
        size_t least = sizeof(PyDictKeysObject) + index + usable * sizeof(PyDictUnicodeEntry);
        if (request <= least) {
            return request == least;
        }
        if (request == sizeof(PyDictKeysObject) + index + usable * sizeof(PyDictKeyEntry)) {
            return 1;
        }
    }
    return 0;
}

/* Is this a request with which the table of interned strings grows, where the interpreter cannot
 * take a no? In 3.13.0 to 3.13.5 `setdefault` goes on after the MemoryError and counts an entry that
 * is not there (gh-109700). A later resize reads past the entries, and that table is everybody's.
 * The version is that of the interpreter that runs. Needs the GIL. */
static inline int
is_for_interned_strings(size_t request)
{
#if PY_VERSION_HEX >= 0x030D0000
    if (Py_Version < 0x030D06F0) {
        PyObject *interned = _PyInterpreterState_GET()->cached_objects.interned_strings;
        return interned != NULL && ((PyDictObject *)interned)->ma_keys->dk_usable <= 0
               && is_request_of_keys_table(request);
    }
#endif
    (void)request;
    return 0;
}

/* The same of a dict's; 0 for one that others have too, as the empty one, which all dicts share. */
static inline size_t
keys_request(const PyDictObject *dict)
{
    return dict->ma_keys->dk_refcnt == 1 ? keys_table_request(dict->ma_keys) : 0;
}

/* The size of what a dict has beside itself: its table of keys, or its array of values. */
static inline size_t
table_request(const PyDictObject *dict)
{
    if (dict->ma_values == NULL) {
        return keys_request(dict);
    }
#if PY_VERSION_HEX >= 0x030D0000
    return dict->ma_values->embedded ? 0 : values_array_bytes(dict->ma_values);
#else
    return values_array_bytes(dict->ma_keys);
#endif
}

/* Where that is; NULL if others have it too. */
static inline const void *
dict_table(const PyDictObject *dict)
{
    return dict->ma_values != NULL         ? (const void *)dict->ma_values
           : dict->ma_keys->dk_refcnt == 1 ? (const void *)dict->ma_keys
                                           : NULL;
}

/* Where a walk that goes into a dict will look first: to be fetched ahead of time. */
static inline const void *
dict_hint(const PyDictObject *dict)
{
    return dict->ma_keys;
}

#endif
