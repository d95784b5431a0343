/* The hooks: the allocators that stand in front of the interpreter's own. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * There is a hook in each of the three domains. The raw hook counts large requests (`_counting.h`).
 * The hook of the object and memory domains counts small ones, and serves them from the account's
 * own heap if it has one (`_heaps.h`). The address of a block shows whether it belongs to such a
 * heap.
 *
 * Layers. Others stand in the same place, tracemalloc for one. Started after us, it calls us and
 * all is well, but we cannot step out from beneath it: the hook then stays, dormant. Started before
 * us and stopped beneath us, it restores what it found, and our hook is silently gone: a probe in
 * each domain finds that out, and a new hook goes on top. The record of a hook (`hooks`) is never
 * freed or changed, since another thread may be inside the hook without the GIL. An allocator is
 * replaced in several words, so a thread without the GIL may pair our function with the former
 * context or the reverse: our functions take any context whose first member is the allocator
 * beneath, as tracemalloc's is, and NULL for the standard one.
 *
 * Heaps of their own. Their blocks must never reach another allocator's free. So there are none
 * while anything but the interpreter's own allocator lies beneath us, and while such pages are in
 * use the hooks are not taken away.
 *
 * The GIL. The object and memory domains are called with it. The raw domain is called without it as
 * well, and from threads that Python does not know. */

#ifndef ACTORKIT_HEAP_HOOKS_H
#define ACTORKIT_HEAP_HOOKS_H

#include "_counting.h"

#include <string.h>

#if !defined(_WIN32)
#include <dlfcn.h>
#include <stdio.h>
#endif

#define DEBUG_CLEAN_BYTE 0xCD /* what the debug hooks fill fresh memory with (PYMEM_CLEANBYTE) */

static bool large_reaches_raw = true; /* large requests of the other domains reach the raw one */
static bool slabs_wanted = true;      /* heaps of their own are wanted in this process */

/* What stood in the raw domain when we first came: for a thread that pairs our function with the
   former context, NULL. */
static PyMemAllocatorEx standard_raw;

static inline const PyMemAllocatorEx *
raw_base(void *context)
{
    return LIKELY(context != NULL) ? context : &standard_raw;
}

static void *
raw_malloc(void *context, size_t size)
{
    return counted_malloc(raw_base(context), size);
}

static void *
raw_calloc(void *context, size_t number, size_t size)
{
    return counted_calloc(raw_base(context), number, size);
}

static void *
raw_realloc(void *context, void *block, size_t size)
{
    return counted_realloc(raw_base(context), block, size);
}

static void
raw_free(void *context, void *block)
{
    const PyMemAllocatorEx *base = raw_base(context);
    block_unseal(block);
    base->free(base->ctx, block);
}

/* The object and memory domains. Rare cases have functions of their own, so that the others need no
   stack frame. */

static __attribute__((noinline)) void *
object_malloc_large(const PyMemAllocatorEx *base, size_t size)
{
    void *block = large_reaches_raw ? base->malloc(base->ctx, size) : counted_malloc(base, size);
    look_at_account();
    return block;
}

/* From the account's own heap, or from what lies beneath. */
static inline void *
small_malloc(const PyMemAllocatorEx *base, Account *account, size_t size)
{
#ifdef HAVE_SLABS
    if (account->serving != NULL) {
        if (UNLIKELY(size == 0)) {
            size = 1;
            STORE(account->small, account->small + GRANULE); /* it was counted as nothing */
        }
        return slab_malloc(account->serving, size, base);
    }
#else
    (void)account;
#endif
    return base->malloc(base->ctx, size);
}

/* A request of this size has been counted, and its account has reached watch_at. If that gets a heap
   now, the heap serves the request. */
static __attribute__((noinline)) void
want_alarm_for(Account *account, size_t size)
{
    bool served = account->serving != NULL;
    want_alarm(account);
    if (!served && account->serving != NULL) {
        STORE(account->small_then, account->small_then - small_block(size));
    }
}

static __attribute__((noinline)) void *
object_malloc_alarmed(const PyMemAllocatorEx *base, Account *account, size_t size)
{
    want_alarm_for(account, size);
    return small_malloc(base, account, size);
}

static void *
object_malloc(void *context, size_t size)
{
    const PyMemAllocatorEx *base = context;
    if (UNLIKELY(size > SMALL)) {
        return object_malloc_large(base, size);
    }
    Account *account = counted_account();
    if (account == NULL) {
        return base->malloc(base->ctx, size);
    }
    if (UNLIKELY(count_small(account, size))) {
        return object_malloc_alarmed(base, account, size);
    }
    return small_malloc(base, account, size);
}

static void *
object_calloc(void *context, size_t number, size_t size)
{
    const PyMemAllocatorEx *base = context;
    if (LIKELY(number * size <= SMALL)) {
        Account *account = counted_account();
        if (account != NULL) {
            if (UNLIKELY(count_small(account, number * size))) {
                want_alarm_for(account, number * size);
            }
            if (account->serving != NULL) {
                void *block = small_malloc(base, account, number * size);
                return block == NULL ? NULL : memset(block, 0, number * size);
            }
        }
        return base->calloc(base->ctx, number, size);
    }
    void *block = large_reaches_raw ? base->calloc(base->ctx, number, size)
                                    : counted_calloc(base, number, size);
    look_at_account();
    return block;
}

#ifdef HAVE_SLABS
/* Resize a block of an account's own heap. It stays where it is if it still fits well; otherwise it
   may go anywhere. */
static __attribute__((noinline)) void *
slab_realloc(void *context, void *block, size_t size)
{
    size_t before = slab_block_size(block);
    if (size <= before && 4 * size > 3 * before) {
        Account *account = counted_account();
        if (account != NULL) {
            count_unserved(account, small_block(size));
            if (UNLIKELY(count_small(account, size))) {
                want_alarm(account);
            }
        }
        return block;
    }
    void *moved = object_malloc(context, size);
    if (moved == NULL) {
        return size <= before ? block : NULL; /* shrinking must not fail */
    }
    memcpy(moved, block, size < before ? size : before);
    slab_free(block);
    return moved;
}
#endif

static void *
object_realloc(void *context, void *block, size_t size)
{
    const PyMemAllocatorEx *base = context;
#ifdef HAVE_SLABS
    if (slab_is_ours(block)) {
        return slab_realloc(context, block, size);
    }
    if (block == NULL) {
        return object_malloc(context, size);
    }
#endif
    if (LIKELY(size <= SMALL)) {
        Account *account = counted_account();
        if (account != NULL) {
            count_elsewhere(account, small_block(size));
            if (UNLIKELY(count_small(account, size))) {
                want_alarm(account);
            }
        }
        return large_reaches_raw ? base->realloc(base->ctx, block, size) : counted_realloc(base, block, size);
    }
    void *moved = large_reaches_raw ? base->realloc(base->ctx, block, size)
                                    : counted_realloc(base, block, size);
    look_at_account();
    return moved;
}

static void
object_free(void *context, void *block)
{
    const PyMemAllocatorEx *base = context;
#ifdef HAVE_SLABS
    if (slab_is_ours(block)) {
        slab_free(block);
        return;
    }
#endif
    if (UNLIKELY(!large_reaches_raw)) {
        block_unseal(block);
    }
    base->free(base->ctx, block);
}

/* --- Putting the hooks in place --------------------------------------------------------------- */

#define DOMAINS 3

static const PyMemAllocatorDomain domains[DOMAINS] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

/* The contexts of our topmost hooks: the allocators beneath them. NULL before the first install. */
static PyMemAllocatorEx *hooks[DOMAINS];

static PyMemAllocatorEx
hook_of(int index)
{
    PyMemAllocatorEx hook = {hooks[index], object_malloc, object_calloc, object_realloc, object_free};
    if (domains[index] == PYMEM_DOMAIN_RAW) {
        hook = (PyMemAllocatorEx){hooks[index], raw_malloc, raw_calloc, raw_realloc, raw_free};
    }
    return hook;
}

static bool
on_top(int index)
{
    PyMemAllocatorEx now, hook = hook_of(index);
    PyMem_GetAllocator(domains[index], &now);
    return hooks[index] != NULL && now.ctx == hook.ctx && now.malloc == hook.malloc;
}

static int
push_hook(int index)
{
    /* Never freed: see 'Layers'. Not from Python's allocators, which are being replaced. */
    PyMemAllocatorEx *base = malloc(sizeof(PyMemAllocatorEx));
    if (base == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyMem_GetAllocator(domains[index], base);
    if (domains[index] == PYMEM_DOMAIN_RAW && standard_raw.malloc == NULL) {
        standard_raw = *base;
    }
    hooks[index] = base;
    PyMemAllocatorEx hook = hook_of(index);
    PyMem_SetAllocator(domains[index], &hook);
    return 0;
}

/* Do the debug hooks stand beneath us? They fill the memory that they hand out. Memory that was
   just freed with another content does not look like that by chance. */
static bool
fills_fresh_memory(const PyMemAllocatorEx *base)
{
    enum { LENGTH = 1000 };
    unsigned char *block = base->malloc(base->ctx, LENGTH);
    if (block == NULL) {
        return false;
    }
    memset(block, 0x11, LENGTH);
    base->free(base->ctx, block);
    block = base->malloc(base->ctx, LENGTH);
    if (block == NULL) {
        return false;
    }
    bool filled = true;
    for (int i = 0; i < LENGTH; i++) {
        filled = filled && block[i] == DEBUG_CLEAN_BYTE;
    }
    base->free(base->ctx, block);
    return filled;
}

/* Is this allocator the interpreter's own? Its blocks of the raw domain are those of the C library,
   tracemalloc's too. */
static bool
is_of_interpreter(const PyMemAllocatorEx *base)
{
#ifdef HAVE_LEDGERS
    Dl_info interpreter, found;
    return dladdr((void *)(uintptr_t)PyObject_Malloc, &interpreter) != 0
           && dladdr((void *)(uintptr_t)base->malloc, &found) != 0 && found.dli_fbase == interpreter.dli_fbase;
#else
    (void)base;
    return false;
#endif
}

/* Allocate in a domain, and report what an account hears of it. */
static void
probe(int index, size_t size, uint64_t *small, uint64_t *large)
{
    static Account heard; /* not an object: only this function sees it */
    heard.small = heard.large = 0;
    heard.alarm_at = heard.watch_at = heard.heap_at = heard.giant = heard.hard = NONE_SET;
    Account *before = entered;
    bool was_counting = counting;
    counting = true;
    entered = &heard;
    switch (domains[index]) {
    case PYMEM_DOMAIN_RAW: PyMem_RawFree(PyMem_RawMalloc(size)); break;
    case PYMEM_DOMAIN_MEM: PyMem_Free(PyMem_Malloc(size)); break;
    case PYMEM_DOMAIN_OBJ: PyObject_Free(PyObject_Malloc(size)); break;
    }
    entered = before;
    counting = was_counting;
    *small = heard.small;
    *large = heard.large;
}

/* Does each request in this domain reach our hook? */
static bool
is_heard(int index)
{
    uint64_t small, large;
    if (domains[index] == PYMEM_DOMAIN_RAW) {
        probe(index, 4 * SMALL, &small, &large);
        return large >= 4 * SMALL;
    }
    probe(index, 64, &small, &large);
    return small >= 64;
}

static bool
all_heard(void)
{
    for (int i = 0; i < DOMAINS; i++) {
        if (!is_heard(i)) {
            return false;
        }
    }
    return true;
}

/* Can accounts have heaps of their own here? Only if the interpreter's own allocator for small
   blocks, and nothing else, lies beneath the hooks, where they are or would be. */
static bool
slabs_may_serve(void)
{
#ifdef HAVE_SLABS
    for (int i = 0; i < DOMAINS; i++) {
        PyMemAllocatorEx beneath;
        if (domains[i] == PYMEM_DOMAIN_RAW) {
            continue;
        }
        PyMem_GetAllocator(domains[i], &beneath);
        if (hooks[i] != NULL && is_heard(i)) {
            beneath = *hooks[i];
        }
        if (!is_pymalloc(&beneath)) {
            return false;
        }
    }
    PyObject *count = PySys_GetObject("getallocatedblocks"); /* borrowed; 0 where pymalloc is not in use */
    PyObject *blocks = count == NULL ? NULL : PyObject_CallNoArgs(count);
    bool pymalloc = blocks != NULL && PyObject_IsTrue(blocks) == 1;
    Py_XDECREF(blocks);
    PyErr_Clear();
    return pymalloc && slabs_have_memory();
#else
    return false;
#endif
}

/* Can there be ledgers here? Only if the C library's allocator lies beneath the raw hook, where that
   is or would be. */
static bool
ledgers_may_be_kept(void)
{
#ifdef HAVE_LEDGERS
    PyMemAllocatorEx beneath;
    PyMem_GetAllocator(domains[0], &beneath);
    if (hooks[0] != NULL && is_heard(0)) {
        beneath = *hooks[0];
    }
    return is_of_interpreter(&beneath) && !fills_fresh_memory(&beneath);
#else
    return false;
#endif
}

/* Put a hook wherever ours does not hear requests, or no longer does, and find out what lies
   beneath. */
static int
put_hooks(void)
{
    for (int i = 0; i < DOMAINS; i++) {
        if (!is_heard(i) && push_hook(i) < 0) {
            return -1;
        }
    }
    uint64_t small, large;
    large_reaches_raw = true;
    for (int i = 0; i < DOMAINS; i++) {
        if (domains[i] != PYMEM_DOMAIN_RAW) {
            probe(i, 4 * SMALL, &small, &large);
            if (large < 4 * SMALL) {
                large_reaches_raw = false;
            }
        }
    }
    /* In every domain alike, counted_realloc sees blocks of the C library or of the debug hooks. */
    SizeSource source = SIZE_UNKNOWN;
    if (fills_fresh_memory(hooks[0])) {
        source = SIZE_FROM_DEBUG_HOOK;
    }
#ifdef REAL_SIZE
    else {
        source = SIZE_FROM_LIBRARY;
    }
#endif
    STORE(size_source, source);
    STORE(sealing, source == SIZE_FROM_LIBRARY && is_of_interpreter(hooks[0]));
    STORE(sealed, sealed || sealing); /* for good: blocks may outlive the hooks */
    slabs_serve = slabs_wanted && slabs_may_serve();
    return 0;
}

/* --- What pymalloc says of itself ------------------------------------------------------------- */

PyDoc_STRVAR(pymalloc_report_doc, "pymalloc_report()\n--\n\n"
"What sys._debugmallocstats prints, as bytes, although the clock stands in front of pymalloc; None where that\n"
"cannot be had. It visits a cache line of each pool: 50 microseconds for 100 MB.");

/* pymalloc prints only while it is itself the allocator of the object domain. So the allocator
   beneath us is put there for the length of the call. No object is made meanwhile, and nobody else
   uses this domain without the GIL. */
static PyObject *
clock_pymalloc_report(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
#if !defined(_WIN32)
    int (*print_to)(FILE *) = (int (*)(FILE *))dlsym(RTLD_DEFAULT, "_PyObject_DebugMallocStats");
    char *text = NULL;
    size_t length = 0;
    FILE *stream = print_to != NULL ? open_memstream(&text, &length) : NULL;
    if (stream == NULL) {
        Py_RETURN_NONE;
    }
    PyMemAllocatorEx top, beneath;
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &top);
    beneath = top;
    while (beneath.malloc == object_malloc) {
        beneath = *(const PyMemAllocatorEx *)beneath.ctx;
    }
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &beneath);
    print_to(stream);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &top);
    fclose(stream);
    PyObject *report = length > 0 ? PyBytes_FromStringAndSize(text, (Py_ssize_t)length) : Py_NewRef(Py_None);
    free(text);
    return report;
#else
    Py_RETURN_NONE;
#endif
}

#endif
