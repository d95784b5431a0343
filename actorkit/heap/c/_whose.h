/* Whose the blocks of an object are: on the account's own pages, in its ledger, or elsewhere. Part of
 * _walk.c.
 *
 * Theory of operation. The clock knows what an account has in use: small blocks on its own pages,
 * and large ones in its ledger. Of what a walk finds, it is told which part it does not know of
 * (`elsewhere`): what others have allocated, and what lies on others' pages. The rest can be compared
 * with the clock's figures. For that a ledger's blocks must count as the clock counts them, by the
 * bytes that the C library has made of them; `surplus` is the difference.
 *
 * Most objects are one small block on an own page: that costs a comparison or two. The C library is
 * asked only about blocks that certainly come from it: of Python classes and built-in types, and
 * their tables. Where the place of another block is not known here, it is whose the first one is.
 * What only an adapter knows of is elsewhere.
 *
 * References are borrowed, and the GIL is held. */

#ifndef ACTORKIT_HEAP_WHOSE_H
#define ACTORKIT_HEAP_WHOSE_H

#include "_blocks.h"
#include "_own_pages.h"

/* Of some bytes that a walk has found. */
typedef struct {
    size_t elsewhere; /* in blocks that the clock does not count among what the account has in use */
    size_t surplus;   /* by this much the ledger's blocks among the others are larger than they look */
} Whose;

/* One block, of so many bytes. */
static void
add_block(const OwnPages *own, Whose *whose, const void *block, size_t bytes, int from_library)
{
    if (bytes <= SMALL) {
        whose->elsewhere += own_page_of(own, block) ? 0 : bytes;
        return;
    }
    size_t usable = from_library && own->ledger != NULL ? owners->bytes_in_ledger(own->ledger, block) : 0;
    if (usable == 0) {
        whose->elsewhere += bytes;
    }
    else if (usable > bytes) {
        whose->surplus += usable - bytes;
    }
}

/* Is the block of this object certainly one of the C library, if it is a large one? Those of
 * built-in types and Python classes are; but some that the interpreter brings along are no blocks
 * at all, and have a count as if they never died. */
static inline int
is_from_library(PyObject *object, const TypeFacts *facts)
{
    return Py_REFCNT(object) < (Py_ssize_t)1 << 28
        && (facts->walk == LASTING || facts->flags & TYPE_CLASS || native_base(facts->type) == &PyBaseObject_Type);
}

static __attribute__((noinline)) void
add_blocks(const OwnPages *own, Whose *whose, PyObject *object, const TypeFacts *facts, size_t bytes)
{
    size_t of_table, of_first;
    const void *table = table_of(object, facts, &of_table);
    if (facts->sizer == SIZER_STR) {
        PyASCIIObject *text = (PyASCIIObject *)object;
        int one_block = text->state.compact && (text->state.ascii || ((PyCompactUnicodeObject *)object)->utf8 == NULL);
        of_first = one_block ? bytes : block_bytes(facts->header);
    }
    else {
        size_t inside = 0;
        if (facts->flags & TYPE_MANAGED_DICT) {
            (void)instance_values_bytes(object, facts->type, &inside);
        }
        of_first = first_block_bytes(object, facts, inside);
    }
    const char *first = (const char *)object - bytes_before_object(facts->type);
    add_block(own, whose, first, of_first, is_from_library(object, facts));
    if (of_table) {
        add_block(own, whose, table, of_table, Py_REFCNT(object) < (Py_ssize_t)1 << 28);
    }
    size_t others = bytes > of_first + of_table ? bytes - of_first - of_table : 0;
    if (others && of_first <= SMALL && !own_page_of(own, first)) {
        whose->elsewhere += others;
    }
}

/* An object of so many bytes. If it is on own pages, so is its second block, but for the table of a
 * dict: the interpreter keeps freed ones for everybody. */
static inline void
add_object(OwnPages *own, Whose *whose, PyObject *object, const TypeFacts *facts, size_t bytes)
{
    const void *table = facts->flags & TYPE_DICT ? dict_table((PyDictObject *)object) : NULL;
    if (UNLIKELY(bytes > SMALL || !is_on_own_page(own, object) || (table != NULL && !is_on_own_page(own, table)))) {
        add_blocks(own, whose, object, facts, bytes);
    }
}

/* Has the account allocated the block of this object itself? */
static int
is_its_own(const OwnPages *own, PyObject *object, const TypeFacts *facts)
{
    const char *first = (const char *)object - bytes_before_object(facts->type);
    if (first_block_bytes(object, facts, 0) <= SMALL) {
        return own_page_of(own, first) != 0;
    }
    return own->ledger != NULL && is_from_library(object, facts) && owners->bytes_in_ledger(own->ledger, first) != 0;
}

#endif
