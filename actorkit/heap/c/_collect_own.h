/* Collecting the garbage of one account. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * Cyclic garbage that has lived through two young collections waits in the oldest generation for a
 * full collection, which visits everything there is. Here only the containers of one account are
 * moved to the youngest generation, and CPython's own collector collects that: finalisers, weak
 * references and all else are its affair.
 *
 * The account's containers are those on its own pages, and large ones in its ledger. Searching the
 * collector's lists for them costs about 100 ns each. A cycle may also lead through containers that
 * lie elsewhere: their heads came from the interpreter's free lists, or were made before the account
 * had pages. So what the account's containers refer to is moved too, and what that refers to, up to
 * FOREIGN_CAP containers in all. Classes and modules are not, and neither are long tables most of
 * whose entries belong to others. What is not moved counts as a holder for the collector, so a
 * wrong choice only means that garbage stays, or that some garbage of others goes, too.
 *
 * The GIL. All of it is needed. Nothing is allocated and no code runs until the collector does. */

#ifndef ACTORKIT_HEAP_COLLECT_OWN_H
#define ACTORKIT_HEAP_COLLECT_OWN_H

#include "../interpreter/_collector.h"
#include "../interpreter/_layout.h"
#include "_guards.h"

#define FOREIGN_CAP 4096 /* so many containers of others may be looked at */
#define LONG_TABLE 512   /* a container with more entries is looked at only if they are the account's */
#define SAMPLES 16

#ifdef HAVE_SLABS

typedef struct {
    Account *account;
    PyGC_Head list;     /* the containers that were gathered; each has a mark */
    Py_ssize_t number;  /* of them */
    Py_ssize_t foreign; /* how many containers of others were met */
} Gathering;

/* The bytes that were asked for a container, or less; 0: not known. Only where the size follows from
   the type for certain: generators, for one, have no ob_size. */
static size_t
bytes_of_container(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    if (type->tp_itemsize == 0) {
        return (size_t)type->tp_basicsize;
    }
    if (PyTuple_CheckExact(object)) {
        return sizeof(PyTupleObject) + (size_t)PyTuple_GET_SIZE(object) * sizeof(PyObject *) - sizeof(PyObject *);
    }
    return PyType_Check(object) ? sizeof(PyHeapTypeObject) : 0; /* a tracked class is made of a heap type */
}

static bool
is_of_account(const Account *account, const PyGC_Head *container)
{
    if (slab_is_ours(container)) {
        return account->heap != NULL && page_of(container)->heap == account->heap;
    }
    PyObject *object = container_object(container);
    if (account->ledger == NULL || bytes_of_container(object) <= SMALL) {
        return false;
    }
    void *block = (char *)object - bytes_before_object(Py_TYPE(object));
    return ledger_of_block(block, size_of(block)) == account->ledger;
}

static void
gather(Gathering *all, PyGC_Head *container)
{
    move_to_list(container, &all->list);
    set_mark(container);
    all->number++;
}

static bool
is_container_of_account(const Account *account, PyObject *object)
{
    return PyObject_IS_GC(object) && is_of_account(account, container_head(object));
}

/* Of so many entries some are looked at: are at least half of them the account's? */
static bool
are_mostly_its(const Account *account, PyObject **entries, Py_ssize_t length)
{
    int found = 0;
    for (Py_ssize_t i = 0; i < SAMPLES; i++) {
        PyObject *entry = entries[i * (length / SAMPLES)];
        found += entry != NULL && is_container_of_account(account, entry);
    }
    return 2 * found >= SAMPLES;
}

/* May this container of somebody else's be looked at? */
static bool
is_worth_a_look(const Account *account, PyObject *object)
{
    if (PyList_CheckExact(object) && PyList_GET_SIZE(object) > LONG_TABLE) {
        return are_mostly_its(account, ((PyListObject *)object)->ob_item, PyList_GET_SIZE(object));
    }
    if (PyTuple_CheckExact(object) && PyTuple_GET_SIZE(object) > LONG_TABLE) {
        return are_mostly_its(account, ((PyTupleObject *)object)->ob_item, PyTuple_GET_SIZE(object));
    }
    if (PyDict_CheckExact(object) && PyDict_GET_SIZE(object) > LONG_TABLE) {
        int found = 0, seen = 0;
        Py_ssize_t position = 0;
        PyObject *value;
        while (seen < SAMPLES && PyDict_Next(object, &position, NULL, &value)) {
            found += is_container_of_account(account, value);
            seen++;
        }
        return 2 * found >= seen;
    }
    return !(PyAnySet_CheckExact(object) && PySet_GET_SIZE(object) > LONG_TABLE);
}

static int
gather_referent(PyObject *object, void *context)
{
    Gathering *all = context;
    if (all->foreign < FOREIGN_CAP && PyObject_IS_GC(object) && !PyType_Check(object) && !PyModule_Check(object)) {
        PyGC_Head *container = container_head(object);
        if (is_tracked(container) && !is_marked(container)) { /* the account's have marks already */
            all->foreign++;
            if (is_worth_a_look(all->account, object)) {
                gather(all, container);
            }
        }
    }
    return 0;
}

/* Move the account's containers to the youngest generation, and with them those that a cycle may
   lead through. Returns how many that are. */
static Py_ssize_t
make_own_young(Account *account)
{
    Gathering all = {.account = account};
    empty_list(&all.list);
    PyGC_Head *container, *next;
    for (int generation = YOUNGEST; generation < GENERATIONS; generation++) {
        PyGC_Head *list = generation_list(generation);
        for (container = next_in_generation(list); container != list; container = next) {
            next = next_in_generation(container);
            __builtin_prefetch(next);
            if (is_of_account(account, container)) {
                gather(&all, container);
            }
        }
    }
    for (container = next_in_generation(&all.list); container != &all.list; container = next_in_generation(container)) {
        PyObject *object = container_object(container); /* the list grows at its end meanwhile */
        (void)Py_TYPE(object)->tp_traverse(object, gather_referent, &all);
    }
    PyGC_Head *young = generation_list(YOUNGEST);
    for (container = next_in_generation(&all.list); container != &all.list; container = next) {
        next = next_in_generation(container);
        clear_mark(container);
        move_to_list(container, young);
    }
    count_as_young(all.number);
    return all.number;
}

#endif

PyDoc_STRVAR(collect_own_doc, "collect_own(account, /)\n--\n\n"
"Collect the cyclic garbage among what the account has allocated, however old it is, and hardly any other. Returns\n"
"the bytes of its own that this has freed; 0 where it cannot be had, or while a collection runs.");

static PyObject *
clock_collect_own(PyObject *Py_UNUSED(module), PyObject *argument)
{
    if (!Py_IS_TYPE(argument, &AccountType)) {
        PyErr_Format(PyExc_TypeError, "collect_own takes an Account, not %.100s", Py_TYPE(argument)->tp_name);
        return NULL;
    }
    uint64_t freed = 0;
#ifdef HAVE_SLABS
    Account *account = (Account *)argument, *aside = step_aside();
    PyObject *collector = PyImport_ImportModule("gc");
    PyObject *result = collector == NULL ? NULL : Py_NewRef(Py_None);
    if (result != NULL && !collector_is_running()) {
        uint64_t before = account_own_live(account) + account_large_live(account);
        if (make_own_young(account) > 0) {
            Py_SETREF(result, PyObject_CallMethod(collector, "collect", "i", YOUNGEST));
        }
        uint64_t after = account_own_live(account) + account_large_live(account);
        freed = before > after ? before - after : 0;
    }
    Py_XDECREF(collector);
    step_back(aside);
    if (result == NULL) {
        return NULL;
    }
    Py_DECREF(result);
#endif
    return PyLong_FromUnsignedLongLong(freed);
}

#endif
