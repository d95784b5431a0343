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
 * their tables. Where the place of a second block is not known here, it is taken for the account's.
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

static __attribute__((noinline)) void
add_blocks(const OwnPages *own, Whose *whose, PyObject *object, const TypeFacts *facts, size_t bytes)
{
    const void *second = second_block(object, facts);
    size_t of_second = second == NULL ? 0 : second_block_bytes(object, facts);
    size_t of_first = bytes > of_second ? bytes - of_second : 0;
    const char *first = (const char *)object - bytes_before_object(facts->type);
    int known = facts->walk == LASTING || native_base(facts->type) == &PyBaseObject_Type;
    add_block(own, whose, first, of_first, known);
    if (of_second) {
        add_block(own, whose, second, of_second, 1);
    }
}

/* An object of so many bytes. If it is on own pages, so is its second block, but for the table of a
 * dict: the interpreter keeps freed ones for everybody. */
static inline void
add_object(OwnPages *own, Whose *whose, PyObject *object, const TypeFacts *facts, size_t bytes)
{
    const void *table = facts->flags & TYPE_DICT ? dict_table(object) : NULL;
    if (UNLIKELY(bytes > SMALL || !is_on_own_page(own, object) || (table != NULL && !is_on_own_page(own, table)))) {
        add_blocks(own, whose, object, facts, bytes);
    }
}

#endif
