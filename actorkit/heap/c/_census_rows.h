/* The census for a ranking: of many records those that would free the most, or are most over their
 * limits. Part of _walk.c.
 *
 * Theory of operation. `_records.h` says how a record is read; here its *group* leads to its rank,
 * and its *account* to a limit.
 *
 * A ranking needs only the best of each group, and 100,000 rows would cost as much as the walk for
 * them. So findings are kept as numbers. Of each group only the `best` so many are kept among those
 * that hold at least `floor` bytes, and as many among the others (in heaps with the worst at the
 * root). Rows are made of these at the end. The counts and sums of a group cover all of its
 * members.
 *
 * References. A tuple of ours holds the records. The GIL is held. */

#ifndef ACTORKIT_HEAP_CENSUS_ROWS_H
#define ACTORKIT_HEAP_CENSUS_ROWS_H

#include "_records.h"

enum { RANKS = 8, GROUPS = RANKS * 4 };

/* A record that holds something: its place among the records, its bytes, and bytes / limit (0: no
   limit). */
typedef struct {
    Py_ssize_t index, bytes;
    double over;
} Found;

/* The best of some records, as a heap: the worst of them first. */
typedef struct {
    Found *found;
    Py_ssize_t count, room;
} Best;

typedef struct {
    Best large, small;
    Found largest;
    Py_ssize_t count;
    size_t bytes;
} FoundGroup;

typedef struct {
    Plan plan;
    PyObject *ranks; /* the ranks of the groups met so far */
    PyObject *cycles;    /* what is known of their private cycles: {record: (bytes, elsewhere)} */
    PyObject *suspects;  /* a list for those who may hold much more; NULL: nobody asks */
    Py_ssize_t best;  /* rows of a group at most, with at least `floor` bytes, and again with less */
    Py_ssize_t floor;
    FoundGroup groups[GROUPS];
} Census;

/* What is known of one record: its rank (borrowed; None: it is left out), its state and its
   limit. */
typedef struct {
    PyObject *rank;
    int idle;
    double limit;
} Standing;

static int
plain_standing(Census *census, PyObject *record, Standing *standing)
{
    PyObject *group = in_slot(record, census->plan.group);
    *standing = (Standing){PyDict_GetItemWithError(census->ranks, group), 0, 0.0};
    if (standing->rank == NULL) {
        if (PyErr_Occurred()) {
            return 0;
        }
        Py_INCREF(group);
        PyObject *rank = PyObject_CallOneArg(census->plan.rank_of, group);
        int status = rank == NULL ? -1 : PyDict_SetItem(census->ranks, group, rank);
        Py_DECREF(group);
        Py_XDECREF(rank);
        if (status < 0) {
            return 0;
        }
        standing->rank = rank; /* the dictionary holds it */
    }
    standing->idle = in_slot(record, census->plan.state) == census->plan.idle;
    PyObject *step = Py_XNewRef(in_slot(record, census->plan.account));
    for (Py_ssize_t i = 0; step != NULL && step != Py_None && i < PyTuple_GET_SIZE(census->plan.limit); i++) {
        Py_SETREF(step, PyObject_GetAttr(step, PyTuple_GET_ITEM(census->plan.limit, i)));
        if (step == NULL) {
            return 0;
        }
    }
    if (step != NULL && step != Py_None) {
        standing->limit = PyFloat_AsDouble(step);
    }
    Py_XDECREF(step);
    return !PyErr_Occurred();
}

/* Does one rank after the other? It is less over its limit, or smaller, or later in the list. */
static inline int
is_worse(const Found *one, const Found *other)
{
    if (one->over != other->over) {
        return one->over < other->over;
    }
    return one->bytes != other->bytes ? one->bytes < other->bytes : one->index > other->index;
}

/* Restore the heap after a change of its root. */
static void
sink_root(Found *found, Py_ssize_t count)
{
    Found root = found[0];
    Py_ssize_t at = 0;
    for (Py_ssize_t child = 1; child < count; child = 2 * at + 1) {
        child += child + 1 < count && is_worse(&found[child + 1], &found[child]);
        if (!is_worse(&found[child], &root)) {
            break;
        }
        found[at] = found[child];
        at = child;
    }
    found[at] = root;
}

/* Restore the heap after one more was put at its end. */
static void
rise_last(Found *found, Py_ssize_t count)
{
    Found last = found[count - 1];
    Py_ssize_t at = count - 1;
    for (Py_ssize_t parent; at > 0 && is_worse(&last, &found[parent = (at - 1) / 2]); at = parent) {
        found[at] = found[parent];
    }
    found[at] = last;
}

/* Keep a record if it is among the best. 0 with an exception. */
static int
keep_best(Best *kept, Py_ssize_t best, const Found *found)
{
    if (kept->count == best) {
        if (best > 0 && is_worse(&kept->found[0], found)) {
            kept->found[0] = *found;
            sink_root(kept->found, best);
        }
        return 1;
    }
    if (kept->count == kept->room) {
        Py_ssize_t room = kept->room ? 2 * kept->room : 64;
        Found *grown = PyMem_RawRealloc(kept->found, (size_t)room * sizeof(Found));
        if (grown == NULL) {
            PyErr_NoMemory();
            return 0;
        }
        kept->found = grown;
        kept->room = room;
    }
    kept->found[kept->count++] = *found;
    rise_last(kept->found, kept->count);
    return 1;
}

static int
add_found(Census *census, Py_ssize_t index, const Standing *standing, Py_ssize_t bytes)
{
    long rank = PyLong_AsLong(standing->rank);
    if (rank < 0 || rank >= RANKS) {
        if (!PyErr_Occurred()) {
            PyErr_Format(PyExc_ValueError, "a rank must be 0 to %d, not %ld", RANKS - 1, rank);
        }
        return 0;
    }
    int limited = standing->limit > 0;
    Found found = {index, bytes, limited ? (double)bytes / standing->limit : 0.0};
    FoundGroup *group = &census->groups[(int)rank * 4 + standing->idle * 2 + limited];
    group->bytes += (size_t)bytes;
    if (group->count++ == 0 || bytes > group->largest.bytes) {
        group->largest = found;
    }
    return keep_best(bytes >= census->floor ? &group->large : &group->small, census->best, &found);
}

/* Add what is known of a record's private cycles to what it was found to hold, as far as so much may
   be in use. 0 with an exception. */
static int
add_cycles(const Census *census, PyObject *record, Dropped *dropped)
{
    PyObject *known = census->cycles == NULL ? NULL : PyDict_GetItemWithError(census->cycles, record);
    if (known == NULL) {
        return !PyErr_Occurred();
    }
    Py_ssize_t bytes, elsewhere;
    if (!PyArg_ParseTuple(known, "nn", &bytes, &elsewhere)) {
        return 0;
    }
    PyObject *account = PyObject_TypeCheck(record, census->plan.kind) ? in_slot(record, census->plan.account) : NULL;
    Py_ssize_t most = account == NULL ? 0 : held_at_most(account);
    if (most > 0 && bytes > most + elsewhere - dropped->bytes) {
        bytes = most + elsewhere - dropped->bytes;
    }
    dropped->bytes += bytes > 0 ? bytes : 0;
    return 1;
}

/* Count what a record was found to hold. 0 with an exception. */
static int
count_dropped(Census *census, Py_ssize_t index, PyObject *record, const Standing *standing, Dropped *dropped)
{
    return add_cycles(census, record, dropped)
        && (census->suspects == NULL || suspect(census->suspects, &census->plan, record, index, dropped) == 0)
        && (dropped->bytes == 0 || add_found(census, index, standing, dropped->bytes));
}

/* Count a record as the plan's function describes it. */
static int
count_described(Walk *walk, Census *census, Py_ssize_t index, PyObject *record)
{
    Description description;
    if (!describe(&census->plan, record, &description)) {
        return 0;
    }
    if (description.told == NULL) {
        return 1;
    }
    Standing standing = {description.rank, description.idle, description.limit};
    Dropped dropped;
    int fine = drop_described(walk, &description, census->suspects != NULL, &dropped)
        && count_dropped(census, index, record, &standing, &dropped);
    Py_DECREF(description.told);
    return fine;
}

static int
count_plain(Walk *walk, Census *census, Py_ssize_t index, PyObject *record)
{
    Standing standing;
    if (in_slot(record, census->plan.state) == census->plan.dead) {
        return 1;
    }
    if (!plain_standing(census, record, &standing)) {
        return 0;
    }
    if (standing.rank == Py_None) {
        return 1;
    }
    if (!is_plain(&census->plan, record)) { /* Python code has run meanwhile, and may have changed it */
        return count_described(walk, census, index, record);
    }
    Dropped dropped;
    return drop_plain(walk, &census->plan, record, census->suspects != NULL, &dropped)
        && count_dropped(census, index, record, &standing, &dropped);
}

static int
by_index(const void *one, const void *other)
{
    Py_ssize_t first = ((const Found *)one)->index, second = ((const Found *)other)->index;
    return (first > second) - (first < second);
}

/* (record, rank, idle, over, bytes) of a member of the group with this number. */
static PyObject *
row_of(PyObject *records, int number, const Found *found)
{
    PyObject *over = number % 2 ? PyFloat_FromDouble(found->over) : Py_NewRef(Py_None);
    PyObject *rank = PyLong_FromLong(number / 4), *size = PyLong_FromSsize_t(found->bytes);
    PyObject *row = over == NULL || rank == NULL || size == NULL ? NULL : PyTuple_New(5);
    if (row == NULL) {
        Py_XDECREF(over);
        Py_XDECREF(rank);
        Py_XDECREF(size);
        return NULL;
    }
    PyTuple_SET_ITEM(row, 0, Py_NewRef(PyTuple_GET_ITEM(records, found->index)));
    PyTuple_SET_ITEM(row, 1, rank);
    PyTuple_SET_ITEM(row, 2, PyBool_FromLong(number / 2 % 2));
    PyTuple_SET_ITEM(row, 3, over);
    PyTuple_SET_ITEM(row, 4, size);
    return row;
}

/* (rows, count, bytes, largest); the rows in the order of the records. */
static PyObject *
group_found(PyObject *records, int number, const FoundGroup *group)
{
    Py_ssize_t large = group->large.count, small = group->small.count, count = large + small;
    Found *found = count ? PyMem_RawMalloc((size_t)count * sizeof(Found)) : NULL;
    if (count && found == NULL) {
        return PyErr_NoMemory();
    }
    if (large) {
        memcpy(found, group->large.found, (size_t)large * sizeof(Found));
    }
    if (small) {
        memcpy(found + large, group->small.found, (size_t)small * sizeof(Found));
    }
    if (count) {
        qsort(found, (size_t)count, sizeof(Found), by_index);
    }
    PyObject *rows = PyList_New(count), *largest = row_of(records, number, &group->largest);
    int fine = rows != NULL && largest != NULL;
    for (Py_ssize_t i = 0; fine && i < count; i++) {
        PyObject *row = row_of(records, number, &found[i]);
        fine = row != NULL;
        PyList_SET_ITEM(rows, i, row);
    }
    PyMem_RawFree(found);
    PyObject *result = fine ? Py_BuildValue("(OnnO)", rows, group->count, (Py_ssize_t)group->bytes, largest) : NULL;
    Py_XDECREF(rows);
    Py_XDECREF(largest);
    return result;
}

/* {(rank, idle, has a limit): (rows, count, bytes, largest)} */
static PyObject *
groups_found(const Census *census, PyObject *records)
{
    PyObject *result = PyDict_New();
    for (int i = 0; result != NULL && i < GROUPS; i++) {
        if (census->groups[i].count == 0) {
            continue;
        }
        PyObject *key = Py_BuildValue("(iNN)", i / 4, PyBool_FromLong(i / 2 % 2), PyBool_FromLong(i % 2));
        PyObject *group = key == NULL ? NULL : group_found(records, i, &census->groups[i]);
        if (group == NULL || PyDict_SetItem(result, key, group) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(key);
        Py_XDECREF(group);
    }
    return result;
}

PyDoc_STRVAR(census_rows_doc, "census_rows(records, plan, best, floor, cycles, suspects, /)\n--\n\n"
"See actorkit.heap.walk.census_rows.");

static PyObject *
walk_census_rows(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    Census census = {.best = PY_SSIZE_T_MAX};
    if (count != 6 || !(arguments[4] == Py_None || PyDict_CheckExact(arguments[4]))
        || !(arguments[5] == Py_None || PyList_CheckExact(arguments[5]))) {
        PyErr_SetString(PyExc_TypeError,
                        "census_rows() takes records, a plan, a number of rows or None, a number of bytes, a dict "
                        "of cycles or None, and a list for suspects or None");
        return NULL;
    }
    census.cycles = arguments[4] != Py_None && PyDict_GET_SIZE(arguments[4]) ? arguments[4] : NULL;
    census.suspects = arguments[5] != Py_None ? arguments[5] : NULL;
    census.floor = PyLong_AsSsize_t(arguments[3]);
    if (census.floor == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (arguments[2] != Py_None) {
        census.best = PyLong_AsSsize_t(arguments[2]);
        if (census.best < 0) {
            if (!PyErr_Occurred()) {
                PyErr_Format(PyExc_ValueError, "best must be 0 or more, or None, not %zd", census.best);
            }
            return NULL;
        }
    }
    if (!read_plan(&census.plan, arguments[1])) {
        return NULL;
    }
    PyObject *plan = Py_NewRef(arguments[1]), *result = NULL;
    PyObject *records = PySequence_Tuple(arguments[0]);
    census.ranks = records == NULL ? NULL : PyDict_New();
    Walk *walk = census.ranks == NULL ? NULL : begin_walk();
    int fine = walk != NULL;
    for (Py_ssize_t i = 0; fine && i < PyTuple_GET_SIZE(records); i++) {
        PyObject *record = PyTuple_GET_ITEM(records, i);
        fine = (is_plain(&census.plan, record) ? count_plain : count_described)(walk, &census, i, record);
    }
    if (walk != NULL) {
        if (!fine && PyErr_Occurred()) {
            walk->raised = 1;
        }
        fine = end_walk(walk) && fine;
    }
    if (fine) {
        result = groups_found(&census, records);
    }
    for (int i = 0; i < GROUPS; i++) {
        PyMem_RawFree(census.groups[i].large.found);
        PyMem_RawFree(census.groups[i].small.found);
    }
    Py_XDECREF(census.ranks);
    Py_XDECREF(records);
    Py_DECREF(plan);
    return result;
}

#endif
