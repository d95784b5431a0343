/* The insides of classes and code objects: what they own beyond what their traversals show.
 *
 * References. What these functions return is borrowed. The GIL is held. */

#ifndef ACTORKIT_INTERPRETER_CLASSES_H
#define ACTORKIT_INTERPRETER_CLASSES_H

#include "_dicts.h"

enum { CODE_PARTS = 9, CLASS_PARTS = 3 };

/* What a code object owns, which has no traversal. */
static inline void
code_parts(PyCodeObject *code, PyObject **parts)
{
    PyObject *all[CODE_PARTS] = {code->co_consts, code->co_names, code->co_exceptiontable, code->co_localsplusnames,
                                 code->co_localspluskinds, code->co_filename, code->co_name, code->co_qualname,
                                 code->co_linetable};
    for (int i = 0; i < CODE_PARTS; i++) {
        parts[i] = all[i];
    }
}

/* What a class of Python owns beyond what its traversal shows. */
static inline void
class_parts(PyTypeObject *type, PyObject **parts)
{
    PyHeapTypeObject *class = (PyHeapTypeObject *)type;
    parts[0] = class->ht_name;
    parts[1] = class->ht_qualname;
    parts[2] = class->ht_slots;
}

/* What a class of Python has of its subclasses: a dict, or NULL. It has a weak reference to each, by
 * a number. */
static inline PyDictObject *
class_subclasses(PyTypeObject *type)
{
    return (PyDictObject *)type->tp_subclasses;
}

/* The table of the keys that its instances share, or NULL. */
static inline const PyDictKeysObject *
class_keys(PyTypeObject *type)
{
    return ((PyHeapTypeObject *)type)->ht_cached_keys;
}

/* The size that this table was requested with; 0 if there is none. */
static inline size_t
class_keys_request(PyTypeObject *type)
{
    const PyDictKeysObject *keys = class_keys(type);
    return keys == NULL ? 0 : keys_table_request(keys);
}

#endif
