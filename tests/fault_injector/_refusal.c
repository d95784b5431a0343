/* Refuse the nth large request: a fault, for tests of what follows when memory cannot be had.
 *
 * Theory of operation
 * ===================
 *
 * `arm(first, count)` numbers the requests of REFUSABLE bytes or more that the calling thread makes
 * of the interpreter's allocators from then on, 1, 2, 3 ..., and refuses numbers first ... first +
 * count - 1. `disarm()` stops that and says how many requests there were and how many were refused.
 * Small requests are never refused: the interpreter does not survive that. A realloc counts if it
 * grows; one that shrinks must not fail.
 *
 * Where. There is one hook, in the raw domain, where pymalloc hands every request above 512 bytes.
 * Where that is not so (PYTHONMALLOC=malloc), or where the size of a block cannot be told (Python's
 * debug hooks, a C library without malloc_usable_size), `arm` raises RuntimeError: it tries with a
 * probe. Where another hook has replaced the raw allocator, such as that of the allocation clock,
 * ours stands on top, and the others never see what it refuses.
 *
 * The GIL. The raw domain is called without it too, and by threads that Python does not know. So
 * what the hook reads is thread-local: `armed` is set in the thread that called `arm`, and no other
 * thread is counted, refused or waited for.
 *
 * Layers. An allocator is replaced in several words, so a thread without the GIL may pair our
 * function with the former context. So our functions take any context whose first member is the
 * allocator beneath, as all hooks in this project and tracemalloc's have, and NULL for the standard
 * one. The record of a hook is never freed. `disarm` takes the hook away if it is still on top;
 * otherwise it stays, and only passes requests on: the next `arm` puts a new one on top, and no
 * request counts twice. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef Py_GIL_DISABLED
#error "free-threaded builds have allocators of another kind"
#endif

#if defined(__linux__)
#include <malloc.h>
#define REAL_SIZE(block) malloc_usable_size(block)
#elif defined(__APPLE__)
#include <malloc/malloc.h>
#define REAL_SIZE(block) malloc_size(block)
#endif

#ifndef REFUSABLE
#error "REFUSABLE is given on the command line: see build.py"
#endif

static __thread bool armed;
static __thread uint64_t seen, refused, first_refused, last_refused;

static inline bool
refuses(size_t size)
{
    if (size < REFUSABLE || !armed) {
        return false;
    }
    seen++;
    if (seen < first_refused || seen > last_refused) {
        return false;
    }
    refused++;
    return true;
}

static PyMemAllocatorEx *hook;         /* the context of the topmost hook of ours */
static PyMemAllocatorEx standard_raw;

static inline const PyMemAllocatorEx *
beneath(void *context)
{
    return context != NULL ? context : &standard_raw;
}

static void *
refusing_malloc(void *context, size_t size)
{
    const PyMemAllocatorEx *base = beneath(context);
    return context == hook && refuses(size) ? NULL : base->malloc(base->ctx, size);
}

static void *
refusing_calloc(void *context, size_t number, size_t size)
{
    const PyMemAllocatorEx *base = beneath(context);
    if (context == hook && refuses(number * size)) { /* Python has made sure that it does not overflow */
        return NULL;
    }
    return base->calloc(base->ctx, number, size);
}

static void *
refusing_realloc(void *context, void *block, size_t size)
{
    const PyMemAllocatorEx *base = beneath(context);
#ifdef REAL_SIZE
    if (armed && context == hook && size >= REFUSABLE && (block == NULL || size > REAL_SIZE(block)) && refuses(size)) {
        return NULL;
    }
#endif
    return base->realloc(base->ctx, block, size);
}

static void
refusing_free(void *context, void *block)
{
    const PyMemAllocatorEx *base = beneath(context);
    base->free(base->ctx, block);
}

static bool
on_top(void)
{
    PyMemAllocatorEx now;
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &now);
    return hook != NULL && now.ctx == hook && now.malloc == refusing_malloc;
}

/* Does a large request of the object domain reach us, and can the size of a block be told? Where
   the debug hooks stand beneath us, it cannot: they move addresses. They are recognised by the
   pattern that fills what they hand out. */
static bool
works(void)
{
    enum { DEBUG_CLEAN_BYTE = 0xCD, LENGTH = 1000 };
    bool was_armed = armed, filled = true;
    uint64_t before = seen, first = first_refused, last = last_refused;
    armed = true;
    first_refused = last_refused = UINT64_MAX;
    PyObject_Free(PyObject_Malloc(REFUSABLE));
    bool heard = seen == before + 1;
    armed = was_armed;
    seen = before;
    first_refused = first;
    last_refused = last;
    unsigned char *block = PyMem_RawMalloc(LENGTH);
    if (block == NULL) {
        return false;
    }
    memset(block, 0x11, LENGTH);
    PyMem_RawFree(block);
    block = PyMem_RawMalloc(LENGTH);
    if (block == NULL) {
        return false;
    }
    for (int i = 0; i < LENGTH; i++) {
        filled = filled && block[i] == DEBUG_CLEAN_BYTE;
    }
    PyMem_RawFree(block);
#ifdef REAL_SIZE
    return heard && !filled;
#else
    return false;
#endif
}

static int
put_hook(void)
{
    if (on_top()) {
        return 0;
    }
    PyMemAllocatorEx *base = malloc(sizeof(PyMemAllocatorEx));
    if (base == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, base);
    if (standard_raw.malloc == NULL) {
        standard_raw = *base;
    }
    hook = base;
    PyMemAllocatorEx ours = {hook, refusing_malloc, refusing_calloc, refusing_realloc, refusing_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &ours);
    return 0;
}

static void
take_hook_away(void)
{
    if (on_top()) {
        PyMem_SetAllocator(PYMEM_DOMAIN_RAW, hook);
    }
}

PyDoc_STRVAR(arm_doc, "arm(first, count=1, /)\n--\n\n"
"Count this thread's requests of REFUSABLE bytes or more from now on, and refuse `count` of them, beginning with number\n"
"`first`; 0: none, only count. RuntimeError where that cannot be done.");

static PyObject *
refusal_arm(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    unsigned long long first, count = 1;
    if (!PyArg_ParseTuple(arguments, "K|K:arm", &first, &count)) {
        return NULL;
    }
    if (put_hook() < 0) {
        return NULL;
    }
    if (!works()) {
        take_hook_away();
        PyErr_SetString(PyExc_RuntimeError, "large requests cannot be refused here: Python's allocators are replaced "
                                            "(PYTHONMALLOC, PYTHONDEVMODE); unset that");
        return NULL;
    }
    seen = refused = 0;
    first_refused = first == 0 ? UINT64_MAX : first;
    last_refused = first == 0 ? 0 : count > UINT64_MAX - first ? UINT64_MAX : first + count - 1;
    armed = true;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(disarm_doc, "disarm()\n--\n\n"
"Stop counting and refusing: (how many large requests there were, how many were refused).");

static PyObject *
refusal_disarm(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    armed = false;
    take_hook_away();
    return Py_BuildValue("KK", (unsigned long long)seen, (unsigned long long)refused);
}

PyDoc_STRVAR(seen_doc, "seen()\n--\n\nHow many large requests there have been since `arm`, so far.");

static PyObject *
refusal_seen(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    return PyLong_FromUnsignedLongLong(seen);
}

static PyMethodDef methods[] = {
    {"arm", refusal_arm, METH_VARARGS, arm_doc},
    {"disarm", refusal_disarm, METH_NOARGS, disarm_doc},
    {"seen", refusal_seen, METH_NOARGS, seen_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_refusal",
    .m_doc = PyDoc_STR("Large requests that fail, in C; use it through tests.fault_injector."),
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__refusal(void)
{
    return PyModuleDef_Init(&module);
}
