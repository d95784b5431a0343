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
 * grow is never refused. Nor is one that is made while the innermost Python code is the runtime's,
 * trio's or the import machinery's (`never_refuse`): half done, that would cost others more. Nor is
 * the table of interned strings, on versions of the interpreter that do not survive that.
 *
 * The GIL. What counts small requests, and `look_at_account`, need it. All else may run without it,
 * in any thread; a thread that Python does not know has no account. */

#ifndef ACTORKIT_HEAP_COUNTING_H
#define ACTORKIT_HEAP_COUNTING_H

#include "_account.h"
#include "_alarm.h"
#include "_contract.h"
#include "../interpreter/_dicts.h"
#include "../interpreter/_frames.h"

#define REFUSABLE (64 * 1024) /* smaller requests are never refused */
#define TABLE (16 * 1024)     /* smaller requests are charged, whatever they are for */

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
    uint64_t total = add_shared(&account->large, growth) + LOAD(account->small);
    if (UNLIKELY(total >= LOAD(account->alarm_at))) {
        STORE(account->due, 1);
    }
}

/* Owned tuples of str, how files begin; or NULL. */
static PyObject *never_refused, *refused_all_the_same, *table_keepers;

static bool
begins_like_one(PyObject *file, PyObject *beginnings)
{
    for (Py_ssize_t i = 0; beginnings != NULL && i < PyTuple_GET_SIZE(beginnings); i++) {
        if (PyUnicode_Tailmatch(file, PyTuple_GET_ITEM(beginnings, i), 0, PY_SSIZE_T_MAX, -1) == 1) {
            return true;
        }
    }
    return false;
}

/* Does code run that must not be refused memory? Needs the GIL, which the raw domain may be called
   without. Allocates nothing. */
static bool
is_never_refused(void)
{
    PyObject *file = innermost_file(_PyThreadState_GET());
    return file != NULL && PyUnicode_Check(file) && begins_like_one(file, never_refused)
           && !begins_like_one(file, refused_all_the_same);
}

/* Is a block of this size part of a table that is not the account's, judging by whose code makes it
   grow? Most tables grow in functions that are nobody's (`_nobody.h`); this is for trio's, and for
   those of hot paths. */
static bool
is_of_a_table(size_t size)
{
    if (LIKELY(size < TABLE) || !PyGILState_Check() || _PyThreadState_GET() == NULL) {
        return false;
    }
    PyObject *file = innermost_file(_PyThreadState_GET());
    return file != NULL && PyUnicode_Check(file) && begins_like_one(file, table_keepers);
}

static int
is_tuple_of_str(PyObject *object)
{
    for (Py_ssize_t i = 0; PyTuple_Check(object) && i < PyTuple_GET_SIZE(object); i++) {
        if (!PyUnicode_Check(PyTuple_GET_ITEM(object, i))) {
            return false;
        }
    }
    return PyTuple_Check(object);
}

PyDoc_STRVAR(never_refuse_doc, "never_refuse(begin, but=(), tables=(), /)\n--\n\n"
"Refuse no request of code whose file begins like one of these, but for those that begin like one of the others.\n"
"`tables`: files of code whose requests of 16 KiB and more are for tables, which are in nobody's account.");

static PyObject *
clock_never_refuse(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *begin, *but = NULL, *tables = NULL;
    if (!PyArg_ParseTuple(arguments, "O|OO:never_refuse", &begin, &but, &tables)) {
        return NULL;
    }
    if (!is_tuple_of_str(begin) || !(but == NULL || is_tuple_of_str(but))
        || !(tables == NULL || is_tuple_of_str(tables))) {
        PyErr_SetString(PyExc_TypeError, "the files must be tuples of str");
        return NULL;
    }
    Py_XSETREF(never_refused, Py_NewRef(begin));
    Py_XSETREF(refused_all_the_same, Py_XNewRef(but));
    Py_XSETREF(table_keepers, Py_XNewRef(tables));
    Py_RETURN_NONE;
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
    uint64_t hard = LOAD(account->hard), bytes = account_bytes(account);
    if (LIKELY(request <= LOAD(account->giant) && bytes <= hard && growth <= hard - bytes)) {
        return true;
    }
    bool gil = PyGILState_Check() && _PyThreadState_GET() != NULL; /* with subinterpreters the first says yes */
    if (request <= LOAD(account->giant)) {
        uint64_t held = account_large_live(account) + account_elsewhere(account);
        if (gil) {
            held += account_own_live(account); /* without the GIL the heap may be freed meanwhile */
        }
        if (held <= hard && growth <= hard - held) {
            return true;
        }
    }
    if (gil && is_never_refused()) {
        return true;
    }
    if (gil && is_for_interned_strings(request)) {
        return true;
    }
    ADD(account->refused, 1);
    STORE(account->last_refused, (uint64_t)request);
    return false;
}

/* Where the trailers of its new blocks go; NULL: they get none. */
static inline Ledger *
ledger_for(Account *account)
{
    if (UNLIKELY(!LOAD(sealing))) {
        return NULL;
    }
    Ledger *ledger = __atomic_load_n(&account->ledger, __ATOMIC_ACQUIRE);
    return LIKELY(ledger != NULL) ? ledger : ledger_open(&account->ledger, &account->large);
}

/* A request is served only if its trailer does not make it overflow. */
static inline bool
has_room_for_trailer(size_t size)
{
    return size <= (size_t)PY_SSIZE_T_MAX - TRAILER;
}

/* A new block for the account: from `malloc`, or, if `cleared`, from `calloc`. */
static ALWAYS_INLINE void *
counted_new(const PyMemAllocatorEx *base, Account *account, size_t size, bool cleared)
{
    if (!admits(account, size, size)) {
        return NULL;
    }
    Ledger *ledger = ledger_for(account);
    size_t request = ledger != NULL ? size + TRAILER : size;
    if (ledger != NULL && UNLIKELY(!has_room_for_trailer(size))) {
        return NULL;
    }
    void *block = cleared ? base->calloc(base->ctx, 1, request) : base->malloc(base->ctx, request);
    if (LIKELY(block != NULL)) {
        count_large(account, LIKELY(ledger != NULL) ? block_seal(block, ledger) : large_block(size));
    }
    return block;
}

static inline void *
counted_malloc(const PyMemAllocatorEx *base, size_t size)
{
    Account *account = size > SMALL ? counted_account() : NULL;
    return account != NULL && !is_of_a_table(size) ? counted_new(base, account, size, false)
                                                   : base->malloc(base->ctx, size);
}

static inline void *
counted_calloc(const PyMemAllocatorEx *base, size_t number, size_t size)
{
    size_t request = number * size; /* Python has made sure that it does not overflow */
    Account *account = request > SMALL ? counted_account() : NULL;
    return account != NULL && !is_of_a_table(request) ? counted_new(base, account, request, true)
                                                      : base->calloc(base->ctx, number, size);
}

static inline void *
counted_realloc(const PyMemAllocatorEx *base, void *block, size_t size)
{
    if (block == NULL) {
        return counted_malloc(base, size);
    }
    Account *account = size > SMALL ? counted_account() : NULL;
    if (account == NULL && !LOAD(sealed)) {
        return base->realloc(base->ctx, block, size);
    }
    size_t before = size_of(block);
    Ledger *owner = ledger_of_block(block, before), *next = owner;
    if (account == NULL && owner == NULL) {
        return base->realloc(base->ctx, block, size);
    }
    bool table = size > before && (size - before) >= size / 16 && is_of_a_table(size); /* lists grow by an eighth */
    if (table) {
        account = NULL;
    }
    if (account != NULL && size > before && !admits(account, size, size - before)) {
        return NULL;
    }
    if (size <= SMALL || table) {
        next = NULL;
    }
    else if (account != NULL && size > (owner != NULL ? before - TRAILER : before)) {
        next = ledger_for(account); /* who makes it grow */
    }
    if (next != NULL && UNLIKELY(!has_room_for_trailer(size))) {
        return NULL;
    }
    if (owner != NULL) {
        trailer_wipe(block, before);
    }
    void *moved = base->realloc(base->ctx, block, next != NULL ? size + TRAILER : size);
    if (UNLIKELY(moved == NULL)) {
        if (owner != NULL) {
            trailer_write(block, before, owner);
        }
        return NULL;
    }
    size_t after = LOAD(size_source) == SIZE_UNKNOWN ? size : size_of(moved);
    uint64_t counted = 0;
    if (account != NULL && after > before && (next == account->ledger || next == NULL)) {
        counted = before > SMALL ? after - before : after; /* a block that was small has not been counted yet */
        count_large(account, counted);
    }
    if (next == NULL) {
        if (owner != NULL) {
            ledger_lose(owner, before);
        }
    }
    else if (next == owner) {
        trailer_write(moved, after, next);
        if (after < before) {
            ledger_lose(next, before - after); /* there is more left */
        }
        else if (after - before > counted) {
            ledger_gain(next, after - before);
        }
    }
    else {
        uint64_t usable = block_seal(moved, next);
        if (usable > counted) {
            ledger_gain(next, usable - counted);
        }
        if (owner != NULL) {
            ledger_lose(owner, before);
        }
    }
    return moved;
}

#endif
