/* The allocation clock: how many bytes the code of each account has allocated, counted as it
 * happens.
 *
 * Theory of operation
 * ===================
 *
 * `PyMem_SetAllocator` lets us stand in front of the interpreter's allocators. Each thread has a
 * pointer to the account that its code works for, or NULL: nobody's. Our hooks add each request to
 * that account, and the account's thresholds decide what follows: an alarm in the middle of the
 * code, a look at the next boundary, a refusal, pages of its own. The thresholds are gross: frees are
 * not counted. What is still alive is known beside that, and tells whether looking is worth while.
 *
 * It is one translation unit, so that the compiler inlines the hooks whole. The parts, each with
 * its own theory and each including those that it builds on, lowest first:
 *
 *     ../interpreter   the insides of CPython, version by version
 *     _compiler.h      what is asked of the compiler
 *     _contract.h      what the clock and the walk agree on
 *     _pages.h         pages for heaps: where they come from, and how they go back to the system
 *     _heaps.h         the small blocks of one account, on pages of its own
 *     _ledger.h        the large blocks of one account, by a trailer at the end of each
 *     _account.h       an account: its counters and thresholds, and who gets a heap of its own
 *     _alarm.h         the interruption in the middle of running code
 *     _nobody.h        functions whose allocations are charged to no account
 *     _counting.h      what a request adds to an account, and which requests are refused
 *     _hooks.h         the allocators that stand in front of the interpreter's own
 *     _guards.h        imports and collections in nobody's account
 *     _collect_own.h   collecting the garbage of one account
 *     _record_slots.h  where an actor's record keeps its account and its mailbox
 *     _arrivals.h      charging an account with the messages that its actor receives
 *     _account_type.h  the account as Python sees it
 *     _clock.c         entering and leaving, installing, the module
 *
 * References. The pointer to a thread's account *owns a reference*, so an account cannot be freed
 * while a thread is in it, even a thread that has released the GIL. It is exchanged, and references
 * are counted, only by that thread and with the GIL; never inside an allocator hook. A thread that
 * ends inside an account leaves that one reference behind: leave the account first
 * (`actorkit.heap.threads` does). After a fork, accounts that other threads of the parent were in
 * stay referenced.
 *
 * The GIL. Everything in this file runs with it. `_counting.h` and `_hooks.h` say what the hooks do
 * without it.
 *
 * Shutdown. At exit (atexit) the clock stops counting and leaves the account; from then on the
 * hooks only pass requests on.
 *
 * Subinterpreters and free-threaded builds are not supported: the allocators belong to the process,
 * and the accounts to one GIL. */

#include "../interpreter/_python.h" /* first: it prepares Python.h */

#if !defined(__GNUC__)
#error "the allocation clock needs the atomic built-ins of GCC or Clang; elsewhere there is the portable clock"
#endif

#include "_account_type.h"
#include "_collect_own.h"
#include "_guards.h"
#include "_hooks.h"
#include "_nobody.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

#define LOOK_MASK 1023 /* an account is due after so many activations anyway: freelists are not counted */

static PyObject *boundary_function; /* owned; NULL if none was given */
static Py_ssize_t installations;    /* the number of users */

/* --- Entering and leaving --------------------------------------------------------------------- */

/* Let the thread be in another account, or in none. Returns the reference that it held. */
static inline Account *
exchange(Account *next)
{
    Account *previous = entered;
    if (next != NULL) {
        Py_INCREF((PyObject *)next);
        next->activation++;
    }
    entered = next;
    return previous;
}

static PyObject *
as_object(Account *account)
{
    return account != NULL ? (PyObject *)account : Py_NewRef(Py_None);
}

/* The account that an argument is: NULL for None. -1 with an exception for anything else. */
static inline int
as_account(PyObject *object, Account **account)
{
    if (LIKELY(Py_TYPE(object) == &AccountType)) {
        *account = (Account *)object;
        return 0;
    }
    *account = NULL;
    if (object == Py_None) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "the account must be an Account or None, not %.100s", Py_TYPE(object)->tp_name);
    return -1;
}

PyDoc_STRVAR(enter_doc, "enter(account, /)\n--\n\n"
"Count this thread's allocations to the account (None: nobody's). Returns the former one, to be entered again\n"
"afterwards.");

static PyObject *
clock_enter(PyObject *Py_UNUSED(module), PyObject *argument)
{
    Account *account;
    if (as_account(argument, &account) < 0) {
        return NULL;
    }
    return as_object(exchange(account));
}

PyDoc_STRVAR(current_doc, "current()\n--\n\nThe account that this thread is in, or None.");

static PyObject *
clock_current(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    Account *account = entered;
    Py_XINCREF((PyObject *)account);
    return as_object(account);
}

static Account *others; /* owned; in which `switch` lets those run who have none */

PyDoc_STRVAR(others_in_doc, "others_in(account, /)\n--\n\n"
"Let `switch` enter this account for records that have none. None: they are in nobody's.");

static PyObject *
clock_others_in(PyObject *Py_UNUSED(module), PyObject *argument)
{
    Account *account, *former = others;
    if (as_account(argument, &account) < 0) {
        return NULL;
    }
    others = (Account *)Py_XNewRef((PyObject *)account);
    Py_XDECREF((PyObject *)former);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(switch_doc, "switch(record, /)\n--\n\n"
"Enter the account of a record: its attribute `account`. None, or a record without one, is nobody's.");

static PyObject *
clock_switch(PyObject *Py_UNUSED(module), PyObject *record)
{
    Account *account = NULL;
    PyObject *found = NULL; /* owned; only if the slot could not be read */
    if (record != Py_None) {
        RecordSlots *known = slots_of(Py_TYPE(record));
        PyObject *value;
        if (LIKELY(known != NULL)) {
            value = SLOT(record, known->account);
        }
        else {
            value = found = PyObject_GetAttr(record, account_name);
            if (found == NULL) {
                if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
                    return NULL;
                }
                PyErr_Clear();
            }
        }
        if (value != NULL && as_account(value, &account) < 0) {
            Py_XDECREF(found);
            return NULL;
        }
    }
    if (account == NULL && record != Py_None) {
        account = others;
    }
    Account *previous = exchange(account);
    Py_XDECREF(found);
    if (previous == NULL) {
        Py_RETURN_NONE;
    }
    if (UNLIKELY((previous->activation & LOOK_MASK) == 0)) {
        STORE(previous->due, 1);
    }
    PyObject *result = NULL;
    if (UNLIKELY(LOAD(previous->due)) && boundary_function != NULL && !account_is_quiet(previous)) {
        result = PyObject_CallOneArg(boundary_function, (PyObject *)previous);
    }
    else {
        result = Py_NewRef(Py_None);
    }
    Py_DECREF(previous); /* may run any code, so it comes last; the exchange is complete */
    return result;
}

/* --- Installing ------------------------------------------------------------------------------- */

PyDoc_STRVAR(install_doc, "install(alarm, boundary=None, /)\n--\n\n"
"Begin to count, or count one more user of the clock. `alarm(account, activation)` is called in the main\n"
"thread when the account that it is in has reached its soft threshold. `boundary(account)` is called when\n"
"`switch` leaves an account that is due.\n"
"One alarm serves all users: a different one is a ValueError while the clock is installed.");

static PyObject *
clock_install(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *alarm, *boundary = Py_None;
    if (!PyArg_ParseTuple(arguments, "O|O:install", &alarm, &boundary)) {
        return NULL;
    }
    if (!PyCallable_Check(alarm) || !(boundary == Py_None || PyCallable_Check(boundary))) {
        PyErr_Format(PyExc_TypeError, "the alarm and the boundary must be callable, not %.100s and %.100s",
                     Py_TYPE(alarm)->tp_name, Py_TYPE(boundary)->tp_name);
        return NULL;
    }
    if (installations > 0) {
        int same = PyObject_RichCompareBool(alarm_function, alarm, Py_EQ);
        if (same < 0) {
            return NULL;
        }
        if (!same) {
            PyErr_SetString(PyExc_ValueError, "the clock is installed with another alarm, and one alarm serves all: "
                                              "tell accounts apart by account.owner");
            return NULL;
        }
    }
    else {
        if (put_hooks() < 0 || set_guards(true) < 0) {
            return NULL;
        }
        alarm_function = Py_NewRef(alarm);
        boundary_function = boundary == Py_None ? NULL : Py_NewRef(boundary);
        STORE(counting, true);
    }
    installations++;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(uninstall_doc, "uninstall()\n--\n\n"
"One user less; after the last, stop counting and take the hooks away. Returns False if users are left, or if\n"
"the hooks had to stay, dormant, because another hook stands on top of them. They also stay, and only pass\n"
"requests on, while blocks of accounts' own heaps or in their ledgers are alive.");

static PyObject *
clock_uninstall(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    if (installations == 0) {
        Py_RETURN_TRUE;
    }
    if (--installations > 0) {
        Py_RETURN_FALSE;
    }
    STORE(counting, false);
    if (set_guards(false) < 0) {
        return NULL;
    }
    bool lost = true, removable = true;
    for (int i = 0; i < DOMAINS; i++) {
        lost = lost && !is_heard(i);
        removable = removable && on_top(i);
    }
    if (removable && slab_statistics.pages == 0 && ledgers_live() == 0) {
        /* A hook of an earlier installation may lie further down, beneath somebody else's: it
           stays, dormant. */
        for (int i = 0; i < DOMAINS; i++) {
            PyMem_SetAllocator(domains[i], hooks[i]);
        }
    }
    Py_CLEAR(alarm_function);
    Py_CLEAR(boundary_function);
    return PyBool_FromLong(removable || lost);
}

PyDoc_STRVAR(installed_doc, "installed()\n--\n\nHas the clock been installed, and not uninstalled since?");

static PyObject *
clock_installed(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    return PyBool_FromLong(installations > 0);
}

PyDoc_STRVAR(verify_doc, "verify()\n--\n\n"
"Do allocations really reach the clock? A probe in each domain tells. False when it is not installed, or when\n"
"a hook is lost.");

static PyObject *
clock_verify(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    return PyBool_FromLong(installations > 0 && LOAD(counting) && all_heard());
}

PyDoc_STRVAR(reinstall_doc, "reinstall()\n--\n\n"
"Put a lost hook back (tracemalloc, started before the clock and stopped since, takes it away). Returns\n"
"what verify() then says.");

static PyObject *
clock_reinstall(PyObject *module, PyObject *arguments)
{
    if (installations > 0 && (put_hooks() < 0 || set_guards(true) < 0)) {
        return NULL;
    }
    return clock_verify(module, arguments);
}

static PyObject *
clock_guard_imports(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    if (installations > 0 && set_guards(true) < 0) {
        return NULL;
    }
    return PyBool_FromLong(installations > 0);
}

PyDoc_STRVAR(can_interrupt_doc, "can_interrupt()\n--\n\n"
"May the alarm interrupt this thread's code? Only the main thread's, and only with the clock installed.");

static PyObject *
clock_can_interrupt(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    if (installations == 0) {
        Py_RETURN_FALSE;
    }
    PyObject *threading = PyImport_ImportModule("threading");
    if (threading == NULL) {
        return NULL;
    }
    PyObject *main_thread = PyObject_CallMethod(threading, "main_thread", NULL);
    Py_DECREF(threading);
    if (main_thread == NULL) {
        return NULL;
    }
    PyObject *identity = PyObject_GetAttrString(main_thread, "ident");
    Py_DECREF(main_thread);
    if (identity == NULL) {
        return NULL;
    }
    unsigned long number = PyLong_AsUnsignedLong(identity);
    Py_DECREF(identity);
    if (number == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    return PyBool_FromLong(number == PyThread_get_thread_ident());
}

static PyObject *
clock_at_exit(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    STORE(counting, false);
    installations = 0;
    Py_CLEAR(alarm_function);
    Py_CLEAR(boundary_function);
    if (set_guards(false) < 0) {
        PyErr_Clear();
    }
    Py_XDECREF((PyObject *)exchange(NULL));
    Py_RETURN_NONE;
}

/* --- Heaps of their own ----------------------------------------------------------------------- */

PyDoc_STRVAR(own_heaps_doc, "own_heaps(wanted=None, /)\n--\n\n"
"Can accounts have heaps of their own here? An argument says whether they are wanted at all in this process.");

static PyObject *
clock_own_heaps(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int wanted = -1;
    if (!PyArg_ParseTuple(arguments, "|p:own_heaps", &wanted)) {
        return NULL;
    }
    if (wanted >= 0) {
        slabs_wanted = wanted;
    }
    bool possible = slabs_wanted && slabs_may_serve();
    slabs_serve = possible && installations > 0;
    return PyBool_FromLong(possible);
}

PyDoc_STRVAR(keeps_ledgers_doc, "keeps_ledgers()\n--\n\n"
"Are blocks of more than 512 bytes counted live, in the ledgers of accounts? Otherwise large_live is 0, and such\n"
"blocks are part of `elsewhere`. Before the clock is installed: would they be?");

static PyObject *
clock_keeps_ledgers(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    return PyBool_FromLong(installations > 0 ? LOAD(sealing) : ledgers_may_be_kept());
}

PyDoc_STRVAR(purge_doc, "purge(seconds, /)\n--\n\n"
"Give the free pages of heaps back to the system, for so many seconds at most. Returns the bytes that went.");

static PyObject *
clock_purge(PyObject *Py_UNUSED(module), PyObject *argument)
{
    double seconds = PyFloat_AsDouble(argument);
    if (seconds == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
#ifdef HAVE_SLABS
    return PyLong_FromUnsignedLongLong(slabs_purge(seconds));
#else
    return PyLong_FromLong(0);
#endif
}

PyDoc_STRVAR(heap_statistics_doc, "heap_statistics(live=False, /)\n--\n\n"
"(mapped, pages, cold, live, adopted, heaps, given_back, refusals): see actorkit.heap.own_heaps. Live bytes are\n"
"summed up over all pages if they are asked for; otherwise they are 0.");

static PyObject *
clock_heap_statistics(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    int with_live = 0;
    if (!PyArg_ParseTuple(arguments, "|p:heap_statistics", &with_live)) {
        return NULL;
    }
    const SlabStatistics *now = &slab_statistics;
    uint64_t live = 0;
#ifdef HAVE_SLABS
    live = with_live ? slabs_live() : 0;
#endif
    return Py_BuildValue("KKKKKKKK", (unsigned long long)now->mapped, (unsigned long long)(now->pages - now->empty),
                         (unsigned long long)(now->cold + now->empty), (unsigned long long)live,
                         (unsigned long long)now->adopted, (unsigned long long)now->heaps,
                         (unsigned long long)now->given_back, (unsigned long long)now->refusals);
}

/* --- Whose a block is, for the walk ------------------------------------------------------------ */

static const void *
heap_of_block(const void *block)
{
#ifdef HAVE_SLABS
    return slab_is_ours(block) ? page_of(block)->heap : NULL;
#else
    (void)block;
    return NULL;
#endif
}

static const void *
heap_of_account(PyObject *object)
{
    return Py_IS_TYPE(object, &AccountType) ? ((Account *)object)->heap : NULL;
}

static void
pages_of_heap(const void *heap, void (*each)(void *, const void *), void *context)
{
#ifdef HAVE_SLABS
    const Links *rings[] = {&((const Heap *)heap)->settled, &((const Heap *)heap)->pending};
    for (int i = 0; i < 2; i++) {
        for (const Links *links = rings[i]->next; links != rings[i]; links = links->next) {
            each(context, start_of(page_with(links)));
        }
    }
#else
    (void)heap, (void)each, (void)context;
#endif
}

static uint64_t
held_at_most(PyObject *object)
{
    return Py_IS_TYPE(object, &AccountType) ? account_held_at_most((Account *)object) : 0;
}

static const void *
ledger_of_account(PyObject *object)
{
    return Py_IS_TYPE(object, &AccountType) ? LOAD(((Account *)object)->ledger) : NULL;
}

static size_t
bytes_in_ledger(const void *ledger, const void *block)
{
    size_t usable = LOAD(size_source) == SIZE_FROM_LIBRARY ? size_of((void *)(uintptr_t)block) : 0;
    return usable != 0 && ledger_of_block((void *)(uintptr_t)block, usable) == ledger ? usable : 0;
}

static const HeapOwners heap_owners = {
    heap_of_block, heap_of_account, pages_of_heap, ledger_of_account, bytes_in_ledger, held_at_most,
};

/* --- The module ------------------------------------------------------------------------------- */

static PyMethodDef clock_methods[] = {
    {"enter", clock_enter, METH_O, enter_doc},
    {"current", clock_current, METH_NOARGS, current_doc},
    {"nobodys", clock_nobodys, METH_O, nobodys_doc},
    {"others_in", clock_others_in, METH_O, others_in_doc},
    {"switch", clock_switch, METH_O, switch_doc},
    {"install", clock_install, METH_VARARGS, install_doc},
    {"uninstall", clock_uninstall, METH_NOARGS, uninstall_doc},
    {"installed", clock_installed, METH_NOARGS, installed_doc},
    {"size_with", clock_size_with, METH_O, size_with_doc},
    {"deliver_to", clock_deliver_to, METH_VARARGS, deliver_to_doc},
    {"verify", clock_verify, METH_NOARGS, verify_doc},
    {"reinstall", clock_reinstall, METH_NOARGS, reinstall_doc},
    {"own_heaps", clock_own_heaps, METH_VARARGS, own_heaps_doc},
    {"guard_imports", clock_guard_imports, METH_NOARGS, guard_imports_doc},
    {"collect_own", clock_collect_own, METH_O, collect_own_doc},
    {"never_refuse", clock_never_refuse, METH_VARARGS, never_refuse_doc},
    {"keeps_ledgers", clock_keeps_ledgers, METH_NOARGS, keeps_ledgers_doc},
    {"purge", clock_purge, METH_O, purge_doc},
    {"heap_statistics", clock_heap_statistics, METH_VARARGS, heap_statistics_doc},
    {"can_interrupt", clock_can_interrupt, METH_NOARGS, can_interrupt_doc},
    {"pymalloc_report", clock_pymalloc_report, METH_NOARGS, pymalloc_report_doc},
    {"_at_exit", clock_at_exit, METH_NOARGS, PyDoc_STR("Stop counting, for good.")},
    {NULL, NULL, 0, NULL},
};

static int
register_at_exit(PyObject *module)
{
    PyObject *function = PyObject_GetAttrString(module, "_at_exit");
    PyObject *atexit = function != NULL ? PyImport_ImportModule("atexit") : NULL;
    PyObject *result = atexit != NULL ? PyObject_CallMethod(atexit, "register", "O", function) : NULL;
    int status = result != NULL ? 0 : -1;
    Py_XDECREF(result);
    Py_XDECREF(atexit);
    Py_XDECREF(function);
    return status;
}

static int
clock_exec(PyObject *module)
{
    static bool prepared; /* a second import shares everything with the first */
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "the allocation clock does not support subinterpreters");
        return -1;
    }
    if (!prepared) {
        account_name = PyUnicode_InternFromString("account");
        if (account_name == NULL || PyType_Ready(&AccountType) < 0 || PyType_Ready(&NobodysType) < 0
            || register_at_exit(module) < 0) {
            return -1;
        }
#if !defined(_WIN32)
        if (pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0) {
            PyErr_NoMemory();
            return -1;
        }
#endif
        prepared = true;
    }
    PyObject *yes = Py_True;
    if (PyModule_AddObjectRef(module, "Account", (PyObject *)&AccountType) < 0
        || PyModule_AddObjectRef(module, "COUNTS_ALLOCATIONS", yes) < 0
        || PyModule_AddIntConstant(module, "ENVELOPE", ENVELOPE) < 0
        || PyModule_AddIntConstant(module, "REFUSABLE", REFUSABLE) < 0
        || PyModule_AddIntConstant(module, "REARM_STEP", REARM_STEP) < 0) {
        return -1;
    }
    PyObject *capsule = PyCapsule_New((void *)(uintptr_t)&heap_owners, OWNERS_CAPSULE, NULL);
    int status = capsule == NULL ? -1 : PyModule_AddObjectRef(module, OWNERS_ATTRIBUTE, capsule);
    Py_XDECREF(capsule);
    return status;
}

static PyModuleDef_Slot clock_slots[] = {
    {Py_mod_exec, (void *)clock_exec},
    ONE_INTERPRETER_ONLY
    {0, NULL},
};

static struct PyModuleDef clock_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "actorkit.heap.c._clock",
    .m_doc = PyDoc_STR("The allocation clock in C; use it through actorkit.heap.clock."),
    .m_size = 0,
    .m_methods = clock_methods,
    .m_slots = clock_slots,
};

PyMODINIT_FUNC
PyInit__clock(void)
{
    return PyModuleDef_Init(&clock_module);
}
