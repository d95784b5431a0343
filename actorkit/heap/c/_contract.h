/* The contract between the two extensions, the clock and the walk.
 *
 * What the clock counts and what the walk finds must agree: the clock must never count less than
 * the walk finds, or an actor could hold more than it was charged with. So both round a request up
 * in the same way, to the block that an allocator makes of it, and the walk sizes the messages that
 * the clock charges. The sizing function passes from one to the other in a capsule, and what the
 * clock knows of whose a block is in another. */

#ifndef ACTORKIT_HEAP_CONTRACT_H
#define ACTORKIT_HEAP_CONTRACT_H

#include "../interpreter/_python.h" /* first: it prepares Python.h */

#include <stddef.h>

#define SMALL 512 /* pymalloc serves requests up to this size by itself */

/* The block that pymalloc makes of a request of 1 to SMALL bytes. */
static inline size_t
small_block(size_t request)
{
    return (request + 15) & ~(size_t)15;
}

/* The block that malloc makes of a larger request: a word for its size, rounded up to 16 bytes. */
static inline size_t
large_block(size_t request)
{
    return (request + sizeof(size_t) + 15) & ~(size_t)15;
}

/* What a message has of cycles. */
enum { CYCLES_CHARGED = 1, CYCLES_CAPPED = 2 /* or more, too many to look into */ };

/* At least the bytes of some objects that their receiver will own; -1 with an exception. What there
   is of cycles is added to `*cycles`. */
typedef Py_ssize_t (*MessageSizer)(PyObject *const *objects, Py_ssize_t count, int *cycles);

/* The attribute of the walk's module with a capsule that points to a MessageSizer. */
#define SIZER_ATTRIBUTE "_message_bound"
#define SIZER_CAPSULE "actorkit.heap.c._walk." SIZER_ATTRIBUTE

/* Whose memory it is. The heaps are identities: they are compared, never followed. All of it needs
   the GIL, allocates nothing and raises nothing. */
typedef struct {
    /* The heap whose pages this address lies on; NULL: it is on no account's own pages. */
    const void *(*heap_of_block)(const void *block);
    /* The heap of an account; NULL: it never had one, or this is no account (of C). */
    const void *(*heap_of_account)(PyObject *account);
    /* Call `each` with the start of each page of a heap that has blocks in use. */
    void (*pages_of_heap)(const void *heap, void (*each)(void *context, const void *page), void *context);
    /* The ledger of an account, an identity too; NULL: it has none. */
    const void *(*ledger_of_account)(PyObject *account);
    /* The bytes with which a large block of the C library stands in this ledger; 0: it does not. */
    size_t (*bytes_in_ledger)(const void *ledger, const void *block);
    /* At most what the owner of an account has allocated or received and still holds; 0 if this is no account
       (of C). */
    uint64_t (*held_at_most)(PyObject *account);
} HeapOwners;

/* The attribute of the clock's module with a capsule that points to a HeapOwners. */
#define OWNERS_ATTRIBUTE "_heap_owners"
#define OWNERS_CAPSULE "actorkit.heap.c._clock." OWNERS_ATTRIBUTE

#endif
