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

/* How many generations there are. */
#define GENERATIONS NUM_GENERATIONS

/* What the collector knows of an object that may be a container (PyObject_IS_GC), and the way back. */
static inline PyGC_Head *
container_head(PyObject *object)
{
    return _Py_AS_GC(object);
}

static inline PyObject *
container_object(const PyGC_Head *container)
{
    return (PyObject *)(container + 1);
}

/* Does the collector know it at all? */
static inline int
is_tracked(const PyGC_Head *container)
{
    return container->_gc_next != 0;
}

/* A list of one's own, for as long as nothing else can run. */
static inline void
empty_list(PyGC_Head *list)
{
    list->_gc_next = list->_gc_prev = (uintptr_t)list;
}

/* Move a container to the end of another list. */
static inline void
move_to_list(PyGC_Head *container, PyGC_Head *list)
{
    PyGC_Head *next = next_in_generation(container), *previous = _PyGCHead_PREV(container);
    _PyGCHead_SET_NEXT(previous, next);
    _PyGCHead_SET_PREV(next, previous);
    PyGC_Head *last = (PyGC_Head *)list->_gc_prev; /* the head of a list has no flags */
    _PyGCHead_SET_NEXT(last, container);
    _PyGCHead_SET_PREV(container, last);
    _PyGCHead_SET_NEXT(container, list);
    list->_gc_prev = (uintptr_t)container;
}

/* A mark of one's own, for as long as nothing else can run: the collector's, which it sets and clears
 * only while it runs. */
static inline int
is_marked(const PyGC_Head *container)
{
    return (container->_gc_prev & _PyGC_PREV_MASK_COLLECTING) != 0;
}

static inline void
set_mark(PyGC_Head *container)
{
    container->_gc_prev |= _PyGC_PREV_MASK_COLLECTING;
}

static inline void
clear_mark(PyGC_Head *container)
{
    container->_gc_prev &= ~(uintptr_t)_PyGC_PREV_MASK_COLLECTING;
}

/* The functions that are called before and after each collection, a list, or NULL very early. */
static inline PyObject *
collector_callbacks(void)
{
    return _PyInterpreterState_GET()->gc.callbacks;
}

/* Tell the collector that the youngest generation has so many more. */
static inline void
count_as_young(Py_ssize_t containers)
{
    const Py_ssize_t most = 100000; /* the count is an int; it only says when to collect */
    _PyInterpreterState_GET()->gc.generations[YOUNGEST].count += (int)(containers < most ? containers : most);
}

#endif
