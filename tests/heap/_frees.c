/* Counts what is really allocated and freed, for the tests: small blocks in the object and memory domains,
 * rounded to 16 bytes, and everything in the raw domain by what malloc made of it. Blocks from before
 * ``start()`` are not known and do not count. Installed once, never removed. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct {
    void *block;
    size_t bytes;
} Known;

static Known *known;
static size_t known_mask, known_count;
static int64_t live;
static PyMemAllocatorEx below[3];
static int started;

static size_t
home(void *block)
{
    return (size_t)((((uint64_t)(uintptr_t)block >> 4) * UINT64_C(0x9E3779B97F4A7C15)) >> 20) & known_mask;
}

static void
remember(void *block, size_t bytes)
{
    if ((known_count + 1) * 2 > known_mask) {
        Known *old = known;
        size_t old_mask = known_mask;
        known_mask = old_mask * 2 + 1;
        known = calloc(known_mask + 1, sizeof *known);
        if (known == NULL) {
            abort();
        }
        known_count = 0;
        for (size_t i = 0; old != NULL && i <= old_mask; i++) {
            if (old[i].block != NULL) {
                live -= (int64_t)old[i].bytes;
                remember(old[i].block, old[i].bytes);
            }
        }
        free(old);
    }
    size_t slot = home(block);
    while (known[slot].block != NULL) {
        slot = (slot + 1) & known_mask;
    }
    known[slot] = (Known){block, bytes};
    known_count++;
    live += (int64_t)bytes;
}

/* Forget a small block. What follows it in its cluster moves up, so that it is still found. */
static void
forget(void *block)
{
    size_t slot = home(block);
    while (known[slot].block != block) {
        if (known[slot].block == NULL) {
            return;
        }
        slot = (slot + 1) & known_mask;
    }
    live -= (int64_t)known[slot].bytes;
    known_count--;
    size_t hole = slot;
    for (;;) {
        slot = (slot + 1) & known_mask;
        if (known[slot].block == NULL) {
            break;
        }
        size_t distance = (slot - home(known[slot].block)) & known_mask;
        if (distance >= ((slot - hole) & known_mask)) {
            known[hole] = known[slot];
            hole = slot;
        }
    }
    known[hole].block = NULL;
}

static size_t
rounded(size_t bytes)
{
    return bytes ? (bytes + 15) & ~(size_t)15 : 16;
}

static void *
small_malloc(void *context, size_t bytes)
{
    PyMemAllocatorEx *next = context;
    void *block = next->malloc(next->ctx, bytes);
    if (block != NULL && bytes <= 512) {
        remember(block, rounded(bytes));
    }
    return block;
}

static void *
small_calloc(void *context, size_t count, size_t size)
{
    PyMemAllocatorEx *next = context;
    void *block = next->calloc(next->ctx, count, size);
    if (block != NULL && count * size <= 512) {
        remember(block, rounded(count * size));
    }
    return block;
}

static void
small_free(void *context, void *block)
{
    PyMemAllocatorEx *next = context;
    if (block != NULL) {
        forget(block);
    }
    next->free(next->ctx, block);
}

static void *
small_realloc(void *context, void *block, size_t bytes)
{
    PyMemAllocatorEx *next = context;
    void *moved = next->realloc(next->ctx, block, bytes);
    if (moved != NULL) {
        if (block != NULL) {
            forget(block);
        }
        if (bytes <= 512) {
            remember(moved, rounded(bytes));
        }
    }
    return moved;
}

static int64_t
raw_bytes(void *block)
{
    return block == NULL ? 0 : (int64_t)(malloc_usable_size(block) + sizeof(size_t));
}

static void *
raw_malloc(void *context, size_t bytes)
{
    PyMemAllocatorEx *next = context;
    void *block = next->malloc(next->ctx, bytes);
    live += raw_bytes(block);
    return block;
}

static void *
raw_calloc(void *context, size_t count, size_t size)
{
    PyMemAllocatorEx *next = context;
    void *block = next->calloc(next->ctx, count, size);
    live += raw_bytes(block);
    return block;
}

static void *
raw_realloc(void *context, void *block, size_t bytes)
{
    PyMemAllocatorEx *next = context;
    int64_t before = raw_bytes(block);
    void *moved = next->realloc(next->ctx, block, bytes);
    if (moved != NULL) {
        live += raw_bytes(moved) - before;
    }
    return moved;
}

static void
raw_free(void *context, void *block)
{
    PyMemAllocatorEx *next = context;
    live -= raw_bytes(block);
    next->free(next->ctx, block);
}

static PyObject *
start(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    if (!started) {
        PyMemAllocatorEx raw = {&below[0], raw_malloc, raw_calloc, raw_realloc, raw_free};
        PyMemAllocatorEx mem = {&below[1], small_malloc, small_calloc, small_realloc, small_free};
        PyMemAllocatorEx object = {&below[2], small_malloc, small_calloc, small_realloc, small_free};
        known_mask = 4095;
        known = calloc(known_mask + 1, sizeof *known);
        if (known == NULL) {
            return PyErr_NoMemory();
        }
        PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &below[0]);
        PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &below[1]);
        PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &below[2]);
        PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &raw);
        PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &mem);
        PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &object);
        started = 1;
    }
    Py_RETURN_NONE;
}

static PyObject *
live_bytes(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    return PyLong_FromLongLong(live);
}

/* Hostile types. A Liar's traversal visits an object that it does not own a reference to, several times. */

typedef struct {
    PyObject_HEAD
    PyObject *borrowed;
} Liar;

static int
liar_traverse(PyObject *self, visitproc visit, void *arg)
{
    for (int i = 0; i < 3; i++) {
        Py_VISIT(((Liar *)self)->borrowed);
    }
    return 0;
}

static void
liar_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    PyObject_GC_Del(self);
}

static PyTypeObject liar_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "hostile.Liar",
    .tp_basicsize = sizeof(Liar),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_traverse = liar_traverse,
    .tp_dealloc = liar_dealloc,
};

/* A Liar about ``borrowed``. Not tracked: the collector must not meet it. */
static PyObject *
liar(PyObject *Py_UNUSED(module), PyObject *borrowed)
{
    Liar *made = PyObject_GC_New(Liar, &liar_type);
    if (made != NULL) {
        made->borrowed = borrowed;
        PyObject_GC_Track(made);
        PyObject_GC_UnTrack(made);
    }
    return (PyObject *)made;
}

static PyMethodDef methods[] = {
    {"start", start, METH_NOARGS, "Begin to count."},
    {"live", live_bytes, METH_NOARGS, "The bytes allocated and not freed since."},
    {"liar", liar, METH_O, "An object that visits ``borrowed`` without owning it."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_frees",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__frees(void)
{
    if (PyType_Ready(&liar_type) < 0) {
        return NULL;
    }
    return PyModule_Create(&module);
}
