/* How objects lie in memory, version by version: what the walk must know to size them.
 *
 * References. What these functions return is borrowed. The GIL is held. */

#ifndef ACTORKIT_INTERPRETER_LAYOUT_H
#define ACTORKIT_INTERPRETER_LAYOUT_H

#include "_python.h" /* first: it prepares Python.h */

/* Objects that never die have no meaningful count. Before 3.12 there were none. */
static inline int
is_immortal(PyObject *object)
{
#if PY_VERSION_HEX >= 0x030C0000
    return (int32_t)object->ob_refcnt < 0;
#else
    (void)object;
    return 0;
#endif
}

static inline size_t
int_digits(PyObject *object)
{
#if PY_VERSION_HEX >= 0x030C0000
    size_t digits = ((PyLongObject *)object)->long_value.lv_tag >> 3;
#else
    size_t digits = (size_t)Py_ABS(Py_SIZE(object));
#endif
    return digits ? digits : 1;
}

#if PY_VERSION_HEX >= 0x030C0000
#define INT_HEADER offsetof(PyLongObject, long_value.ob_digit)
#else
#define INT_HEADER offsetof(PyLongObject, ob_digit)
#endif

/* The size of what lies in front of an object in its block: GC links and managed pointers. */
static inline size_t
bytes_before_object(PyTypeObject *type)
{
    return _PyType_PreHeaderSize(type);
}

#if PY_VERSION_HEX < 0x030D0000
/* The array of attribute values that goes with shared keys: a prefix of one byte per value plus
 * two, rounded up to pointers, then the values. It is as long as the table of the keys. */
static inline size_t
values_array_bytes(PyDictKeysObject *keys)
{
    size_t length = (size_t)(keys->dk_usable + keys->dk_nentries);
    return ((length + 2 + 7) & ~(size_t)7) + length * sizeof(PyObject *);
}
#else
/* From 3.13 on, the array knows its own capacity. */
static inline size_t
values_array_bytes(PyDictValues *values)
{
    size_t length = values->capacity;
    return ((length + 7) & ~(size_t)7) + (length + 1) * sizeof(PyObject *);
}
#endif

/* The bytes that an instance has in a values array: inside its own block (`*inside`) from 3.13 on,
 * in a block of its own (returned) before that. 0 once a real dict has taken the array over. */
static inline size_t
instance_values_bytes(PyObject *object, PyTypeObject *type, size_t *inside)
{
    *inside = 0;
#if PY_VERSION_HEX >= 0x030D0000
    if (PyType_HasFeature(type, Py_TPFLAGS_INLINE_VALUES)) {
        *inside = values_array_bytes(_PyObject_InlineValues(object));
    }
    return 0;
#else
#if PY_VERSION_HEX >= 0x030C0000
    PyDictOrValues either = *_PyObject_DictOrValuesPointer(object);
    if (!_PyDictOrValues_IsValues(either) || _PyDictOrValues_GetValues(either) == NULL) {
        return 0;
    }
#else
    if (*_PyObject_ValuesPointer(object) == NULL) {
        return 0;
    }
#endif
    PyDictKeysObject *keys = ((PyHeapTypeObject *)type)->ht_cached_keys;
    return keys == NULL ? 0 : values_array_bytes(keys);
#endif
}

/* Where the values of an instance with a managed dict may be: for a prefetch, not to be read. */
static inline const void *
instance_values_hint(PyObject *object)
{
#if PY_VERSION_HEX >= 0x030D0000
    return object;
#elif PY_VERSION_HEX >= 0x030C0000
    return _PyObject_DictOrValuesPointer(object)->dict;
#else
    return *_PyObject_ValuesPointer(object);
#endif
}

#endif
