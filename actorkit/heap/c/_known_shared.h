/* What was shared when a message was last sized: objects that need not be looked into each time.
 * Part of _walk.c.
 *
 * Theory of operation. A message may refer to something that others hold too: a table, a
 * configuration. Whether only a collection would free it, together with the message, is found out by
 * looking into it (`_own_pass.h`), up to a cap. That would cost too much for each of many messages
 * that refer to the same. So what was found to be shared, or was too large to tell, is taken for
 * shared for some messages more: one after the first time, and twice as many after each further
 * time, up to a few thousand. The objects are known by address and type, in a small table where a
 * newcomer takes the place of another. An address may be used anew, so the verdict may be wrong for
 * a while: then a message is charged too little, as if what it holds were not private, and the next
 * look of the receiver finds it.
 *
 * References. None: addresses are compared, never followed. The GIL is held. */

#ifndef ACTORKIT_HEAP_KNOWN_SHARED_H
#define ACTORKIT_HEAP_KNOWN_SHARED_H

#include "_own_pages.h"

enum { VERDICTS = 64, MOST_TRUSTED = 4096 };

typedef struct {
    const PyObject *object;
    const PyTypeObject *type;
    uint32_t trusted, left; /* for so many messages; for so many more */
} Verdict;

static Verdict verdicts[VERDICTS];

static inline Verdict *
verdict_of(const PyObject *object)
{
    return &verdicts[((uintptr_t)object >> 4 ^ (uintptr_t)object >> 11) % VERDICTS];
}

/* Is it taken for shared, without a look? */
static inline int
is_known_shared(PyObject *object)
{
    Verdict *verdict = verdict_of(object);
    if (verdict->object != object || verdict->type != Py_TYPE(object) || verdict->left == 0) {
        return 0;
    }
    verdict->left--;
    return 1;
}

/* A look has found it shared, or was not able to tell. */
static void
remember_shared(PyObject *object)
{
    Verdict *verdict = verdict_of(object);
    uint32_t trusted = 1;
    if (verdict->object == object && verdict->type == Py_TYPE(object)) {
        trusted = verdict->trusted < MOST_TRUSTED ? 2 * verdict->trusted : MOST_TRUSTED;
    }
    *verdict = (Verdict){object, Py_TYPE(object), trusted, trusted};
}

static void
forget_shared(PyObject *object)
{
    Verdict *verdict = verdict_of(object);
    if (verdict->object == object) {
        *verdict = (Verdict){NULL, NULL, 0, 0};
    }
}

#endif
