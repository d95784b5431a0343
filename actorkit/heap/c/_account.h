/* An account: what the code of one actor has allocated, and what follows from it. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * Counters. `small` counts with the GIL: requests that pymalloc serves, and charges. `large` counts
 * atomically, since the raw domain is also called without the GIL and by threads that Python does
 * not know. Both only ever grow. `bytes` is their sum less `origin`, and a reset moves the origin,
 * so no reset can lose an addition. Everything else that the raw hook touches is read and written
 * by relaxed atomic operations (LOAD, STORE, ADD).
 *
 * What is alive. Its heap counts what is freed on its pages, whoever frees it. What the heap has
 * served follows from `small`: all that was counted while the heap was serving, but for what went
 * elsewhere. So an allocation costs nothing more. Large blocks are in a ledger (`_ledger.h`). All
 * else that it may hold is `elsewhere`, in gross: small blocks on others' pages, and charges. An
 * exact look says how much of that there is, and it grows again from there. The sum is a bound of
 * what the account has allocated or received and may still hold, at every instant.
 *
 * The limit. While that bound is no more than `limit`, nobody need look: when the alarm or a
 * boundary is due, `soft` moves on by what is left to the limit. What the account allocates cannot
 * be missed, since of that the bound grows no faster than the gross bytes that the hooks compare. A
 * block that others made and it makes larger comes into the bound as a whole, with the next look at
 * the bound at the latest.
 *
 * Thresholds. `soft` asks for the alarm (`_alarm.h`); `hard` and `giant` refuse (`_counting.h`).
 * The hooks do not compute `bytes`: `alarm_at` is the sum of both counters at which `soft` is
 * reached, and `watch_at` the earlier one of that and `heap_at`, so a small request costs one
 * comparison. `hard` refuses only what both the gross bytes and the bound would take past it.
 *
 * A heap of its own. The small blocks of an account that holds much come from pages of its own
 * (`_heaps.h`), which are empty when the account is gone. `settle` is told how much a look has
 * found, and decides who has such a heap: allocation alone says little, since a small actor that is
 * busy allocates much too. An account that has allocated, since the last look, as much as would
 * make it a large one is served at once, and is due: the look at the boundary takes the heap away
 * again if little of that was kept; if nobody need look, what is alive on its pages decides. An
 * account that leaves its pages full of air goes without for a while.
 *
 * References. `entered` owns a reference to the account that its thread is in, so no account is
 * freed while a thread is in it, even a thread that has released the GIL. */

#ifndef ACTORKIT_HEAP_ACCOUNT_H
#define ACTORKIT_HEAP_ACCOUNT_H

#include "../interpreter/_python.h" /* first: it prepares Python.h */

#include <stdbool.h>
#include <stdint.h>

#include "_compiler.h"
#include "_heaps.h"
#include "_ledger.h"

/* A thread-local variable of an extension module normally costs a function call. glibc keeps room
 * for a few words that do not. */
#if defined(__GLIBC__)
#define THREAD_LOCAL static __thread __attribute__((tls_model("initial-exec")))
#else
#define THREAD_LOCAL static __thread
#endif

#define NONE_SET UINT64_MAX /* a threshold that is not set */

#define AIR (16 * 1024)              /* this much of a heap may be free, however little the heap holds */
#define HOLDS_MUCH (6 * 1024)        /* an account that holds this much gets a heap of its own */
#define LOOK_AT_SOONEST 1024         /* bytes allocated between two looks at how much it holds */
#define LOOK_AT_LATEST (128 * 1024)  /* the same */
#define REST_AT_FIRST (64 * 1024 * 1024)  /* bytes to allocate elsewhere after leaving a heap too airy */
#define REST_AT_MOST ((uint64_t)1 << 34)  /* the same, after many such heaps */
#define MOST_CHARGED ((uint64_t)1 << 62)  /* charges do not take a counter past this */

typedef struct {
    PyObject_HEAD
    uint64_t small;       /* counted with the GIL: requests up to SMALL, and charges */
    uint64_t large;       /* counted atomically: larger requests */
    uint64_t alarm_at;    /* small + large at which the alarm is due, or NONE_SET */
    uint64_t watch_at;    /* the smaller one of alarm_at and heap_at: what small requests are compared with */
    Heap *serving;        /* `heap` if small blocks come from it, else NULL */
    Heap *heap;           /* of its own; NULL: it never had one */
    Ledger *ledger;       /* of its large blocks; NULL: it never had any */
    uint64_t elsewhere;   /* bytes that others' pages served and charges, but for those since small_then */
    uint64_t small_then;  /* since `small` was this, all of it was served by its heap, or nothing was */
    uint64_t served;      /* bytes that its heap had served before that */
    uint64_t large_then;  /* `large` at the last exact look, for where there are no ledgers */
    uint64_t found_elsewhere; /* what the last exact look has found elsewhere */
    uint64_t limit;       /* while held_at_most is no more than this, nobody need look */
    uint64_t heap_at;     /* small + large at which it gets a heap of its own, or NONE_SET */
    uint64_t heap_step;   /* heap_at was this far from the last look; 0: it has not settled yet */
    uint64_t rests_until; /* small + large before which it gets no heap: it left the last one full of air */
    uint64_t rest;        /* the length of the last such rest */
    uint64_t held_then;   /* what it held when the rest began: holding twice as much ends the rest */
    uint64_t origin;      /* small + large when bytes was 0; may wrap around, only the difference counts */
    uint64_t soft;        /* bytes at which the alarm is due */
    uint64_t hard;        /* bytes that no large request may take the account past */
    uint64_t giant;       /* the largest request that is served */
    uint64_t peak_request; /* the largest request above SMALL so far, served or refused */
    uint64_t refused;     /* how many requests were refused */
    uint64_t last_refused; /* the size of the last of them */
    uint64_t activation;  /* how often it was entered */
    uint64_t asked;       /* the activation in which a pending call was asked for; 0 if none */
    uint64_t in_vain;     /* how often the alarm came while a verdict stood */
    char due;             /* the account is to be looked at at the next boundary */
    char heap_near;       /* a look has found it halfway to a heap of its own */
    char heap_due;        /* heap_at was reached since the last look */
    char settles;         /* who holds much of it gets a heap of its own: settle() was called */
    char foreign_due;     /* CYCLES_CHARGED and CYCLES_CAPPED: messages have come that had such */
    char measured;        /* receive() leaves all messages to its caller */
    Py_ssize_t bound;     /* of messages: accept() leaves those beyond it to its caller */
    PyObject *owner;      /* owned; whose account this is */
    PyObject *verdict;    /* owned; what the judge of the budget has decided, or NULL */
    PyObject *weak_references;
} Account;

static PyTypeObject AccountType; /* _account_type.h */

THREAD_LOCAL Account *entered; /* owned; what this thread's allocations are counted to */

static bool slabs_serve; /* can accounts have heaps of their own? Found out when the hooks are put in place */

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

/* Recompute alarm_at after a change of origin or soft, and let the alarm be asked for anew. */
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

/* --- What it may hold --------------------------------------------------------------------------- */

/* Bytes of its blocks on its own pages. Needs the GIL: a heap may be freed. */
static inline uint64_t
account_own_live(Account *account)
{
#ifdef HAVE_SLABS
    if (account->heap == NULL) {
        return 0;
    }
    uint64_t served = account->served + (account->serving != NULL ? account->small - account->small_then : 0);
    return served - account->heap->freed * GRANULE;
#else
    (void)account;
    return 0;
#endif
}

/* Bytes of its large blocks. */
static inline uint64_t
account_large_live(Account *account)
{
    return ledger_live(&account->ledger, &account->large);
}

/* Bytes that it may hold anywhere else than on its own pages and in its ledger. */
static inline uint64_t
account_elsewhere(Account *account)
{
    uint64_t bytes = LOAD(account->elsewhere);
    if (account->serving == NULL) {
        bytes += LOAD(account->small) - LOAD(account->small_then);
    }
    if (!LOAD(sealing)) {
        bytes += LOAD(account->large) - LOAD(account->large_then);
    }
    return bytes;
}

/* A bound of what it has allocated or received and may still hold. Needs the GIL. */
static inline uint64_t
account_held_at_most(Account *account)
{
    return account_own_live(account) + account_large_live(account) + account_elsewhere(account);
}

/* An exact look has found so much elsewhere. */
static void
account_set_elsewhere(Account *account, uint64_t found)
{
    STORE(account->elsewhere, found);
    if (account->serving == NULL) {
        STORE(account->small_then, account->small);
    }
    STORE(account->large_then, LOAD(account->large));
    account->found_elsewhere = found;
}

/* So much is added to `small` that its heap does not serve although it could. */
static inline void
count_unserved(Account *account, uint64_t number)
{
    if (account->serving != NULL) {
        STORE(account->small_then, account->small_then + number);
    }
}

/* The same, and it lies elsewhere. */
static inline void
count_elsewhere(Account *account, uint64_t number)
{
    if (account->serving != NULL) {
        STORE(account->small_then, account->small_then + number);
        STORE(account->elsewhere, account->elsewhere + number);
    }
}

/* Does it certainly keep its limit? Then the alarm is due when it can next have passed it. */
static bool
account_keeps_limit(Account *account)
{
    if (account->limit == NONE_SET || account->verdict != NULL) {
        return false;
    }
    uint64_t held = account_held_at_most(account), bytes = account_bytes(account);
    if (held > account->limit) {
        return false;
    }
    uint64_t room = account->limit - held + 1;
    STORE(account->soft, bytes < NONE_SET - 1 - room ? bytes + room : NONE_SET - 1);
    account_arm(account);
    return true;
}

/* --- A heap of its own -------------------------------------------------------------------------- */

/* Let its small blocks come from a heap of its own, or no longer. */
static void
account_serve(Account *account, bool own)
{
#ifdef HAVE_SLABS
    if (own && account->heap == NULL) {
        account->heap = heap_new(&account->due, &account->elsewhere); /* NULL: no memory, so not now */
    }
    Heap *serving = own ? account->heap : NULL;
    if ((account->serving != NULL) != (serving != NULL)) {
        uint64_t since = account->small - account->small_then;
        if (serving != NULL) {
            STORE(account->elsewhere, account->elsewhere + since);
        }
        else {
            account->served += since;
        }
        STORE(account->small_then, account->small);
    }
    account->serving = serving;
    if (!own && account->heap != NULL) {
        heap_sweep(account->heap);
        if (account->heap->pages == 0) {
            heap_free(account->heap);
            account->heap = NULL;
            account->served = 0;
        }
    }
#else
    (void)account, (void)own;
#endif
}

/* Since the last look it has allocated as much as a large actor holds. It is served from now on, or
   what it is about to keep would lie among the blocks of others. The next look takes the heap away
   again if little was kept. */
static void
want_heap(Account *account)
{
    account->heap_due = 1;
    STORE(account->due, 1);
    account->heap_at = NONE_SET;
    account_serve(account, slabs_serve);
    account_watch(account);
}

#ifdef HAVE_SLABS
static inline bool
is_airy(uint64_t pages, uint64_t live)
{
    uint64_t air = pages * PAGE_BYTES - live;
    return air > AIR && air > live / 3;
}
#endif

/* Is more than a quarter of its heap free, between blocks in use? An actor that allocates much for a
   moment, and keeps little of it here and there, would hold all pages that it ever needed, with room
   that nobody else can use. Pages without blocks are given back instead. */
static bool
account_is_airy(Account *account)
{
#ifdef HAVE_SLABS
    Heap *heap = account->heap;
    if (heap != NULL && account->serving != NULL) {
        uint64_t live = account_own_live(account);
        if (is_airy(heap->pages, live)) {
            heap_sweep(heap);
        }
        heap->look_at = 2 * heap->pages + FIRST_LOOK;
        return is_airy(heap->pages, live);
    }
#else
    (void)account;
#endif
    return false;
}

/* It holds so much in small blocks: decide who serves the next ones. */
static void
account_place(Account *account, uint64_t held)
{
    uint64_t total = account_total(account);
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
        account_serve(account, false); /* gives empty pages back */
    }
    else if (held >= HOLDS_MUCH || (account->serving != NULL && held >= HOLDS_MUCH / 2)) {
        account->heap_at = NONE_SET;
        account->heap_due = account->heap_near = 0;
        account_serve(account, true);
    }
    else if (account->heap_due || account->serving != NULL || account->heap_at == NONE_SET) {
        uint64_t step = account->heap_step == 0 ? HOLDS_MUCH : account->heap_step * 2;
        if (held >= HOLDS_MUCH / 2 && !account->heap_near) {
            account->heap_near = 1; /* at this rate it will soon be a large one */
            step = HOLDS_MUCH - held > LOOK_AT_SOONEST ? HOLDS_MUCH - held : LOOK_AT_SOONEST;
        }
        account->heap_step = step > LOOK_AT_LATEST ? LOOK_AT_LATEST : step;
        account->heap_at = total + account->heap_step;
        account->heap_due = 0;
        account_serve(account, false);
    }
    account_watch(account);
}

/* A look has found that it holds so much. Large blocks are malloc's in any case: their share of
   what is held is taken to be their share of what was allocated. */
static void
account_settle(Account *account, uint64_t held)
{
    uint64_t total = account_total(account);
    account->settles = 1;
    account_place(account, total > 0 ? (uint64_t)((double)held * ((double)account->small / (double)total)) : held);
}

/* The account is due, and is being left. True: it certainly keeps its limit, so nobody need look.
   What is alive on its own pages then decides whether it keeps them. */
static __attribute__((noinline)) bool
account_is_quiet(Account *account)
{
    if (account->foreign_due & CYCLES_CAPPED || !account_keeps_limit(account)) {
        return false;
    }
    if (account->settles) {
        account_place(account, account_own_live(account) + account->found_elsewhere);
    }
    STORE(account->due, 0);
    return true;
}

/* --- Charges ------------------------------------------------------------------------------------ */

/* Add what others have allocated for it. The counter stops far beyond what there can be. */
static inline void
account_add(Account *account, uint64_t number)
{
    uint64_t most = MOST_CHARGED - account->small;
    number = account->small < MOST_CHARGED && number <= most ? number : account->small < MOST_CHARGED ? most : 0;
    STORE(account->small, account->small + number);
    count_elsewhere(account, number);
}

static inline bool
account_has_room(Account *account, uint64_t number)
{
    uint64_t bytes = account_bytes(account);
    return bytes < account->soft && number < account->soft - bytes;
}

/* Charge the account with so many bytes if that leaves `bytes` below `soft`. Needs the GIL. */
static inline bool
account_take(Account *account, uint64_t number)
{
    if (account->soft != NONE_SET && UNLIKELY(!account_has_room(account, number))
        && !(account_keeps_limit(account) && account_has_room(account, number))) {
        return false;
    }
    account_add(account, number);
    return true;
}

#endif
