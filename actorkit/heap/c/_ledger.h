/* Ledgers: the bytes of an account's large blocks that are in use. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * The C library serves large blocks, those above SMALL bytes, from one pool for all. So each block
 * that is allocated in an account carries a *trailer*: the hook asks for that much more, and writes
 * at the very end of the block's usable bytes whose ledger it is in, and a *seal* that is made of
 * the block's address. Whoever frees or resizes a large block, in whatever thread and account,
 * looks for the seal. If it fits, the block's usable bytes are taken off that ledger. Blocks that
 * nobody's code allocates have no trailer.
 *
 * A seal is wiped before its block is freed or resized, so it stands for bytes that are counted, and
 * can be taken off only once. A block that was freed behind our back (a hook was lost, an extension
 * mixes up allocators) leaves its seal and its bytes behind: the ledger says too much, never too
 * little, until the next owner of that memory frees it or seals it anew.
 *
 * A block that is resized belongs to who makes it grow. In nobody's account, or if it does not grow,
 * it stays its owner's, and nobody's stays nobody's.
 *
 * What an account has allocated is counted already, in gross, so a ledger counts what is gone again:
 * the bytes in use are the difference. It is a record of its own, since blocks outlive accounts.
 * While the account is alive, the ledger's `word` is OPEN plus what is gone. When the account goes,
 * what it had counted is taken off. From then on the word is as far below 0 as there are bytes in
 * use, and who brings it to 0 frees the ledger.
 *
 * Only the C library can tell where the usable bytes of its blocks end. So there are ledgers only
 * while the interpreter's own allocator, and nothing that moves addresses, lies beneath the raw
 * hook. Where there are none, large requests count in gross (`account_elsewhere`).
 *
 * The GIL. Nothing here needs it. The words are changed atomically; the list of ledgers, which
 * `uninstall` asks for blocks in use, has a lock, which is held over a fork. */

#ifndef ACTORKIT_HEAP_LEDGER_H
#define ACTORKIT_HEAP_LEDGER_H

#include "_compiler.h"
#include "_contract.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <malloc.h>
#define REAL_SIZE(block) malloc_usable_size(block)
#elif defined(__APPLE__)
#include <malloc/malloc.h>
#define REAL_SIZE(block) malloc_size(block)
#endif

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

typedef struct Ledger Ledger;

struct Ledger {
    uint64_t word;     /* OPEN plus what is gone; without an account: minus the bytes in use */
    uint64_t *counted; /* what its account has counted, or NULL: the account is gone */
    Ledger *next, *previous;
};

typedef struct {
    Ledger *ledger;
    uintptr_t seal;
} Trailer;

#define TRAILER sizeof(Trailer)
#define SEAL ((uintptr_t)0x5EA1ED0B10C4A55Bu)
#define OPEN ((uint64_t)1 << 62) /* more than all blocks together */

static bool sealing; /* new blocks get trailers: see put_hooks */
static bool sealed;  /* there may be blocks with trailers */
static Ledger *ledgers;

#if defined(REAL_SIZE) && !defined(_WIN32)
#define HAVE_LEDGERS 1
#include <pthread.h>
static pthread_mutex_t ledgers_lock = PTHREAD_MUTEX_INITIALIZER;
#define LOCK_LEDGERS() ((void)pthread_mutex_lock(&ledgers_lock))
#define UNLOCK_LEDGERS() ((void)pthread_mutex_unlock(&ledgers_lock))
#else
#define LOCK_LEDGERS() ((void)0)
#define UNLOCK_LEDGERS() ((void)0)
#endif

/* The bytes in use, of the ledger in this place and of what its account has counted. The two are not
   read at the same time, so the difference may be below 0 for a moment. */
static inline uint64_t
ledger_live(Ledger **place, uint64_t *counted)
{
    Ledger *ledger = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    int64_t live = ledger != NULL ? (int64_t)(LOAD(*counted) - (LOAD(ledger->word) - OPEN)) : 0;
    return live > 0 ? (uint64_t)live : 0;
}

/* Make the ledger that belongs in this place. NULL: no memory. */
static __attribute__((noinline)) Ledger *
ledger_open(Ledger **place, uint64_t *counted)
{
    Ledger *ledger = calloc(1, sizeof(Ledger)), *first = NULL;
    if (ledger == NULL) {
        return NULL;
    }
    ledger->word = OPEN + LOAD(*counted); /* what was counted without a ledger is none of its */
    ledger->counted = counted;
    LOCK_LEDGERS();
    if (__atomic_compare_exchange_n(place, &first, ledger, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        ledger->next = ledgers;
        if (ledgers != NULL) {
            ledgers->previous = ledger;
        }
        ledgers = ledger;
        first = ledger;
    }
    UNLOCK_LEDGERS();
    if (first != ledger) {
        free(ledger); /* another thread was faster */
    }
    return first;
}

static __attribute__((noinline)) void
ledger_free(Ledger *ledger)
{
    LOCK_LEDGERS();
    if (ledger->previous != NULL) {
        ledger->previous->next = ledger->next;
    }
    else {
        ledgers = ledger->next;
    }
    if (ledger->next != NULL) {
        ledger->next->previous = ledger->previous;
    }
    UNLOCK_LEDGERS();
    free(ledger);
}

/* So many bytes are no longer in use. */
static inline void
ledger_lose(Ledger *ledger, uint64_t bytes)
{
    if (UNLIKELY(add_shared(&ledger->word, bytes) == 0)) {
        ledger_free(ledger);
    }
}

/* So many bytes are in use that no account counts. */
static inline void
ledger_gain(Ledger *ledger, uint64_t bytes)
{
    (void)add_shared(&ledger->word, -bytes);
}

/* Its account is gone. */
static void
ledger_close(Ledger *ledger, uint64_t counted)
{
    LOCK_LEDGERS();
    ledger->counted = NULL;
    UNLOCK_LEDGERS();
    ledger_lose(ledger, -(OPEN + counted));
}

/* The bytes of all sealed blocks in use. */
static uint64_t
ledgers_live(void)
{
    uint64_t live = 0;
    LOCK_LEDGERS();
    for (Ledger *ledger = ledgers; ledger != NULL; ledger = ledger->next) {
        uint64_t word = LOAD(ledger->word);
        int64_t in_use = (int64_t)(ledger->counted != NULL ? LOAD(*ledger->counted) + OPEN - word : -word);
        live += in_use > 0 ? (uint64_t)in_use : 0;
    }
    UNLOCK_LEDGERS();
    return live;
}

/* --- Trailers --------------------------------------------------------------------------------- */

/* The size of a block of the C library, which it is while `sealed`. */
static inline size_t
usable_of(void *block)
{
#ifdef REAL_SIZE
    return REAL_SIZE(block);
#else
    (void)block;
    return 0;
#endif
}

/* Whose block is it? NULL: it has no trailer. `usable` is its size. */
static inline Ledger *
ledger_of_block(void *block, size_t usable)
{
    if (!LOAD(sealed) || usable < SMALL + TRAILER) {
        return NULL;
    }
    Trailer trailer;
    memcpy(&trailer, (char *)block + usable - TRAILER, TRAILER);
    return UNLIKELY(trailer.seal == ((uintptr_t)block ^ SEAL)) ? trailer.ledger : NULL;
}

static inline void
trailer_write(void *block, size_t usable, Ledger *ledger)
{
    Trailer trailer = {ledger, (uintptr_t)block ^ SEAL};
    memcpy((char *)block + usable - TRAILER, &trailer, TRAILER);
}

static inline void
trailer_wipe(void *block, size_t usable)
{
    memset((char *)block + usable - TRAILER, 0, TRAILER);
}

/* A block that has room for a trailer gets it. Returns its bytes, which the ledger's account has to
   count. */
static inline size_t
block_seal(void *block, Ledger *ledger)
{
    size_t usable = usable_of(block);
    Ledger *stale = ledger_of_block(block, usable);
    trailer_write(block, usable, ledger);
    if (UNLIKELY(stale != NULL)) {
        ledger_lose(stale, usable);
    }
    return usable;
}

/* A block of any size is about to be freed. */
static inline void
block_unseal(void *block)
{
    if (LOAD(sealed) && block != NULL) {
        size_t usable = usable_of(block);
        Ledger *ledger = ledger_of_block(block, usable);
        if (ledger != NULL) {
            trailer_wipe(block, usable);
            ledger_lose(ledger, usable);
        }
    }
}

#endif
