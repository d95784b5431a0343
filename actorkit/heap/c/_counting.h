/* Counting: what a request adds to an account, and which requests are refused. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * A request counts as the block that an allocator makes of it, as in the walk (`_contract.h`).
 * Requests of up to SMALL bytes are counted in the object and memory domains, where pymalloc serves
 * them itself. Pymalloc hands larger ones on to the raw domain, so they are counted there, once.
 * Where they do not reach the raw domain (PYTHONMALLOC=malloc), the object and memory domains count
 * them by the same rules.
 *
 * A realloc of a large block counts by its growth only: counted in full, `text += 'x'` would cost
 * the square of its length. The growth is the difference of the real sizes of the two blocks. The C
 * library tells a block's size (`malloc_usable_size`). Python's debug hooks move the address, but
 * write the size in front of the block, in a documented layout. Where neither tells the size, a
 * realloc counts in full: too much, never too little. With the debug hooks blocks of 489 to 512
 * bytes count twice, since the hooks enlarge them past SMALL. Frees are not counted.
 *
 * Refusals. Only requests of REFUSABLE bytes or more are ever refused: one larger than `giant`, or
 * one that would take the account past `hard`. The interpreter does not survive the failure of its
 * small requests, but a large one that fails is an ordinary MemoryError. A realloc that does not
 * grow is never refused.
 *
 * The GIL. What counts small requests, and `look_at_account`, need it. All else may run without it,
 * in any thread; a thread that Python does not know has no account. */

#ifndef ACTORKIT_HEAP_COUNTING_H
#define ACTORKIT_HEAP_COUNTING_H

#include "_account.h"
#include "_alarm.h"
#include "_contract.h"

#if defined(__linux__)
#include <malloc.h>
#define REAL_SIZE(block) malloc_usable_size(block)
#elif defined(__APPLE__)
#include <malloc/malloc.h>
#define REAL_SIZE(block) malloc_size(block)
#endif

#define REFUSABLE (64 * 1024) /* smaller requests are never refused */

static bool counting; /* false: the hooks only pass requests on */

static inline Account *
counted_account(void)
{
    return LOAD(counting) ? entered : NULL;
}

/* With the GIL only. True: call `want_alarm`. */
static inline bool
count_small(Account *account, size_t size)
{
    uint64_t small = account->small + small_block(size);
    STORE(account->small, small);
    return small + LOAD(account->large) >= account->watch_at;
}

/* With the GIL only. Large requests are counted where there may be no GIL, so the alarm is asked
   for here, afterwards. */
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

/* What tells the size of an existing block. */
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
        /* The requested size stands two words before the block, the most significant byte first, as
           the documentation of PyMem_SetupDebugHooks says. */
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
            /* A block that was small has not been counted here yet. */
            count_large(account, before > SMALL ? after - before : after);
        }
    }
    return moved;
}

#endif
