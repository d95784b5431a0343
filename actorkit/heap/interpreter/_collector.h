/* The lists of CPython's garbage collector, version by version.
 *
 * Theory of operation. All containers that are tracked hang in three lists, by generation, each with
 * a head of its own. A container may be moved from one to another as long as no collection runs:
 * collections do nothing else. Whoever moves it tells the younger list that it has grown.
 *
 * References. What these functions return is borrowed. The GIL is held. */

#ifndef ACTORKIT_INTERPRETER_COLLECTOR_H
#define ACTORKIT_INTERPRETER_COLLECTOR_H

#include "_python.h" /* first: it prepares Python.h */

#define YOUNGEST 0

/* Does a collection run? Then its lists are not in order. */
static inline int
collector_is_running(void)
{
    return _PyInterpreterState_GET()->gc.collecting;
}

/* The head of the list of one generation. It is no container itself. */
static inline PyGC_Head *
generation_list(int generation)
{
    return &_PyInterpreterState_GET()->gc.generations[generation].head;
}

static inline PyGC_Head *
next_in_generation(const PyGC_Head *container)
{
    return (PyGC_Head *)container->_gc_next; /* no flags in it as long as no collection runs */
}

/* Move a container to the end of the youngest generation. */
static inline void
make_youngest(PyGC_Head *container)
{
    PyGC_Head *next = next_in_generation(container), *previous = _PyGCHead_PREV(container);
    _PyGCHead_SET_NEXT(previous, next);
    _PyGCHead_SET_PREV(next, previous);
    PyGC_Head *young = generation_list(YOUNGEST), *last = (PyGC_Head *)young->_gc_prev;
    _PyGCHead_SET_NEXT(last, container);
    _PyGCHead_SET_PREV(container, last);
    _PyGCHead_SET_NEXT(container, young);
    young->_gc_prev = (uintptr_t)container;
}

/* Tell the collector that the youngest generation has so many more. */
static inline void
count_as_young(Py_ssize_t containers)
{
    const Py_ssize_t most = 100000; /* the count is an int; it only says when to collect */
    _PyInterpreterState_GET()->gc.generations[YOUNGEST].count += (int)(containers < most ? containers : most);
}

#endif
