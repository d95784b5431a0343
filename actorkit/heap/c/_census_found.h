/* The census of all: what each of many records would free if it alone died. Part of _walk.c.
 *
 * Theory of operation. `_records.h` says how a record is read. There may be very many, so findings
 * are columns of 64-bit numbers, and no objects.
 *
 * References. A tuple of ours holds the records. The GIL is held. */

#ifndef ACTORKIT_HEAP_CENSUS_FOUND_H
#define ACTORKIT_HEAP_CENSUS_FOUND_H

#include "_records.h"

enum { COLUMN_BYTES, COLUMN_MAILBOX, COLUMN_OBJECTS, COLUMN_LEFTOVERS, COLUMNS };

/* Find out what one record holds. `dropped->bytes` is -1 for one that is left out. 0 with an
   exception. */
static int
find_held(Walk *walk, const Plan *plan, PyObject *record, Dropped *dropped)
{
    *dropped = (Dropped){-1, 0, 0, 0};
    if (is_plain(plan, record)) {
        return in_slot(record, plan->state) == plan->dead || drop_plain(walk, plan, record, 1, dropped);
    }
    Description description;
    if (!describe(plan, record, &description)) {
        return 0;
    }
    if (description.told == NULL) {
        return 1;
    }
    int fine = drop_described(walk, &description, 1, dropped);
    Py_DECREF(description.told);
    return fine;
}

PyDoc_STRVAR(census_found_doc, "census_found(records, plan, /)\n--\n\n"
"See actorkit.heap.walk.census_found.");

static PyObject *
walk_census_found(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *given, *plan_given;
    Plan plan = {.kind = NULL};
    if (!PyArg_ParseTuple(arguments, "OO:census_found", &given, &plan_given) || !read_plan(&plan, plan_given)) {
        return NULL;
    }
    PyObject *records = PySequence_Tuple(given), *suspects = records == NULL ? NULL : PyList_New(0);
    Py_ssize_t length = records == NULL ? 0 : PyTuple_GET_SIZE(records);
    PyObject *columns[COLUMNS] = {NULL};
    int64_t *numbers[COLUMNS];
    int fine = suspects != NULL;
    for (int i = 0; fine && i < COLUMNS; i++) {
        columns[i] = PyBytes_FromStringAndSize(NULL, length * (Py_ssize_t)sizeof(int64_t));
        fine = columns[i] != NULL;
        numbers[i] = fine ? (int64_t *)(void *)PyBytes_AS_STRING(columns[i]) : NULL;
    }
    Walk *walk = fine ? begin_walk() : NULL;
    fine = walk != NULL;
    for (Py_ssize_t i = 0; fine && i < length; i++) {
        PyObject *record = PyTuple_GET_ITEM(records, i);
        Dropped dropped;
        fine = find_held(walk, &plan, record, &dropped) && suspect(suspects, &plan, record, i, &dropped) == 0;
        numbers[COLUMN_BYTES][i] = dropped.bytes;
        numbers[COLUMN_MAILBOX][i] = dropped.mailbox;
        numbers[COLUMN_OBJECTS][i] = dropped.objects;
        numbers[COLUMN_LEFTOVERS][i] = dropped.leftovers;
    }
    PyObject *result = NULL;
    if (walk != NULL) {
        int exact = !walk->inexact;
        if (!fine && PyErr_Occurred()) {
            walk->raised = 1;
        }
        fine = end_walk(walk) && fine;
        if (fine) {
            result = Py_BuildValue("(OOOOOi)", columns[COLUMN_BYTES], columns[COLUMN_MAILBOX],
                                   columns[COLUMN_OBJECTS], columns[COLUMN_LEFTOVERS], suspects, exact);
        }
    }
    for (int i = 0; i < COLUMNS; i++) {
        Py_XDECREF(columns[i]);
    }
    Py_XDECREF(suspects);
    Py_XDECREF(records);
    return result;
}

#endif
