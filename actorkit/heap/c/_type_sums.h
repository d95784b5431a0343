/* What a walk has counted, summed up by type. Part of _walk.c.
 *
 * References. A type that is met gets a reference of ours before any Python code can run; from then
 * on no record is looked at. The GIL is held. */

#ifndef ACTORKIT_HEAP_TYPE_SUMS_H
#define ACTORKIT_HEAP_TYPE_SUMS_H

#include "_table.h"

typedef struct {
    PyObject *type;
    Py_ssize_t count, bytes;
} TypeSum;

/* The records by type, in a table of `*slots`; each type in it has a reference of ours. Runs no
 * Python code and allocates nothing that the collector tracks: the objects live still. NULL if
 * there is no memory. */
static TypeSum *
gather_types(Walk *walk, size_t *slots)
{
    size_t used = 0;
    *slots = SMALL_TABLE;
    TypeSum *sums = calloc(*slots, sizeof *sums);
    for (size_t i = 0; sums != NULL && i < walk->counted_count; i++) {
        if ((used + 1) * 2 > *slots) {
            TypeSum *larger = calloc(*slots * 2, sizeof *sums);
            for (size_t k = 0; larger != NULL && k < *slots; k++) {
                if (sums[k].type != NULL) {
                    size_t slot = slot_of(sums[k].type) & (*slots * 2 - 1);
                    while (larger[slot].type != NULL) {
                        slot = (slot + 1) & (*slots * 2 - 1);
                    }
                    larger[slot] = sums[k];
                }
            }
            if (larger == NULL) {
                for (size_t k = 0; k < *slots; k++) {
                    Py_XDECREF(sums[k].type);
                }
            }
            free(sums);
            sums = larger;
            *slots *= 2;
            if (sums == NULL) {
                break;
            }
        }
        PyObject *type = (PyObject *)Py_TYPE(walk->counted[i].object);
        size_t slot = slot_of(type) & (*slots - 1);
        while (sums[slot].type != NULL && sums[slot].type != type) {
            slot = (slot + 1) & (*slots - 1);
        }
        if (sums[slot].type == NULL) {
            sums[slot].type = Py_NewRef(type);
            used++;
        }
        sums[slot].count++;
        sums[slot].bytes += (Py_ssize_t)walk->counted[i].bytes;
    }
    return sums;
}

/* {type: (count, bytes)} of what was counted, even if the walk has ended at its limit. A metaclass
 * may have a `__hash__` in Python, so no record is read once the first type goes into the dict. */
static PyObject *
sums_by_type(Walk *walk)
{
    size_t slots;
    TypeSum *sums = gather_types(walk, &slots);
    PyObject *result = sums == NULL ? PyErr_NoMemory() : PyDict_New();
    for (size_t i = 0; sums != NULL && i < slots; i++) {
        if (sums[i].type == NULL) {
            continue;
        }
        PyObject *row = result == NULL ? NULL : Py_BuildValue("(nn)", sums[i].count, sums[i].bytes);
        if (row == NULL || PyDict_SetItem(result, sums[i].type, row) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(row);
        Py_DECREF(sums[i].type);
    }
    free(sums);
    return result;
}

#endif
