/* The allocation clock: how many bytes the code of an account has allocated, told as it happens.

Theory of operation
===================

Counting. `PyMem_SetAllocator` lets us stand before the interpreter's allocators. Requests count as the blocks
that the allocators make of them, as in the walk: that the walk finds more than was counted must not be.
Requests of up to 512 bytes are counted in the object and memory domains, where pymalloc serves them itself.
Larger ones pymalloc hands on to the raw domain, so they are counted there, once, and with a realloc only by
its growth: counting a realloc in full would make `text += 'x'` cost the square of its length. Where large
requests do not reach the raw domain (PYTHONMALLOC=malloc), which a probe finds out at install, the object and
memory domains count them by the same rules. Frees are not counted: the clock is gross, it only says when it
is worth to look.

What a realloc grew by is the difference of the two blocks' real sizes. The C library tells them
(`malloc_usable_size`); Python's debug hooks move the address, but write the size before the block, in a
documented layout, and are recognised by the pattern that they fill fresh memory with. Where neither is known
a realloc of a large block counts in full: too much, never too little. With the debug hooks blocks of 489 to
512 bytes count twice, since the hooks enlarge them past 512.

Messages. What others have allocated for an actor is charged when it receives it. `receive` sizes a message and
charges it in one call, if it fits beneath `soft`. The size comes from the walk: through a function pointer, in
a capsule, if that is an extension too, else from its function in Python. The walk may run Python code
(adapters); nothing of an account is kept over that call.

Accounts. Each thread has a pointer to the account that its code works for, or NULL: nobody's. `switch` and
`enter` set it. The pointer *owns a reference*, so an account cannot be freed while a thread is in it, also a
thread that has released the GIL. It is exchanged, and references are counted, only by that thread and with
the GIL; never inside an allocator hook. A thread that ends inside an account leaves that one reference
behind: leave it first (`actorkit.heap.threads` does).

The GIL. The object and memory domains are called with it, so `small` is a plain counter. The raw domain is
called without it as well, and from threads that Python does not know (their pointer is NULL). So `large` is
added to atomically, and everything else that the raw hook touches is read and written by relaxed atomic
operations. Both counters only ever grow; `bytes` is their sum less an `origin`, which is what a reset moves.
So no reset can lose an addition.

The alarm. When `bytes` has reached `soft`, the clock asks the interpreter for a pending call, from a hook
that has the GIL. There is never more than one such call in the queue for all accounts together, and it
carries no pointer: it looks at the account that its thread is in *then*, and drops itself unless that account
asked in the activation that it is still in. If the queue is full, the next allocation tries again. The
interpreter runs pending calls at loop back-edges, function entries and after calls, in the main thread of the
main interpreter only: elsewhere an account is due, and nobody is interrupted. C code that does not return to
the interpreter is not interrupted either; that is what the refusals are for. The alarm is called with the
account switched off. Whether it returns or raises: if the account is still over its threshold, the threshold
moves 64 KiB on, so that the code that handles the exception is not interrupted at once, but soon. With a
verdict, and when it has come eight times in vain, it comes again at the very next occasion: the code that
catches all and goes on (`while True: try: ... except BaseException: continue`) is then interrupted where it
goes on, outside of its `try`.

Refusals. Only requests of 64 KiB or more are ever refused: one larger than `giant`, or one that would take
the account past `hard`. The interpreter does not survive that its small requests fail, but a failing large
one is an ordinary MemoryError. A realloc that does not grow is never refused.

Layers. Others stand in the same place, tracemalloc for one. Started after us, it calls us and all is well,
but we cannot step out from beneath it: `uninstall` then leaves the hook, dormant. Started before us and
stopped beneath us, it restores what it found and our hook is silently gone: `verify` sees that by a probe,
`reinstall` puts a new hook on top. A hook's record is never freed or changed, since another thread may be
inside it without the GIL. An allocator is replaced in several words, so a thread without the GIL may pair our
function with the former context or the reverse: our functions take any context whose first member is the
allocator beneath, as tracemalloc's is, and NULL for the standard one.

Heaps of their own. The small blocks of an account that holds much come from pages of its own (`_heaps.h`), which
are empty when it is gone. `settle` is told what a look has found it to hold, and decides who has one: allocation
alone says little, since a small actor that is busy allocates much too. In between, an account that has allocated as
much as would make it one of the large is served at once, and due: the look at the boundary takes the heap back if
little was left. Blocks of such heaps must never reach another allocator's free. So there are none while anybody but the
interpreter's own allocator lies beneath us, and while there are pages in use our hooks are not taken away.

Fork. The child goes on with the account that the forking thread was in. The request for a pending call may
have got lost with the parent's queue, so it is forgotten in the child and made anew. Accounts that other
threads were in stay referenced.

Shutdown. At exit (atexit) the clock stops counting and leaves the account; the hooks then only pass requests
on.

Subinterpreters and free-threaded builds are not supported: the allocators belong to the process, the accounts
to one GIL.
*/

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef Py_GIL_DISABLED
#error "the allocation clock needs the GIL; actorkit uses its portable clock on free-threaded builds"
#endif

#if !defined(__GNUC__)
#error "the allocation clock needs the atomic built-ins of GCC or Clang; elsewhere there is the portable one"
#endif

#if defined(__linux__)
#include <malloc.h>
#define REAL_SIZE(block) malloc_usable_size(block)
#elif defined(__APPLE__)
#include <malloc/malloc.h>
#define REAL_SIZE(block) malloc_size(block)
#endif

#if !defined(_WIN32)
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#endif

/* A thread-local variable of an extension module normally costs a function call. glibc keeps room for a few
   words that do not. */
#if defined(__GLIBC__)
#define THREAD_LOCAL static __thread __attribute__((tls_model("initial-exec")))
#else
#define THREAD_LOCAL static __thread
#endif

#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define LOAD(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)
#define STORE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELAXED)
#define ADD(place, value) __atomic_add_fetch(&(place), (value), __ATOMIC_RELAXED)

#define NONE_SET UINT64_MAX     /* a threshold that is not set */
#define ENVELOPE 96             /* a message's own tuple and its place in a queue */
#define SMALL 512               /* pymalloc serves requests up to this size */
#define REFUSABLE (64 * 1024)   /* smaller requests are never refused */
#define LOOK_MASK 1023          /* an account is due after so many activations anyway: freelists are not counted */
#define REARM_STEP (64 * 1024)  /* between two alarms that change nothing */
#define PATIENCE 8              /* so many times the code that handles a verdict's exception has a step's time */
#define DEBUG_CLEAN_BYTE 0xCD   /* what the debug hooks fill fresh memory with (PYMEM_CLEANBYTE) */

#include "_heaps.h"

#define AIR (16 * 1024)                  /* so much of a heap's pages may be free, however little it holds */
#define REST_AT_FIRST (64 * 1024 * 1024) /* so much is allocated elsewhere by who leaves its heap more air than that */
#define REST_AT_MOST ((uint64_t)1 << 34)
#define HOLDS_MUCH (6 * 1024)        /* who holds so much gets a heap of its own */
#define LOOK_AT_SOONEST 1024         /* between two looks whether it holds much */
#define LOOK_AT_LATEST (128 * 1024)  /* the same */

/* --- Accounts ------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    uint64_t small;      /* counted with the GIL: requests up to SMALL, and charges */
    uint64_t large;      /* counted atomically */
    uint64_t alarm_at;   /* small + large at which the alarm is due, or NONE_SET */
    uint64_t watch_at;   /* alarm_at or heap_at, what comes first: what the counting of small requests looks at */
    Heap *serving;       /* `heap` if small blocks come from it, else NULL */
    Heap *heap;          /* of its own, or NULL: it never had one */
    uint64_t heap_at;    /* small + large at which a heap of its own is wanted, or NONE_SET */
    uint64_t heap_step;  /* what that was counted from the last look; 0: it has not settled yet */
    uint64_t rests_until; /* small + large before which it gets no heap: it left the last one full of air */
    uint64_t rest;       /* how long the last such rest was */
    uint64_t held_then;  /* what it held when that began: who holds twice as much has begun to grow */
    uint64_t origin;     /* small + large when bytes was 0; may wrap around, the difference counts */
    uint64_t soft;
    uint64_t hard;
    uint64_t giant;
    uint64_t peak_request;
    uint64_t refused;
    uint64_t last_refused;
    uint64_t activation; /* how often it was entered */
    uint64_t asked;      /* the activation in which a pending call was asked for; 0 if none */
    uint64_t in_vain;    /* how often the alarm has come with a verdict */
    char due;
    char heap_near;      /* a look has found it halfway to a heap of its own */
    char heap_due;       /* heap_at was reached since the last look */
    char measured;       /* receive() leaves all messages to its caller */
    Py_ssize_t bound;    /* of messages: accept() leaves those beyond it to its caller */
    PyObject *owner;
    PyObject *verdict;
    PyObject *weak_references;
} Account;

static PyTypeObject AccountType;

THREAD_LOCAL Account *entered; /* owned; what this thread's allocations are counted to */

static bool counting;               /* false: the hooks only pass on */
static bool large_reaches_raw = true;
static bool alarm_queued;           /* our pending call is in the interpreter's queue */
static PyObject *alarm_function;    /* owned; NULL if not installed */
static PyObject *boundary_function; /* the same, and NULL if none was given */
static Py_ssize_t installations;

static bool slabs_wanted = true;
static bool slabs_serve;            /* found out when the hooks are put in place */

static inline uint64_t
account_total(Account *account)
{
    return LOAD(account->small) + LOAD(account->large);
}

static inline uint64_t
account_bytes(Account *account)
{
    return account_total(account) - LOAD(account->origin);
}

static void
account_watch(Account *account)
{
    account->watch_at = account->heap_at < account->alarm_at ? account->heap_at : account->alarm_at;
}

/* Recompute alarm_at after origin or soft has changed, and let the alarm be asked for anew. */
static void
account_arm(Account *account)
{
    uint64_t at = NONE_SET;
    if (account->soft != NONE_SET) {
        uint64_t bytes = account_bytes(account), total = account_total(account);
        uint64_t left = account->soft > bytes ? account->soft - bytes : 0;
        if (left < NONE_SET - total) {
            at = total + left;
        }
    }
    STORE(account->alarm_at, at);
    account_watch(account);
    account->asked = 0;
}

/* Let small blocks come from a heap of its own, or not any more. */
static void
account_serve(Account *account, bool own)
{
#ifdef HAVE_SLABS
    if (own && account->heap == NULL) {
        account->heap = heap_new(&account->due); /* NULL: no memory, so not now */
    }
    account->serving = own ? account->heap : NULL;
    if (!own && account->heap != NULL) {
        heap_sweep(account->heap);
        if (account->heap->pages == 0) {
            heap_free(account->heap);
            account->heap = NULL;
        }
    }
#else
    (void)account, (void)own;
#endif
}

/* Between looks it has allocated as much as a large actor holds: it is served from now on, lest what it is about to keep
   stays behind elsewhere. The next look takes the heap away again if little of it was left. */
static void
want_heap(Account *account)
{
    account->heap_due = 1;
    STORE(account->due, 1);
    account->heap_at = NONE_SET;
    account_serve(account, slabs_serve);
    account_watch(account);
}

/* Is more than a quarter of its heap free? Whoever allocates much for a moment and keeps little of it, here and there, would
   hold all pages that it ever needed, with room that nobody else can use. */
static bool
account_is_airy(Account *account)
{
#ifdef HAVE_SLABS
    Heap *heap = account->heap;
    if (heap != NULL && account->serving != NULL) {
        uint64_t live = heap_live(heap);
        if (live < heap->pages * PAGE_BYTES / 2) {
            heap_sweep(heap);
        }
        uint64_t air = heap->pages * PAGE_BYTES - live;
        heap->look_at = 2 * heap->pages + FIRST_LOOK;
        return air > AIR && air > live / 3;
    }
#else
    (void)account;
#endif
    return false;
}

/* A look has found that it holds so much. What large blocks have of it, which are malloc's in any case, is guessed from
   what has been allocated. */
static void
account_settle(Account *account, uint64_t held)
{
    uint64_t total = account_total(account);
    held = total > 0 ? (uint64_t)((double)held * ((double)account->small / (double)total)) : held;
    if (!slabs_serve) {
        account->heap_at = NONE_SET;
        account_serve(account, false);
    }
    else if (account_is_airy(account)) {
        account->rest = account->rest == 0 ? REST_AT_FIRST : 2 * account->rest;
        account->rest = account->rest > REST_AT_MOST ? REST_AT_MOST : account->rest;
        account->heap_at = account->rests_until = total + account->rest;
        account->held_then = held;
        account->heap_due = account->heap_near = 0;
        account_serve(account, false);
    }
    else if (total < account->rests_until && held < 2 * account->held_then + HOLDS_MUCH) {
        account_serve(account, false); /* gives back what has become empty */
    }
    else if (held >= HOLDS_MUCH || (account->serving != NULL && held >= HOLDS_MUCH / 2)) {
        account->heap_at = NONE_SET;
        account->heap_due = account->heap_near = 0;
        account_serve(account, true);
    }
    else if (account->heap_due || account->serving != NULL || account->heap_at == NONE_SET) {
        uint64_t step = account->heap_step == 0 ? HOLDS_MUCH : account->heap_step * 2;
        if (held >= HOLDS_MUCH / 2 && !account->heap_near) {
            account->heap_near = 1; /* if it goes on like this, it will soon be there */
            step = HOLDS_MUCH - held > LOOK_AT_SOONEST ? HOLDS_MUCH - held : LOOK_AT_SOONEST;
        }
        account->heap_step = step > LOOK_AT_LATEST ? LOOK_AT_LATEST : step;
        account->heap_at = total + account->heap_step;
        account->heap_due = 0;
        account_serve(account, false);
    }
    account_watch(account);
}

static int ring(void *);

/* The account has passed its soft threshold, and we have the GIL: let the interpreter call us when it can. */
static __attribute__((noinline)) void
want_alarm(Account *account)
{
    if (UNLIKELY(account_total(account) >= account->heap_at)) {
        want_heap(account);
        if (account_total(account) < account->alarm_at) {
            return;
        }
    }
    STORE(account->due, 1);
    if (account->asked == account->activation || alarm_function == NULL) {
        return;
    }
    if (!alarm_queued) {
        alarm_queued = true;
        if (Py_AddPendingCall(ring, NULL) < 0) {
            alarm_queued = false; /* the queue is full: the next allocation tries again */
            return;
        }
    }
    account->asked = account->activation;
}

/* The pending call. Exceptions of the alarm are raised in the frame that was interrupted. */
static int
ring(void *Py_UNUSED(nothing))
{
    Account *account = entered;
    alarm_queued = false;
    if (account == NULL || alarm_function == NULL || account->asked != account->activation
        || PyInterpreterState_Get() != PyInterpreterState_Main()) {
        return 0;
    }
    account->asked = 0;
    if (account_total(account) < account->alarm_at) {
        return 0; /* reset in the meantime */
    }
    entered = NULL; /* the reference is ours until we put it back */
    PyObject *function = Py_NewRef(alarm_function);
    PyObject *result = PyObject_CallFunction(function, "OK", (PyObject *)account,
                                             (unsigned long long)account->activation);
    if (account->verdict != NULL && account->in_vain++ >= PATIENCE) {
        STORE(account->alarm_at, 0);
        if (result == NULL && !alarm_queued && Py_AddPendingCall(ring, NULL) == 0) {
            alarm_queued = true;
            account->asked = account->activation;
        }
    }
    else if (account_total(account) >= account->alarm_at) {
        account->soft = account_bytes(account) + REARM_STEP;
        account_arm(account);
    }
    Account *left_behind = entered;
    entered = account;
    Py_XDECREF((PyObject *)left_behind);
    Py_DECREF(function);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* --- Counting ------------------------------------------------------------------------------------------- */

static inline Account *
counted_account(void)
{
    return LOAD(counting) ? entered : NULL;
}

/* What an allocator makes of a request, as the walk counts it: else an actor could hold more than was counted. */
static inline uint64_t
large_block(size_t size)
{
    return ((uint64_t)size + sizeof(size_t) + 15) & ~(uint64_t)15;
}

/* With the GIL only. True: the account has to be looked at (`want_alarm`). */
static inline bool
count_small(Account *account, size_t size)
{
    uint64_t small = account->small + ((size + 15) & ~(size_t)15);
    STORE(account->small, small);
    return small + LOAD(account->large) >= account->watch_at;
}

/* With the GIL only: large requests are counted where there may be none, so their alarm is asked for here,
   afterwards. */
static inline void
look_at_account(void)
{
    Account *account = counted_account();
    if (account != NULL && UNLIKELY(account_total(account) >= account->alarm_at)) {
        want_alarm(account);
    }
}

static inline void
count_large(Account *account, uint64_t growth)
{
    uint64_t total = ADD(account->large, growth) + LOAD(account->small);
    if (UNLIKELY(total >= LOAD(account->alarm_at))) {
        STORE(account->due, 1);
    }
}

/* May this request be served? `growth` is what it adds to the bytes of the account. */
static inline bool
admits(Account *account, size_t request, uint64_t growth)
{
    if (request > LOAD(account->peak_request)) {
        STORE(account->peak_request, (uint64_t)request);
    }
    if (LIKELY(request < REFUSABLE)) {
        return true;
    }
    if (request <= LOAD(account->giant)) {
        uint64_t hard = LOAD(account->hard), bytes = account_bytes(account);
        if (bytes <= hard && growth <= hard - bytes) {
            return true;
        }
    }
    ADD(account->refused, 1);
    STORE(account->last_refused, (uint64_t)request);
    return false;
}

/* How the size of an existing block can be told. */
typedef enum { SIZE_UNKNOWN, SIZE_FROM_LIBRARY, SIZE_FROM_DEBUG_HOOK } SizeSource;

static SizeSource size_source = SIZE_UNKNOWN;

static size_t
size_of(void *block)
{
    if (block == NULL) {
        return 0;
    }
    switch (LOAD(size_source)) {
    case SIZE_FROM_DEBUG_HOOK: {
        /* The requested size stands two words before the block, the most significant byte first
           (documented with PyMem_SetupDebugHooks). */
        const unsigned char *place = (const unsigned char *)block - 2 * sizeof(size_t);
        size_t size = 0;
        for (size_t i = 0; i < sizeof(size_t); i++) {
            size = size << 8 | place[i];
        }
        return size;
    }
#ifdef REAL_SIZE
    case SIZE_FROM_LIBRARY:
        return REAL_SIZE(block);
#endif
    default:
        return 0;
    }
}

static inline void *
counted_malloc(const PyMemAllocatorEx *base, size_t size)
{
    Account *account = size > SMALL ? counted_account() : NULL;
    if (account != NULL) {
        if (!admits(account, size, size)) {
            return NULL;
        }
        count_large(account, large_block(size));
    }
    return base->malloc(base->ctx, size);
}

static inline void *
counted_calloc(const PyMemAllocatorEx *base, size_t number, size_t size)
{
    size_t request = number * size; /* Python has made sure that it does not overflow */
    Account *account = request > SMALL ? counted_account() : NULL;
    if (account != NULL) {
        if (!admits(account, request, request)) {
            return NULL;
        }
        count_large(account, large_block(request));
    }
    return base->calloc(base->ctx, number, size);
}

static inline void *
counted_realloc(const PyMemAllocatorEx *base, void *block, size_t size)
{
    Account *account = size > SMALL ? counted_account() : NULL;
    if (account == NULL) {
        return base->realloc(base->ctx, block, size);
    }
    size_t before = size_of(block);
    if (size > before && !admits(account, size, size - before)) {
        return NULL;
    }
    void *moved = base->realloc(base->ctx, block, size);
    if (moved != NULL) {
        size_t after = LOAD(size_source) == SIZE_UNKNOWN ? size : size_of(moved);
        if (after > before) {
            /* A small block has not been counted yet. */
            count_large(account, before > SMALL ? after - before : after);
        }
    }
    return moved;
}

/* --- The hooks ------------------------------------------------------------------------------------------ */

/* What stood in the raw domain when we first came: for a reader that catches our function with the former
   context, NULL. */
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
    base->free(base->ctx, block);
}

/* The object and the memory domain. */

/* What is rare has functions of its own, so that the others need no stack frame. */

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
        return slab_malloc(account->serving, size, base);
    }
#else
    (void)account;
#endif
    return base->malloc(base->ctx, size);
}

static __attribute__((noinline)) void *
object_malloc_alarmed(const PyMemAllocatorEx *base, Account *account, size_t size)
{
    want_alarm(account);
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
                want_alarm(account);
            }
#ifdef HAVE_SLABS
            if (account->serving != NULL) {
                void *block = slab_malloc(account->serving, number * size, base);
                return block == NULL ? NULL : memset(block, 0, number * size);
            }
#endif
        }
        return base->calloc(base->ctx, number, size);
    }
    void *block = large_reaches_raw ? base->calloc(base->ctx, number, size)
                                    : counted_calloc(base, number, size);
    look_at_account();
    return block;
}

#ifdef HAVE_SLABS
/* A block of a slab gets another size. It stays if its class fits well; it may go anywhere else. */
static __attribute__((noinline)) void *
slab_realloc(void *context, void *block, size_t size)
{
    size_t before = slab_block_size(block);
    if (size <= before && 4 * size > 3 * before) {
        if (UNLIKELY(LOAD(counting) && entered != NULL && count_small(entered, size))) {
            want_alarm(entered);
        }
        return block;
    }
    void *moved = object_malloc(context, size);
    if (moved == NULL) {
        return size <= before ? block : NULL; /* to shrink must not fail */
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
        if (account != NULL && UNLIKELY(count_small(account, size))) {
            want_alarm(account);
        }
        return base->realloc(base->ctx, block, size);
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
    base->free(base->ctx, block);
}

/* --- Putting the hooks in place ------------------------------------------------------------------------- */

#define DOMAINS 3

static const PyMemAllocatorDomain domains[DOMAINS] = {PYMEM_DOMAIN_RAW, PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

/* The contexts of our topmost hooks, each holding the allocator beneath it; NULL before the first install. */
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
    /* Never freed, see 'Layers'. Not from Python's allocators, which are being replaced. */
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

/* Do the debug hooks stand beneath us? They fill what they hand out; memory that was just freed with another
   content does not look like that by chance. */
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

/* Allocate in a domain and see what an account hears of it. */
static void
probe(int index, size_t size, uint64_t *small, uint64_t *large)
{
    static Account heard; /* no object, nobody but this function sees it */
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

/* Can heaps of their own be had here: does the interpreter's own allocator for small blocks, and nobody else, lie
   beneath the hooks, where they are or would be? */
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

/* Put a hook wherever ours is not, or no longer, heard, and find out what lies beneath. */
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
    /* What counted_realloc sees comes from the C library or from the debug hooks, in every domain alike. */
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
    slabs_serve = slabs_wanted && slabs_may_serve();
    return 0;
}

/* --- Entering and leaving ------------------------------------------------------------------------------- */

/* Returns the reference that the thread held. */
static inline Account *
exchange(Account *next)
{
    Account *previous = entered;
    if (next != NULL) {
        Py_INCREF((PyObject *)next);
        next->activation++;
    }
    entered = next;
    return previous;
}

static PyObject *
as_object(Account *account)
{
    return account != NULL ? (PyObject *)account : Py_NewRef(Py_None);
}

/* The account that an argument names: 0 and NULL for None, -1 with an exception for anything else. */
static inline int
as_account(PyObject *object, Account **account)
{
    if (LIKELY(Py_TYPE(object) == &AccountType)) {
        *account = (Account *)object;
        return 0;
    }
    *account = NULL;
    if (object == Py_None) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "an Account or None is needed, not %.100s", Py_TYPE(object)->tp_name);
    return -1;
}

PyDoc_STRVAR(enter_doc, "enter(account, /)\n--\n\n"
"Count this thread's allocations to the account (None: to nobody). Returns the one before, to be entered\n"
"again afterwards.");

static PyObject *
clock_enter(PyObject *Py_UNUSED(module), PyObject *argument)
{
    Account *account;
    if (as_account(argument, &account) < 0) {
        return NULL;
    }
    return as_object(exchange(account));
}

PyDoc_STRVAR(current_doc, "current()\n--\n\nThe account that this thread is in, or None.");

static PyObject *
clock_current(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    Account *account = entered;
    Py_XINCREF((PyObject *)account);
    return as_object(account);
}

/* Where the slot `account` is in instances of a class, and `inbox` and `outbox`, or 0. A class is known by its
   address and its version tag, which the interpreter never gives twice and takes away when the class changes; so no
   reference to it is needed. */
typedef struct {
    PyTypeObject *type;
    unsigned int version;
    Py_ssize_t offset, inbox, outbox;
} KnownSlot;

static KnownSlot known_slots[8];
static PyObject *account_name, *inbox_name, *outbox_name; /* interned */

#define SLOT(record, offset) (*(PyObject **)((char *)(record) + (offset)))

static inline KnownSlot *
known_slot_of(PyTypeObject *type)
{
    return &known_slots[((uintptr_t)type >> 4 ^ (uintptr_t)type >> 9) & 7];
}

/* 0 if instances have no plain slot of this name. */
static Py_ssize_t
offset_of(PyTypeObject *type, PyObject *name)
{
    PyObject *descriptor = _PyType_Lookup(type, name); /* borrowed; gives the class a version tag */
    if (descriptor == NULL || Py_TYPE(descriptor) != &PyMemberDescr_Type || type->tp_version_tag == 0
        || type->tp_getattro != PyObject_GenericGetAttr) {
        return 0;
    }
    PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
    return member->type == T_OBJECT_EX && PyType_IsSubtype(type, PyDescr_TYPE(descriptor)) ? member->offset : 0;
}

/* Look a class up by the long way. Returns its slot, or NULL if its instances have no plain one. */
static KnownSlot *
learn_slot(PyTypeObject *type)
{
    Py_ssize_t offset = offset_of(type, account_name);
    if (offset == 0) {
        return NULL;
    }
    KnownSlot *known = known_slot_of(type);
    *known = (KnownSlot){type, type->tp_version_tag, offset, offset_of(type, inbox_name), offset_of(type, outbox_name)};
    return known;
}

/* NULL if its instances have no plain slot for an account. */
static inline KnownSlot *
slots_of(PyTypeObject *type)
{
    KnownSlot *known = known_slot_of(type);
    if (UNLIKELY(known->type != type || known->version != type->tp_version_tag || known->version == 0)) {
        known = learn_slot(type);
    }
    return known;
}

PyDoc_STRVAR(switch_doc, "switch(record, /)\n--\n\n"
"Enter the account of a record: its attribute `account`. None, or a record without one, is nobody's.");

static PyObject *
clock_switch(PyObject *Py_UNUSED(module), PyObject *record)
{
    Account *account = NULL;
    PyObject *found = NULL; /* owned, if the long way was gone */
    if (record != Py_None) {
        KnownSlot *known = slots_of(Py_TYPE(record));
        PyObject *value;
        if (LIKELY(known != NULL)) {
            value = SLOT(record, known->offset);
        }
        else {
            value = found = PyObject_GetAttr(record, account_name);
            if (found == NULL) {
                if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
                    return NULL;
                }
                PyErr_Clear();
            }
        }
        if (value != NULL && as_account(value, &account) < 0) {
            Py_XDECREF(found);
            return NULL;
        }
    }
    Account *previous = exchange(account);
    Py_XDECREF(found);
    if (previous == NULL) {
        Py_RETURN_NONE;
    }
    if (UNLIKELY((previous->activation & LOOK_MASK) == 0)) {
        STORE(previous->due, 1);
    }
    PyObject *told = NULL;
    if (UNLIKELY(LOAD(previous->due)) && boundary_function != NULL) {
        told = PyObject_CallOneArg(boundary_function, (PyObject *)previous);
    }
    else {
        told = Py_NewRef(Py_None);
    }
    Py_DECREF(previous); /* may run any code, so it comes last; the exchange is complete */
    return told;
}

/* --- Installing ----------------------------------------------------------------------------------------- */

PyDoc_STRVAR(install_doc, "install(alarm, boundary=None, /)\n--\n\n"
"Begin to count, or count one more user of the clock. `alarm(account, activation)` is called in the main\n"
"thread when the account it is in has passed its soft threshold. `boundary(account)` is called when `switch`\n"
"leaves an account that is due.\n"
"One alarm serves all users: a different one is a ValueError while the clock is installed.");

static PyObject *
clock_install(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *alarm, *boundary = Py_None;
    if (!PyArg_ParseTuple(arguments, "O|O:install", &alarm, &boundary)) {
        return NULL;
    }
    if (!PyCallable_Check(alarm) || !(boundary == Py_None || PyCallable_Check(boundary))) {
        PyErr_Format(PyExc_TypeError, "the alarm and the boundary must be callable, not %.100s and %.100s",
                     Py_TYPE(alarm)->tp_name, Py_TYPE(boundary)->tp_name);
        return NULL;
    }
    if (installations > 0) {
        int same = PyObject_RichCompareBool(alarm_function, alarm, Py_EQ);
        if (same < 0) {
            return NULL;
        }
        if (!same) {
            PyErr_SetString(PyExc_ValueError, "the clock is installed with another alarm; "
                                              "one alarm serves all: use account.owner");
            return NULL;
        }
    }
    else {
        if (put_hooks() < 0) {
            return NULL;
        }
        alarm_function = Py_NewRef(alarm);
        boundary_function = boundary == Py_None ? NULL : Py_NewRef(boundary);
        STORE(counting, true);
    }
    installations++;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(uninstall_doc, "uninstall()\n--\n\n"
"One user less; after the last, stop counting and take the hooks away. Returns False if they had to stay,\n"
"dormant, because another hook stands on top of them (or users are left). They stay as well, and only pass on, while\n"
"blocks of accounts' own heaps are alive.");

static PyObject *
clock_uninstall(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    if (installations == 0) {
        Py_RETURN_TRUE;
    }
    if (--installations > 0) {
        Py_RETURN_FALSE;
    }
    STORE(counting, false);
    bool lost = true, removable = true;
    for (int i = 0; i < DOMAINS; i++) {
        lost = lost && !is_heard(i);
        removable = removable && on_top(i);
    }
    if (removable && slab_statistics.pages == 0) {
        /* One of an earlier installation may lie further down, beneath somebody else's; it stays, dormant. */
        for (int i = 0; i < DOMAINS; i++) {
            PyMem_SetAllocator(domains[i], hooks[i]);
        }
    }
    Py_CLEAR(alarm_function);
    Py_CLEAR(boundary_function);
    return PyBool_FromLong(removable || lost);
}

PyDoc_STRVAR(installed_doc, "installed()\n--\n\nHas the clock been installed, and not uninstalled since?");

static PyObject *
clock_installed(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    return PyBool_FromLong(installations > 0);
}

PyDoc_STRVAR(verify_doc, "verify()\n--\n\n"
"Do allocations really reach the clock? Asked by a probe in each domain; False when it is not installed or\n"
"its hook is lost.");

static PyObject *
clock_verify(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    return PyBool_FromLong(installations > 0 && LOAD(counting) && all_heard());
}

PyDoc_STRVAR(reinstall_doc, "reinstall()\n--\n\n"
"Put a lost hook back (tracemalloc, started before the clock and stopped since, takes it away). Returns\n"
"what verify() then says.");

static PyObject *
clock_reinstall(PyObject *module, PyObject *arguments)
{
    if (installations > 0 && put_hooks() < 0) {
        return NULL;
    }
    return clock_verify(module, arguments);
}

PyDoc_STRVAR(can_interrupt_doc, "can_interrupt()\n--\n\n"
"May the alarm interrupt this thread's code? Only the main thread's, and only with the clock installed.");

static PyObject *
clock_can_interrupt(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    if (installations == 0) {
        Py_RETURN_FALSE;
    }
    PyObject *threading = PyImport_ImportModule("threading");
    if (threading == NULL) {
        return NULL;
    }
    PyObject *main_thread = PyObject_CallMethod(threading, "main_thread", NULL);
    Py_DECREF(threading);
    if (main_thread == NULL) {
        return NULL;
    }
    PyObject *identity = PyObject_GetAttrString(main_thread, "ident");
    Py_DECREF(main_thread);
    if (identity == NULL) {
        return NULL;
    }
    unsigned long number = PyLong_AsUnsignedLong(identity);
    Py_DECREF(identity);
    if (number == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    return PyBool_FromLong(number == PyThread_get_thread_ident());
}

static PyObject *
clock_at_exit(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    STORE(counting, false);
    installations = 0;
    Py_CLEAR(alarm_function);
    Py_CLEAR(boundary_function);
    Py_XDECREF((PyObject *)exchange(NULL));
    Py_RETURN_NONE;
}

#if !defined(_WIN32)
static void
forget_queue(void)
{
    alarm_queued = false;
    if (entered != NULL) {
        entered->asked = 0;
    }
}
#endif

/* --- The type Account ----------------------------------------------------------------------------------- */

static PyObject *
account_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"owner", NULL};
    PyObject *owner = Py_None;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:Account", names, &owner)) {
        return NULL;
    }
    Account *account = (Account *)type->tp_alloc(type, 0);
    if (account != NULL) {
        account->alarm_at = account->watch_at = account->heap_at = NONE_SET;
        account->soft = account->hard = account->giant = NONE_SET;
        account->bound = PY_SSIZE_T_MAX;
        account->owner = Py_NewRef(owner);
    }
    return (PyObject *)account;
}

static int
account_traverse(Account *account, visitproc visit, void *arg)
{
    Py_VISIT(account->owner);
    Py_VISIT(account->verdict);
    return 0;
}

static int
account_clear(Account *account)
{
    Py_CLEAR(account->owner);
    Py_CLEAR(account->verdict);
    return 0;
}

static void
account_dealloc(Account *account)
{
    PyObject_GC_UnTrack(account);
    if (account->weak_references != NULL) {
        PyObject_ClearWeakRefs((PyObject *)account);
    }
    (void)account_clear(account);
#ifdef HAVE_SLABS
    if (account->heap != NULL) {
        heap_abandon(account->heap);
    }
#endif
    Py_TYPE(account)->tp_free(account);
}

/* A number of bytes that Python code sets: 0 and -1 with an exception, or the number. */
static int
as_size(PyObject *value, const char *name, uint64_t *size)
{
    if (value == NULL) {
        PyErr_Format(PyExc_AttributeError, "%s cannot be deleted", name);
        return -1;
    }
    long long number = PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (number < 0) {
        PyErr_Format(PyExc_ValueError, "%s must not be negative, but is %lld", name, number);
        return -1;
    }
    *size = (uint64_t)number;
    return 0;
}

static void
account_set_origin(Account *account, uint64_t bytes)
{
    STORE(account->origin, account_total(account) - bytes);
    account_arm(account);
}

static PyObject *
account_get_bytes(Account *account, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(account_bytes(account));
}

static int
account_set_bytes(Account *account, PyObject *value, void *Py_UNUSED(closure))
{
    uint64_t bytes;
    if (as_size(value, "bytes", &bytes) < 0) {
        return -1;
    }
    account_set_origin(account, bytes);
    return 0;
}

static PyObject *
account_get_total(Account *account, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(account_total(account));
}

static PyObject *
account_get_due(Account *account, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(LOAD(account->due));
}

static PyObject *
account_get_live(Account *account, void *Py_UNUSED(closure))
{
#ifdef HAVE_SLABS
    if (account->heap != NULL) {
        return PyLong_FromUnsignedLongLong(heap_live(account->heap));
    }
#else
    (void)account;
#endif
    Py_RETURN_NONE;
}

static PyObject *
account_get_resident(Account *account, void *Py_UNUSED(closure))
{
#ifdef HAVE_SLABS
    if (account->heap != NULL) {
        return PyLong_FromUnsignedLongLong(account->heap->pages * PAGE_BYTES);
    }
#else
    (void)account;
#endif
    Py_RETURN_NONE;
}

static PyObject *
account_get_own_heap(Account *account, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(account->serving != NULL);
}

static int
account_set_own_heap(Account *account, PyObject *value, void *Py_UNUSED(closure))
{
    int own = value == NULL ? 0 : PyObject_IsTrue(value);
    if (own < 0) {
        return -1;
    }
    account_serve(account, own && slabs_serve);
    return 0;
}

static PyObject *
account_get_number(Account *account, void *offset)
{
    return PyLong_FromUnsignedLongLong(LOAD(*(uint64_t *)((char *)account + (size_t)offset)));
}

static PyObject *
account_get_threshold(Account *account, void *offset)
{
    uint64_t threshold = LOAD(*(uint64_t *)((char *)account + (size_t)offset));
    return PyLong_FromUnsignedLongLong(threshold == NONE_SET ? 0 : threshold);
}

static int
account_set_threshold(Account *account, PyObject *value, void *offset)
{
    uint64_t threshold;
    if (as_size(value, "a threshold", &threshold) < 0) {
        return -1;
    }
    STORE(*(uint64_t *)((char *)account + (size_t)offset), threshold == 0 ? NONE_SET : threshold);
    if ((size_t)offset == offsetof(Account, soft)) {
        account_arm(account);
    }
    return 0;
}

PyDoc_STRVAR(reset_doc, "reset($self, /, bytes=0)\n--\n\n"
"Begin anew: `bytes` is this number, and the account is not due any more. The thresholds stay.");

static PyObject *
account_reset(Account *account, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"bytes", NULL};
    PyObject *argument = NULL;
    uint64_t bytes = 0;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:reset", names, &argument)) {
        return NULL;
    }
    if (argument != NULL && as_size(argument, "bytes", &bytes) < 0) {
        return NULL;
    }
    account_set_origin(account, bytes);
    STORE(account->due, 0);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(settle_doc, "settle($self, held, /)\n--\n\n"
"A look has found that it holds so many bytes: whoever holds much gets a heap of its own, whoever does not any more\n"
"loses it. From the first time on the account is also due when it has allocated as much as would be much.");

static PyObject *
account_settle_method(Account *account, PyObject *argument)
{
    uint64_t held;
    if (as_size(argument, "what is held", &held) < 0) {
        return NULL;
    }
    account_settle(account, held);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(charge_doc, "charge($self, n, /)\n--\n\n"
"Add bytes that others have allocated for it: a message that it receives.");

static PyObject *
account_charge(Account *account, PyObject *argument)
{
    uint64_t number;
    if (as_size(argument, "a charge", &number) < 0) {
        return NULL;
    }
    STORE(account->small, account->small + number);
    if (account_total(account) >= account->alarm_at) {
        STORE(account->due, 1);
        look_at_account();
    }
    Py_RETURN_NONE;
}

#define NUMBER(name, doc) \
    {#name, (getter)account_get_number, NULL, PyDoc_STR(doc), (void *)offsetof(Account, name)}
#define THRESHOLD(name, doc) \
    {#name, (getter)account_get_threshold, (setter)account_set_threshold, PyDoc_STR(doc), \
     (void *)offsetof(Account, name)}

static PyGetSetDef account_getset[] = {
    {"bytes", (getter)account_get_bytes, (setter)account_set_bytes,
     PyDoc_STR("Bytes allocated and charged since the last reset; what was freed is not taken off."), NULL},
    {"total", (getter)account_get_total, NULL, PyDoc_STR("The same since the account was made."), NULL},
    {"due", (getter)account_get_due, NULL, PyDoc_STR("Has bytes reached soft since the last reset?"), NULL},
    {"live", (getter)account_get_live, NULL,
     PyDoc_STR("Bytes of the blocks up to 512 bytes in its own heap; None: it never had one."), NULL},
    {"resident", (getter)account_get_resident, NULL,
     PyDoc_STR("What the pages of its own heap take, in bytes; None if it has none."), NULL},
    {"own_heap", (getter)account_get_own_heap, (setter)account_set_own_heap,
     PyDoc_STR("Do its blocks up to 512 bytes come from pages of its own? Stays False where that cannot be had."),
     NULL},
    THRESHOLD(soft, "The alarm is due when bytes has reached this; 0 for never."),
    THRESHOLD(hard, "A request of 64 KiB or more that would take bytes past this is refused; 0 for none."),
    THRESHOLD(giant, "A single request larger than this, and of 64 KiB or more, is refused; 0 for none."),
    NUMBER(peak_request, "The largest single request above 512 bytes so far, served or refused."),
    NUMBER(refused, "How many requests were refused."),
    NUMBER(last_refused, "The size of the last refused request."),
    NUMBER(activation, "How often the account was entered."),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMemberDef account_members[] = {
    {"owner", T_OBJECT, offsetof(Account, owner), 0, PyDoc_STR("Whose account this is; not looked at.")},
    {"measured", T_BOOL, offsetof(Account, measured), 0,
     PyDoc_STR("receive() leaves every message to its caller, which measures it: what it shares counts too.")},
    {"bound", T_PYSSIZET, offsetof(Account, bound), 0,
     PyDoc_STR("accept() leaves messages to its caller when so many wait.")},
    {"verdict", T_OBJECT, offsetof(Account, verdict), 0,
     PyDoc_STR("Set by the budget's judge; stands until cleared.")},
    {NULL, 0, 0, 0, NULL},
};

/* Charge it if `bytes` stays below `soft`; needs the GIL. */
static inline bool
account_take(Account *account, uint64_t number)
{
    if (account->soft != NONE_SET) {
        uint64_t bytes = account_bytes(account);
        if (bytes >= account->soft || number >= account->soft - bytes) {
            return false;
        }
    }
    STORE(account->small, account->small + number);
    return true;
}

PyDoc_STRVAR(fits_doc, "fits($self, n, /)\n--\n\n"
"Charge n bytes if that leaves `bytes` below `soft`, and say whether it did.");

static PyObject *
account_fits(Account *account, PyObject *argument)
{
    uint64_t number;
    if (as_size(argument, "a charge", &number) < 0) {
        return NULL;
    }
    return PyBool_FromLong(account_take(account, number));
}

/* What sizes a message. */
static Py_ssize_t (*bytes_of_objects)(PyObject *const *, Py_ssize_t);
static PyObject *sizer; /* owned; asked if there is no such function */

#define SIZER_CAPSULE "actorkit.heap.c._walk._message_bound"

/* -1 with an exception. */
static Py_ssize_t
bytes_of_arguments(PyObject *arguments)
{
    if (LIKELY(bytes_of_objects != NULL)) {
        return bytes_of_objects(&PyTuple_GET_ITEM(arguments, 0), PyTuple_GET_SIZE(arguments));
    }
    if (sizer == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "nothing sizes messages yet: import actorkit.heap.walk");
        return -1;
    }
    PyObject *answer = PyObject_CallObject(sizer, arguments);
    Py_ssize_t bytes = answer == NULL ? -1 : PyLong_AsSsize_t(answer);
    Py_XDECREF(answer);
    if (bytes < 0 && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError, "a size must not be negative");
    }
    return bytes;
}

PyDoc_STRVAR(size_with_doc, "size_with(sizer, /)\n--\n\n"
"Let `receive` size messages with this: a function of the objects, or the walk's capsule.");

static PyObject *
clock_size_with(PyObject *Py_UNUSED(module), PyObject *argument)
{
    if (PyCapsule_CheckExact(argument)) {
        Py_ssize_t (*const *function)(PyObject *const *, Py_ssize_t) = PyCapsule_GetPointer(argument, SIZER_CAPSULE);
        if (function == NULL) {
            return NULL;
        }
        bytes_of_objects = *function; /* modules are never unloaded */
        Py_CLEAR(sizer);
        Py_RETURN_NONE;
    }
    if (!PyCallable_Check(argument)) {
        PyErr_Format(PyExc_TypeError, "the sizer must be callable, not %.100s", Py_TYPE(argument)->tp_name);
        return NULL;
    }
    bytes_of_objects = NULL;
    Py_XSETREF(sizer, Py_NewRef(argument));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(receive_doc, "receive($self, arguments, /)\n--\n\n"
"Charge a message with these arguments if that leaves `bytes` below `soft`, and say whether it did: their size\n"
"if all others let go of them, or somewhat more, and ENVELOPE. False without a look if `measured` is set.");

static PyObject *
account_receive(Account *account, PyObject *arguments)
{
    if (UNLIKELY(!PyTuple_CheckExact(arguments))) {
        PyErr_Format(PyExc_TypeError, "the arguments are a tuple, not %.100s", Py_TYPE(arguments)->tp_name);
        return NULL;
    }
    if (account->measured) {
        Py_RETURN_FALSE;
    }
    Py_ssize_t bytes = bytes_of_arguments(arguments);
    if (UNLIKELY(bytes < 0)) {
        return NULL;
    }
    return PyBool_FromLong(account_take(account, (uint64_t)bytes + ENVELOPE));
}

PyDoc_STRVAR(accept_doc, "accept($self, record, function, arguments, /)\n--\n\n"
"As `receive`, and append (function, arguments, None) to the record's `inbox`, if fewer than `bound` wait there and\n"
"in its `outbox`. True: it is behind others; None: it is in an inbox made for it, since there was none; False: nothing\n"
"was charged or queued.");

static PyObject *
account_accept(Account *account, PyObject *const *arguments, Py_ssize_t count)
{
    if (UNLIKELY(count != 3 || !PyTuple_CheckExact(arguments[2]))) {
        PyErr_SetString(PyExc_TypeError, "accept takes a record, a function and a tuple of arguments");
        return NULL;
    }
    if (account->measured) {
        Py_RETURN_FALSE;
    }
    Py_ssize_t bytes = bytes_of_arguments(arguments[2]);
    if (UNLIKELY(bytes < 0)) {
        return NULL;
    }
    /* Sizing may have run Python code, so the record is looked at only now. */
    PyObject *record = arguments[0];
    KnownSlot *known = slots_of(Py_TYPE(record));
    if (UNLIKELY(known == NULL || known->inbox == 0 || known->outbox == 0
                 || SLOT(record, known->offset) != (PyObject *)account)) {
        Py_RETURN_FALSE;
    }
    PyObject *inbox = SLOT(record, known->inbox), *outbox = SLOT(record, known->outbox);
    Py_ssize_t waiting = 0;
    if (inbox != Py_None) {
        if (inbox == NULL || !PyList_CheckExact(inbox)) {
            Py_RETURN_FALSE;
        }
        waiting = PyList_GET_SIZE(inbox);
    }
    if (outbox != NULL && PyList_CheckExact(outbox)) {
        waiting += PyList_GET_SIZE(outbox);
    }
    if (waiting >= account->bound || !account_take(account, (uint64_t)bytes + ENVELOPE)) {
        Py_RETURN_FALSE;
    }
    PyObject *message = PyTuple_Pack(3, arguments[1], arguments[2], Py_None);
    if (message == NULL) {
        return NULL;
    }
    if (inbox != Py_None) {
        int status = PyList_Append(inbox, message);
        Py_DECREF(message);
        if (status < 0) {
            return NULL;
        }
        Py_RETURN_TRUE;
    }
    PyObject *first = PyList_New(1);
    if (first == NULL) {
        Py_DECREF(message);
        return NULL;
    }
    PyList_SET_ITEM(first, 0, message);
    SLOT(record, known->inbox) = first;
    Py_DECREF(inbox);
    Py_RETURN_NONE;
}

static PyMethodDef account_methods[] = {
    {"reset", (PyCFunction)(void (*)(void))account_reset, METH_VARARGS | METH_KEYWORDS, reset_doc},
    {"charge", (PyCFunction)account_charge, METH_O, charge_doc},
    {"settle", (PyCFunction)account_settle_method, METH_O, settle_doc},
    {"fits", (PyCFunction)account_fits, METH_O, fits_doc},
    {"receive", (PyCFunction)account_receive, METH_O, receive_doc},
    {"accept", (PyCFunction)(void (*)(void))account_accept, METH_FASTCALL, accept_doc},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject AccountType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "actorkit.heap.c._clock.Account",
    .tp_doc = PyDoc_STR("Account(owner=None)\n--\n\n"
                        "What one actor has allocated, and the thresholds that apply to it."),
    .tp_basicsize = sizeof(Account),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = account_new,
    .tp_dealloc = (destructor)account_dealloc,
    .tp_traverse = (traverseproc)account_traverse,
    .tp_clear = (inquiry)account_clear,
    .tp_free = PyObject_GC_Del,
    .tp_weaklistoffset = offsetof(Account, weak_references),
    .tp_getset = account_getset,
    .tp_members = account_members,
    .tp_methods = account_methods,
};

/* --- What pymalloc says of itself ------------------------------------------------------------------------ */

PyDoc_STRVAR(pymalloc_report_doc, "pymalloc_report()\n--\n\n"
"What sys._debugmallocstats prints, as bytes, though the clock stands before pymalloc; None where it cannot be had.\n"
"It visits a cache line of each pool: 50 microseconds for 100 MB.");

/* pymalloc prints only while it is itself the allocator of the object domain. So what stands beneath us is put there
   for the length of the call. No object is made meanwhile, and nobody else uses this domain without the GIL. */
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

/* --- Heaps of their own --------------------------------------------------------------------------------- */

PyDoc_STRVAR(own_heaps_doc, "own_heaps(wanted=None, /)\n--\n\n"
"Can accounts have heaps of their own here? An argument says whether they are wanted at all in this process.");

static PyObject *
clock_own_heaps(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int wanted = -1;
    if (!PyArg_ParseTuple(arguments, "|p:own_heaps", &wanted)) {
        return NULL;
    }
    if (wanted >= 0) {
        slabs_wanted = wanted;
    }
    bool possible = slabs_wanted && slabs_may_serve();
    slabs_serve = possible && installations > 0;
    return PyBool_FromLong(possible);
}

PyDoc_STRVAR(purge_doc, "purge(seconds, /)\n--\n\n"
"Give the free pages of heaps back to the system, for so long at most. Returns the bytes that went.");

static PyObject *
clock_purge(PyObject *Py_UNUSED(module), PyObject *argument)
{
    double seconds = PyFloat_AsDouble(argument);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
#ifdef HAVE_SLABS
    return PyLong_FromUnsignedLongLong(slabs_purge(seconds));
#else
    return PyLong_FromLong(0);
#endif
}

PyDoc_STRVAR(heap_statistics_doc, "heap_statistics(live=False, /)\n--\n\n"
"(mapped, pages, cold, live, adopted, heaps, given_back, refusals), see actorkit.heap.slabs. Live bytes are summed up over\n"
"all pages, if they are asked for; else 0.");

static PyObject *
clock_heap_statistics(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int with_live = 0;
    if (!PyArg_ParseTuple(arguments, "|p:heap_statistics", &with_live)) {
        return NULL;
    }
    const SlabStatistics *told = &slab_statistics;
    uint64_t live = 0;
#ifdef HAVE_SLABS
    live = with_live ? slabs_live() : 0;
#endif
    return Py_BuildValue("KKKKKKKK", (unsigned long long)told->mapped, (unsigned long long)(told->pages - told->empty),
                         (unsigned long long)(told->cold + told->empty), (unsigned long long)live,
                         (unsigned long long)told->adopted, (unsigned long long)told->heaps,
                         (unsigned long long)told->given_back, (unsigned long long)told->refusals);
}

/* --- The module ----------------------------------------------------------------------------------------- */

static PyMethodDef clock_methods[] = {
    {"enter", clock_enter, METH_O, enter_doc},
    {"current", clock_current, METH_NOARGS, current_doc},
    {"switch", clock_switch, METH_O, switch_doc},
    {"install", clock_install, METH_VARARGS, install_doc},
    {"uninstall", clock_uninstall, METH_NOARGS, uninstall_doc},
    {"installed", clock_installed, METH_NOARGS, installed_doc},
    {"size_with", clock_size_with, METH_O, size_with_doc},
    {"verify", clock_verify, METH_NOARGS, verify_doc},
    {"reinstall", clock_reinstall, METH_NOARGS, reinstall_doc},
    {"own_heaps", clock_own_heaps, METH_VARARGS, own_heaps_doc},
    {"purge", clock_purge, METH_O, purge_doc},
    {"heap_statistics", clock_heap_statistics, METH_VARARGS, heap_statistics_doc},
    {"can_interrupt", clock_can_interrupt, METH_NOARGS, can_interrupt_doc},
    {"pymalloc_report", clock_pymalloc_report, METH_NOARGS, pymalloc_report_doc},
    {"_at_exit", clock_at_exit, METH_NOARGS, PyDoc_STR("Stop counting, for good.")},
    {NULL, NULL, 0, NULL},
};

static int
register_at_exit(PyObject *module)
{
    PyObject *function = PyObject_GetAttrString(module, "_at_exit");
    PyObject *atexit = function != NULL ? PyImport_ImportModule("atexit") : NULL;
    PyObject *result = atexit != NULL ? PyObject_CallMethod(atexit, "register", "O", function) : NULL;
    int status = result != NULL ? 0 : -1;
    Py_XDECREF(result);
    Py_XDECREF(atexit);
    Py_XDECREF(function);
    return status;
}

static int
clock_exec(PyObject *module)
{
    static bool prepared; /* a module that is imported anew shares everything with the first */
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "the allocation clock does not support subinterpreters");
        return -1;
    }
    if (!prepared) {
        account_name = PyUnicode_InternFromString("account");
        inbox_name = PyUnicode_InternFromString("inbox");
        outbox_name = PyUnicode_InternFromString("outbox");
        if (account_name == NULL || inbox_name == NULL || outbox_name == NULL || PyType_Ready(&AccountType) < 0 || register_at_exit(module) < 0) {
            return -1;
        }
#if !defined(_WIN32)
        if (pthread_atfork(NULL, NULL, forget_queue) != 0) {
            PyErr_NoMemory();
            return -1;
        }
#endif
        prepared = true;
    }
    PyObject *yes = Py_True;
    if (PyModule_AddObjectRef(module, "Account", (PyObject *)&AccountType) < 0
        || PyModule_AddObjectRef(module, "COUNTS_ALLOCATIONS", yes) < 0
        || PyModule_AddIntConstant(module, "ENVELOPE", ENVELOPE) < 0
        || PyModule_AddIntConstant(module, "REFUSABLE", REFUSABLE) < 0
        || PyModule_AddIntConstant(module, "REARM_STEP", REARM_STEP) < 0) {
        return -1;
    }
    return 0;
}

static PyModuleDef_Slot clock_slots[] = {
    {Py_mod_exec, (void *)clock_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef clock_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "actorkit.heap.c._clock",
    .m_doc = PyDoc_STR("The allocation clock in C; use it through actorkit.heap.clock."),
    .m_size = 0,
    .m_methods = clock_methods,
    .m_slots = clock_slots,
};

PyMODINIT_FUNC
PyInit__clock(void)
{
    return PyModuleDef_Init(&clock_module);
}
