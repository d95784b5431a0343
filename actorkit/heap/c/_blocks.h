/* How many bytes come back to the allocator when an object is freed. Part of _walk.c.
 *
 * Theory of operation. An object is one block or several: a list has its array, a dict its keys
 * table, an instance (up to 3.12) its values. Each block is rounded up as the allocators do it
 * (`_contract.h`). The sums agree with counted frees; a plain sum of sys.getsizeof is up to a
 * quarter too low.
 *
 * A type is examined once in a walk, and what was found is kept in a small cache by its address.
 * That is good for one walk only, since a type may die and another one take its place. What is
 * known about a built-in type (`LASTING`) is good until something is registered.
 *
 * No method written in Python is called, and no lookup is made that could compare keys by Python
 * code. For types whose structure is not known here, the C-level __sizeof__ of the standard library
 * is called, and nothing else. Other __sizeof__ methods are not trusted, and the basic size counts;
 * adapters are for such types.
 *
 * References. Types, methods and adapters are borrowed: the registry of the walk holds the
 * adapters, and no type dies during a walk. The GIL is held. */

#ifndef ACTORKIT_HEAP_BLOCKS_H
#define ACTORKIT_HEAP_BLOCKS_H

#include "../interpreter/_classes.h" /* first: it prepares Python.h */
#include "../interpreter/_frames.h"

#include "_contract.h"

#include <string.h>

enum Sizer {
    SIZER_FIXED,     /* basic size */
    SIZER_VARIABLE,  /* basic size + items, in one block */
    SIZER_STR,
    SIZER_INT,
    SIZER_LIST,
    SIZER_DICT,
    SIZER_ORDERED_DICT,
    SIZER_SET,
    SIZER_BYTEARRAY,
    SIZER_DEQUE,
    SIZER_CLASS,     /* basic size + items + one more, and the keys that the instances share */
    SIZER_METHOD     /* what the C-level __sizeof__ says: beyond the basic size the items or a second block */
};

enum TypeFlag {
    TYPE_NEVER_COUNTS = 1,    /* modules, types, code, None and its like: not even as roots; see TYPE_OWNABLE */
    TYPE_STOPS = 2,           /* registered: counts as a root only */
    TYPE_MANAGED_DICT = 4,
    TYPE_FUNCTION = 8,
    TYPE_DICT = 16,
    TYPE_UNKNOWN_CODE = 32,   /* its traversal is third-party C code */
    TYPE_ALLOCATES_ONE_MORE = 64, /* the generic allocation of variable objects adds a sentinel item */
    TYPE_OWNABLE = 128,       /* modules, types and code: they count after all if the account has made them */
    TYPE_CODE = 256,
    TYPE_CLASS = 512
};

#define LASTING UINT64_MAX

typedef struct {
    PyTypeObject *type;
    uint64_t walk;  /* the walk for which this entry is good, or LASTING */
    traverseproc traverse;
    PyObject *sizeof_method;
    PyObject *adapter;
    uint32_t header;  /* what lies in front of the object + its basic size */
    uint32_t item;
    uint16_t flags;
    uint8_t sizer;
    uint8_t own;      /* has the account made this type? 0: not known yet */
} TypeFacts;

enum { MADE_BY_OTHERS = 1, MADE_BY_IT = 2 };

/* What was registered for all walks. The tuples are replaced, never changed. */
typedef struct {
    PyObject *stop_types;        /* tuple of types */
    PyObject *adapters_by_type;  /* tuple of (type, function) */
    PyObject *adapters_by_name;  /* tuple of (bytes "module.name", function) */
} Registry;

/* Found when the module is loaded; they live as long as the process. */
static traverseproc python_class_traverse;  /* of classes made by a class statement */
static PyObject *name_sizeof;
static PyObject *name_builtins;
static PyObject *stdlib_module_names;
static PyTypeObject *deque_type;
static PyTypeObject *bytesio_type;

static inline size_t
block_bytes(size_t requested)
{
    if (requested <= SMALL) {
        return requested ? small_block(requested) : 16;
    }
    return large_block(requested);
}

/* Are the `length` bytes at `name` the name of a module of the standard library? */
static int
is_stdlib_name(const char *name, size_t length)
{
    if (stdlib_module_names == NULL) {
        return 0;
    }
    PyObject *module = PyUnicode_FromStringAndSize(name, (Py_ssize_t)length);
    int found = module == NULL ? -1 : PySet_Contains(stdlib_module_names, module);
    Py_XDECREF(module);
    if (found < 0) {
        PyErr_Clear();
    }
    return found > 0;
}

/* Does the C code of this C type come from the interpreter or its standard library? */
static int
is_stdlib_type(PyTypeObject *type)
{
    const char *dot = strchr(type->tp_name, '.');
    if (dot == NULL) {
        return !PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE);
    }
    return is_stdlib_name(type->tp_name, (size_t)(dot - type->tp_name));
}

/* The nearest type up the chain of layouts that was not made by a class statement. */
static PyTypeObject *
native_base(PyTypeObject *type)
{
    while (type->tp_traverse == python_class_traverse && type->tp_base != NULL) {
        type = type->tp_base;
    }
    return type;
}

/* Its __sizeof__ reads through a null pointer as long as __init__ has not run. */
#define CRASHES_HALF_MADE "_struct.Struct"

/* Borrowed: the C-level __sizeof__ that `type` inherits from the standard library, or NULL. */
static PyObject *
trusted_sizeof(PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;
    if (mro == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        /* A class statement may have put keys into its namespace that compare by Python code. */
        if (!PyType_Check(base) || base->tp_traverse == python_class_traverse) {
            continue;
        }
        if (base == &PyBaseObject_Type) {
            return NULL;
        }
        PyObject *namespace = class_namespace(base);
        if (namespace == NULL) {
            continue;
        }
        PyObject *method = NULL;
        if (dict_has_str_keys((PyDictObject *)namespace)) {
            method = PyDict_GetItemWithError(namespace, name_sizeof);
        }
        Py_DECREF(namespace);
        if (method != NULL && Py_IS_TYPE(method, &PyMethodDescr_Type)) {
            return is_stdlib_type(base) && strcmp(base->tp_name, CRASHES_HALF_MADE) != 0 ? method : NULL;
        }
    }
    return NULL;
}

/* Borrowed: the adapter registered for `type` or for one of its bases, or NULL. */
static PyObject *
find_adapter(const Registry *registry, PyTypeObject *type)
{
    PyObject *by_type = registry->adapters_by_type;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(by_type); i++) {
        PyObject *pair = PyTuple_GET_ITEM(by_type, i);
        if (PyType_IsSubtype(type, (PyTypeObject *)PyTuple_GET_ITEM(pair, 0))) {
            return PyTuple_GET_ITEM(pair, 1);
        }
    }
    PyObject *by_name = registry->adapters_by_name;
    PyTypeObject *base = native_base(type);
    for (; base != NULL && base != &PyBaseObject_Type; base = base->tp_base) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(by_name); i++) {
            PyObject *pair = PyTuple_GET_ITEM(by_name, i);
            if (strcmp(base->tp_name, PyBytes_AS_STRING(PyTuple_GET_ITEM(pair, 0))) == 0) {
                return PyTuple_GET_ITEM(pair, 1);
            }
        }
    }
    return NULL;
}

static int
never_counts(PyTypeObject *type)
{
    return PyType_HasFeature(type, Py_TPFLAGS_TYPE_SUBCLASS) || type == &PyCode_Type
        || type == Py_TYPE(Py_None) || type == &PyBool_Type || type == &PyEllipsis_Type
        || type == Py_TYPE(Py_NotImplemented)
        || PyType_IsSubtype(type, &PyModule_Type);
}

static void
choose_sizer(TypeFacts *facts, PyTypeObject *type)
{
    PyTypeObject *native = native_base(type);
    if (PyType_HasFeature(type, Py_TPFLAGS_UNICODE_SUBCLASS)) {
        facts->sizer = SIZER_STR;
    }
    else if (PyType_HasFeature(type, Py_TPFLAGS_LONG_SUBCLASS)) {
        facts->sizer = SIZER_INT;
        facts->header = (uint32_t)(bytes_before_object(type) + (size_t)type->tp_basicsize);
        if (type == &PyLong_Type) {
            facts->header = INT_HEADER;
        }
    }
    else if (PyType_HasFeature(type, Py_TPFLAGS_BYTES_SUBCLASS)) {
        facts->sizer = SIZER_VARIABLE;
    }
    else if (PyType_HasFeature(type, Py_TPFLAGS_TUPLE_SUBCLASS)) {
        facts->sizer = SIZER_VARIABLE;
    }
    else if (PyType_HasFeature(type, Py_TPFLAGS_LIST_SUBCLASS)) {
        facts->sizer = SIZER_LIST;
    }
    else if (PyType_HasFeature(type, Py_TPFLAGS_DICT_SUBCLASS)) {
        facts->flags |= TYPE_DICT;
        facts->sizer = PyType_IsSubtype(type, &PyODict_Type) ? SIZER_ORDERED_DICT : SIZER_DICT;
        if (facts->sizer == SIZER_ORDERED_DICT) {
            facts->sizeof_method = trusted_sizeof(&PyODict_Type);
        }
    }
    else if (native == &PyBaseObject_Type) {
        facts->sizer = SIZER_FIXED;
    }
    else if (PyType_IsSubtype(type, &PySet_Type) || PyType_IsSubtype(type, &PyFrozenSet_Type)) {
        facts->sizer = SIZER_SET;
    }
    else if (PyType_IsSubtype(type, &PyByteArray_Type)) {
        facts->sizer = SIZER_BYTEARRAY;
    }
    else if (type == &PyFunction_Type) {
        facts->flags |= TYPE_FUNCTION;
        facts->sizer = SIZER_FIXED;
    }
    else if (bytesio_type != NULL && PyType_IsSubtype(type, bytesio_type) && BYTES_IO_SHOWS_BUFFER) {
        /* Its traversal visits the buffer, and its __sizeof__ counts it too. */
        facts->sizer = SIZER_FIXED;
    }
    else {
        facts->sizeof_method = trusted_sizeof(type);
        if (facts->sizeof_method == NULL) {
            facts->sizer = type->tp_itemsize ? SIZER_VARIABLE : SIZER_FIXED;
        }
        else {
            int deque = deque_type != NULL && PyType_IsSubtype(type, deque_type);
            facts->sizer = deque ? SIZER_DEQUE : SIZER_METHOD;
        }
    }
    if (facts->traverse != NULL && native != &PyBaseObject_Type && !is_stdlib_type(native)) {
        facts->flags |= TYPE_UNKNOWN_CODE;
    }
}

/* Are it and its bases static? Such types neither die nor change. */
static int
is_builtin(PyTypeObject *type)
{
    for (PyTypeObject *base = type; base != NULL; base = base->tp_base) {
        if (PyType_HasFeature(base, Py_TPFLAGS_HEAPTYPE)) {
            return 0;
        }
    }
    return strchr(type->tp_name, '.') == NULL;
}

static int
is_stop(const Registry *registry, PyTypeObject *type)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(registry->stop_types); i++) {
        if (PyType_IsSubtype(type, (PyTypeObject *)PyTuple_GET_ITEM(registry->stop_types, i))) {
            return 1;
        }
    }
    return 0;
}

/* Of a type whose instances never count, but for those that the account has made itself. */
static void
learn_ownable(TypeFacts *facts, PyTypeObject *type)
{
    facts->flags = TYPE_NEVER_COUNTS;
    facts->traverse = PyType_IS_GC(type) ? type->tp_traverse : NULL;
    facts->header = (uint32_t)(bytes_before_object(type) + (size_t)type->tp_basicsize);
    facts->item = (uint32_t)type->tp_itemsize;
    if (PyType_HasFeature(type, Py_TPFLAGS_TYPE_SUBCLASS)) {
        facts->flags |= TYPE_OWNABLE | TYPE_CLASS;
        facts->sizer = SIZER_CLASS;
    }
    else if (type == &PyCode_Type) {
        facts->flags |= TYPE_OWNABLE | TYPE_CODE;
        facts->sizer = SIZER_VARIABLE;
    }
    else if (PyType_IsSubtype(type, &PyModule_Type)) {
        facts->flags |= TYPE_OWNABLE;
        facts->sizer = SIZER_FIXED;
    }
}

static void
learn_type(TypeFacts *facts, PyTypeObject *type, const Registry *registry, uint64_t walk)
{
    memset(facts, 0, sizeof *facts);
    facts->type = type;
    facts->walk = is_builtin(type) ? LASTING : walk;
    if (never_counts(type)) {
        learn_ownable(facts, type);
        return;
    }
    if (is_stop(registry, type)) {
        facts->flags |= TYPE_STOPS;
    }
    facts->traverse = PyType_IS_GC(type) ? type->tp_traverse : NULL;
    facts->header = (uint32_t)(bytes_before_object(type) + (size_t)type->tp_basicsize);
    facts->item = (uint32_t)type->tp_itemsize;
    if (PyType_HasFeature(type, Py_TPFLAGS_MANAGED_DICT)) {
        facts->flags |= TYPE_MANAGED_DICT;
    }
    choose_sizer(facts, type);
    if (facts->item && PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)) {
        facts->flags |= TYPE_ALLOCATES_ONE_MORE;
    }
    facts->adapter = find_adapter(registry, type);
}

static size_t
str_bytes(PyObject *object, size_t header)
{
    PyASCIIObject *ascii = (PyASCIIObject *)object;
    PyCompactUnicodeObject *compact = (PyCompactUnicodeObject *)object;
    size_t length = (size_t)ascii->length, width = ascii->state.kind, total;
    if (ascii->state.compact) {
        if (ascii->state.ascii) {
            return block_bytes(sizeof(PyASCIIObject) + length + 1);
        }
        total = block_bytes(sizeof(PyCompactUnicodeObject) + (length + 1) * width);
    }
    else {
        /* Subclasses of str hold their characters in a second block. */
        void *data = ((PyUnicodeObject *)object)->data.any;
        total = block_bytes(header) + (data != NULL ? block_bytes((length + 1) * width) : 0);
        if (compact->utf8 == data) {
            return total;
        }
    }
    if (compact->utf8 != NULL) {
        total += block_bytes((size_t)compact->utf8_length + 1);
    }
    return total;
}

/* What the C-level __sizeof__ says beyond the basic size. */
static size_t
sizeof_beyond(PyObject *object, PyObject *method, size_t basic)
{
    PyObject *answer = PyObject_CallOneArg(method, object);
    size_t bytes = answer == NULL ? 0 : PyLong_AsSize_t(answer);
    Py_XDECREF(answer);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return bytes > basic ? bytes - basic : 0;
}

static size_t
dict_table_bytes(PyDictObject *dict)
{
    size_t request = table_request(dict);
    return request ? block_bytes(request) : 0;
}

/* The linked list beside the dict: one node for each key, and a table of pointers to them. That
 * table is what OrderedDict's own __sizeof__ says beyond the dict's and the nodes. */
static size_t
ordered_nodes_bytes(PyObject *object, const TypeFacts *facts)
{
    PyDictObject *dict = (PyDictObject *)object;
    size_t nodes = (size_t)dict->ma_used * 32;
    if (facts->sizeof_method == NULL) {
        return nodes;
    }
    size_t beyond = sizeof_beyond(object, facts->sizeof_method, (size_t)facts->type->tp_basicsize);
    size_t table = keys_request(dict);
    return beyond > table + nodes ? nodes + block_bytes(beyond - table - nodes) : nodes;
}

/* What goes with a class besides: the keys that its instances share; its text; what each base has of
 * it, a weak reference and a number; and its own dict of such references. */
static size_t
class_keys_bytes(PyTypeObject *type)
{
    size_t request = class_keys_request(type);
    return request ? block_bytes(request) : 0;
}

static size_t
class_relations_bytes(PyTypeObject *type)
{
    size_t of_base = block_bytes(bytes_before_object(&_PyWeakref_RefType) + sizeof(PyWeakReference))
        + block_bytes(INT_HEADER + 2 * sizeof(digit));
    PyDictObject *subclasses = class_subclasses(type);
    size_t bases = type->tp_bases != NULL ? (size_t)PyTuple_GET_SIZE(type->tp_bases) : 0;
    size_t text = type->tp_doc != NULL ? block_bytes(strlen(type->tp_doc) + 1) : 0;
    return text + bases * of_base
        + (subclasses == NULL ? 0 : block_bytes(bytes_before_object(&PyDict_Type) + sizeof(PyDictObject))
                                        + dict_table_bytes(subclasses));
}

/* The second block of objects with a resizable buffer. */
static inline size_t
second_block_bytes(PyObject *object, const TypeFacts *facts)
{
    size_t basic = (size_t)facts->type->tp_basicsize;
    switch (facts->sizer) {
    case SIZER_LIST: {
        Py_ssize_t allocated = ((PyListObject *)object)->allocated;
        return allocated > 0 ? block_bytes((size_t)allocated * sizeof(PyObject *)) : 0;
    }
    case SIZER_DICT:
        return dict_table_bytes((PyDictObject *)object);
    case SIZER_ORDERED_DICT:
        return dict_table_bytes((PyDictObject *)object) + ordered_nodes_bytes(object, facts);
    case SIZER_SET: {
        PySetObject *set = (PySetObject *)object;
        return set->table == set->smalltable ? 0 : block_bytes(((size_t)set->mask + 1) * sizeof(setentry));
    }
    case SIZER_BYTEARRAY: {
        Py_ssize_t allocated = ((PyByteArrayObject *)object)->ob_alloc;
        return allocated > 0 ? block_bytes((size_t)allocated) : 0;
    }
    case SIZER_DEQUE: {
        /* Blocks of 64 items and two links, each allocated on its own. */
        size_t block = 66 * sizeof(PyObject *);
        return sizeof_beyond(object, facts->sizeof_method, basic) / block * block_bytes(block);
    }
    case SIZER_CLASS:
        return class_keys_bytes((PyTypeObject *)object) + class_relations_bytes((PyTypeObject *)object);
    case SIZER_METHOD: {
        size_t beyond = facts->item ? 0 : sizeof_beyond(object, facts->sizeof_method, basic);
        return beyond ? block_bytes(beyond) : 0;
    }
    default:
        return 0;
    }
}

/* A table that an object has in a block of its own: where it is, and its bytes. NULL: it has none,
 * or none of the kinds that are known here. */
static inline const void *
table_of(PyObject *object, const TypeFacts *facts, size_t *bytes)
{
    *bytes = 0;
    switch (facts->sizer) {
    case SIZER_LIST:
        *bytes = second_block_bytes(object, facts);
        return ((PyListObject *)object)->ob_item;
    case SIZER_DICT:
    case SIZER_ORDERED_DICT:
        *bytes = dict_table_bytes((PyDictObject *)object);
        return dict_table((PyDictObject *)object);
    case SIZER_SET:
        *bytes = second_block_bytes(object, facts);
        return ((PySetObject *)object)->table;
    case SIZER_BYTEARRAY:
        *bytes = second_block_bytes(object, facts);
        return ((PyByteArrayObject *)object)->ob_bytes;
    case SIZER_CLASS:
        *bytes = class_keys_bytes((PyTypeObject *)object);
        return class_keys((PyTypeObject *)object);
    default:
        return NULL;
    }
}

/* The block in which the object itself lies. `inside`: of it, its attribute values. */
static inline size_t
first_block_bytes(PyObject *object, const TypeFacts *facts, size_t inside)
{
    size_t items = 0;
    switch (facts->sizer) {
    case SIZER_INT:
        items = int_digits(object) * sizeof(digit);
        if (facts->flags & TYPE_ALLOCATES_ONE_MORE) {
            items += sizeof(digit);
        }
        break;
    case SIZER_VARIABLE:
        items = (size_t)Py_ABS(Py_SIZE(object));
        if (facts->flags & TYPE_ALLOCATES_ONE_MORE) {
            items += 1;
        }
        items *= facts->item;
        break;
    case SIZER_CLASS:
        items = ((size_t)Py_SIZE(object) + 1) * facts->item;
        break;
    case SIZER_METHOD:
        if (facts->item) {
            items = sizeof_beyond(object, facts->sizeof_method, (size_t)facts->type->tp_basicsize);
        }
        break;
    default:
        break;
    }
    return block_bytes(facts->header + items + inside);
}

static size_t
object_bytes(PyObject *object, const TypeFacts *facts)
{
    if (facts->sizer == SIZER_STR) {
        return str_bytes(object, facts->header);
    }
    size_t inside = 0, outside = 0;
    if (facts->flags & TYPE_MANAGED_DICT) {
        outside = instance_values_bytes(object, facts->type, &inside);
    }
    return first_block_bytes(object, facts, inside) + (outside ? block_bytes(outside) : 0)
        + second_block_bytes(object, facts);
}

#endif
