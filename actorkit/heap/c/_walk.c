/* The walk: how many bytes would be free again if some objects died now.
 *
 * Theory of operation. The free is simulated. The roots count as dropped. Each reference that
 * leaves a dropped object is taken away from a *virtual* reference count of its target, a copy kept
 * beside the object. A target whose virtual count reaches 0 would be freed, so its bytes count and
 * its own references are followed. A second pass, on request, finds private reference cycles.
 *
 * It is one translation unit, so that the compiler inlines what is done for each edge. The parts,
 * each with its own theory and each including those that it builds on, lowest first:
 *
 *     _compiler.h       what is asked of the compiler
 *     _contract.h       what the clock and the walk agree on
 *     ../interpreter    the insides of CPython, version by version
 *     _blocks.h         how many bytes come back when one object is freed
 *     _own_pages.h      what lies on an account's own pages
 *     _whose.h          whose the blocks of an object are
 *     _table.h          the memory of a walk, and how it begins and ends
 *     _edges.h          from an object to what it holds
 *     _first_pass.h     dropped objects die, and what only they held dies with them
 *     _hidden_memory.h  asking Python for memory that no traversal shows
 *     _roots.h          roots and running frames
 *     _own_pass.h       which of the leftovers only a collection would free
 *     _type_sums.h      what was counted, by type
 *     _known_shared.h   what was shared when a message was last sized
 *     _message_size.h   what a message is charged
 *     _records.h        how a census reads a record
 *     _census_found.h   what each of many records would free
 *     _census_rows.h    of many records, those that would free the most
 *     _walk.c           the module
 *
 * The GIL and references. The GIL is held from the beginning to the end. No Python code runs inside
 * a walk, and no object is allocated that the garbage collector tracks. So nothing can be freed
 * meanwhile, and all pointers to objects are borrowed. Adapters are the exception:
 * `_hidden_memory.h` says what is done around them. */

#include "_census_found.h"
#include "_census_rows.h"
#include "_message_size.h"
#include "_own_pass.h"
#include "_type_sums.h"

/* The values of `record`, an argument of measure(). */
enum { RECORD_OBJECTS = 1, RECORD_TYPES = 2 };

/* How often measure() made each pass, since the start: the first, and the own pass. */
static size_t passes_made[2];

PyDoc_STRVAR(measure_doc,
"measure(roots, mailbox, frames, stacks, limit, cycles, edge_cap, record, account=None, enough=0, "
"foreign_cap=0, /)\n--\n\n"
"The figures of one walk, as in actorkit.heap.python.walk.");

static PyObject *
walk_measure(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *roots, *mailbox, *frames, *stacks, *account = Py_None;
    Py_ssize_t limit, edge_cap, enough = 0, foreign_cap = 0;
    int cycles, recording;
    if (!PyArg_ParseTuple(arguments, "OOOOnpni|Onn:measure", &roots, &mailbox, &frames, &stacks, &limit, &cycles,
                          &edge_cap, &recording, &account, &enough, &foreign_cap)
        || !check_sequences((PyObject *[]){roots, mailbox}, 2) || !check_frames(frames)
        || !check_stacks(stacks, frames)) {
        return NULL;
    }
    Walk *walk = begin_walk();
    if (walk == NULL) {
        return NULL;
    }
    walk->limit = limit < 0 ? SIZE_MAX : (size_t)limit;
    walk->recording = recording;
    walk->account = account != Py_None;
    walk->namespaces_stop = !walk->account || cycles;
    walk->no_memory = walk->account && !learn_own_pages(&walk->own, account);
    passes_made[0]++;
    size_t state = drop_state_and_mailbox(walk, roots, mailbox, frames, stacks);
    size_t sum = walk->bytes;
    if (walk->over) {
        walk->inexact = 1;
    }
    else if (cycles && !ended(walk)) {
        walk->limit = SIZE_MAX;
        walk->edge_cap = edge_cap < 0 ? 0 : (size_t)edge_cap;
        run_own_pass(walk, UNBOUNDED);
    }
    else if (enough > 0 && sum < (size_t)enough && !ended(walk) && leftovers_of(walk) > 0) {
        passes_made[1]++;
        run_own_pass(walk, foreign_cap < 0 ? 0 : (size_t)foreign_cap);
    }
    PyObject *records = Py_NewRef(Py_None);
    if (recording == RECORD_TYPES && !walk->no_memory && !walk->raised) {
        Py_SETREF(records, sums_by_type(walk));
    }
    else if (recording && !ended(walk)) {
        /* Addresses only: what they point to may be gone by now. */
        Py_SETREF(records, PyList_New(0));
        for (size_t i = 0; records != NULL && i < walk->counted_count; i++) {
            Counted *entry = &walk->counted[i];
            PyObject *address = PyLong_FromVoidPtr(entry->object);
            PyObject *row = Py_BuildValue("(Nni)", address, (Py_ssize_t)entry->bytes, entry->group);
            if (row == NULL || PyList_Append(records, row) < 0) {
                Py_CLEAR(records);
            }
            Py_XDECREF(row);
        }
    }
    size_t objects = walk->objects, after_gc = walk->after_gc, shared = walk->shared;
    Whose whose = walk->account ? walk->whose : (Whose){0, 0};
    int exact = !walk->inexact, capped = walk->capped;
    if (records == NULL || !end_walk(walk)) {
        if (records == NULL) {
            end_walk(walk);
        }
        Py_XDECREF(records);
        return NULL;
    }
    return Py_BuildValue("(nnnnnNnnNN)", (Py_ssize_t)state, (Py_ssize_t)(sum - state), (Py_ssize_t)objects,
                         (Py_ssize_t)after_gc, (Py_ssize_t)shared, PyBool_FromLong(exact), (Py_ssize_t)whose.elsewhere,
                         (Py_ssize_t)whose.surplus, PyBool_FromLong(capped), records);
}

/* One actor of a census: its bytes, or -1 with an exception. */
static Py_ssize_t
census_of(Walk *walk, PyObject *pair)
{
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "an actor must be a tuple (roots, mailbox)");
        return -1;
    }
    PyObject *arguments[] = {PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1)};
    if (!check_sequences(arguments, 2)) {
        return -1;
    }
    Dropped dropped;
    size_t state = drop_state_and_mailbox(walk, arguments[0], arguments[1], NULL, NULL);
    return end_record(walk, state, 0, &dropped) ? dropped.bytes : -1;
}

PyDoc_STRVAR(census_doc, "census(actors, /)\n--\n\n"
"Private + mailbox of each (roots, mailbox). What two actors share counts for neither.");

static PyObject *
walk_census(PyObject *Py_UNUSED(module), PyObject *argument)
{
    PyObject *actors = PySequence_Tuple(argument);
    if (actors == NULL) {
        return NULL;
    }
    Walk *walk = begin_walk();
    PyObject *result = walk == NULL ? NULL : PyList_New(PyTuple_GET_SIZE(actors));
    for (Py_ssize_t i = 0; result != NULL && i < PyTuple_GET_SIZE(actors); i++) {
        Py_ssize_t bytes = census_of(walk, PyTuple_GET_ITEM(actors, i));
        PyObject *number = bytes < 0 ? NULL : PyLong_FromSsize_t(bytes);
        if (number == NULL) {
            Py_CLEAR(result);
            break;
        }
        PyList_SET_ITEM(result, i, number);
    }
    if (walk != NULL) {
        if (result == NULL && PyErr_Occurred()) {
            walk->raised = 1;
        }
        if (!end_walk(walk)) {
            Py_CLEAR(result);
        }
    }
    Py_DECREF(actors);
    return result;
}

PyDoc_STRVAR(size_of_doc, "size_of(*objects)\n--\n\n"
"The bytes that the receiver of the objects will own if the sender drops them right after.");

static PyObject *
walk_size_of(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t count)
{
    int cycles = 0;
    Py_ssize_t bytes = message_bytes(arguments, count, &cycles);
    return bytes < 0 ? NULL : PyLong_FromSsize_t(bytes);
}

PyDoc_STRVAR(passes_made_doc, "passes_made()\n--\n\n"
"How often measure() made the first pass and the own pass, since the start.");

static PyObject *
walk_passes_made(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(nothing))
{
    return Py_BuildValue("(nn)", (Py_ssize_t)passes_made[0], (Py_ssize_t)passes_made[1]);
}

/* Is nothing registered for the types that `flat_bytes` sizes by itself? */
static int
leaves_builtins_alone(const Registry *registry)
{
    PyTypeObject *types[] = {&PyUnicode_Type, &PyLong_Type, &PyFloat_Type, &PyBytes_Type, &PyTuple_Type,
                             &PyList_Type, &PyDict_Type};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (find_adapter(registry, types[i]) != NULL || is_stop(registry, types[i])) {
            return 0;
        }
    }
    return 1;
}

PyDoc_STRVAR(register_doc, "register(stop_types, adapters_by_type, adapters_by_name, /)\n--\n\n"
"Replace what is registered. The tuples are kept, so nobody may change them.");

static PyObject *
walk_register(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *stop_types, *by_type, *by_name;
    if (!PyArg_ParseTuple(arguments, "O!O!O!:register", &PyTuple_Type, &stop_types, &PyTuple_Type, &by_type,
                          &PyTuple_Type, &by_name)) {
        return NULL;
    }
    int fine = 1;
    for (Py_ssize_t i = 0; fine && i < PyTuple_GET_SIZE(stop_types); i++) {
        fine = PyType_Check(PyTuple_GET_ITEM(stop_types, i));
    }
    for (Py_ssize_t i = 0; fine && i < PyTuple_GET_SIZE(by_type); i++) {
        PyObject *pair = PyTuple_GET_ITEM(by_type, i);
        fine = PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2 && PyType_Check(PyTuple_GET_ITEM(pair, 0));
    }
    for (Py_ssize_t i = 0; fine && i < PyTuple_GET_SIZE(by_name); i++) {
        PyObject *pair = PyTuple_GET_ITEM(by_name, i);
        fine = PyTuple_Check(pair) && PyTuple_GET_SIZE(pair) == 2 && PyBytes_Check(PyTuple_GET_ITEM(pair, 0));
    }
    if (!fine) {
        PyErr_SetString(PyExc_TypeError, "register() takes types, (type, function) pairs and (bytes, function) pairs");
        return NULL;
    }
    Py_XSETREF(registered.stop_types, Py_NewRef(stop_types));
    Py_XSETREF(registered.adapters_by_type, Py_NewRef(by_type));
    Py_XSETREF(registered.adapters_by_name, Py_NewRef(by_name));
    registrations++;
    shortcuts = leaves_builtins_alone(&registered);
    Py_RETURN_NONE;
}

static PyMethodDef walk_methods[] = {
    {"measure", walk_measure, METH_VARARGS, measure_doc},
    {"census", walk_census, METH_O, census_doc},
    {"census_found", walk_census_found, METH_VARARGS, census_found_doc},
    {"census_rows", (PyCFunction)(void (*)(void))walk_census_rows, METH_FASTCALL, census_rows_doc},
    {"size_of", (PyCFunction)(void (*)(void))walk_size_of, METH_FASTCALL, size_of_doc},
    {"passes_made", walk_passes_made, METH_NOARGS, passes_made_doc},
    {"register", walk_register, METH_VARARGS, register_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef walk_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "actorkit.heap.c._walk",
    .m_doc = "The walk in C. Use actorkit.heap.walk.",
    .m_size = -1,  /* one per process: the registry is process-wide, and subinterpreters are refused */
    .m_methods = walk_methods,
};

static PyObject *
import_attribute(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *found = imported == NULL ? NULL : PyObject_GetAttrString(imported, name);
    Py_XDECREF(imported);
    return found;
}

/* The traversal of classes made by a class statement is a static function: a class of that kind
   shows it. */
static int
learn_class_traverse(void)
{
    PyObject *probe = PyObject_CallFunction((PyObject *)&PyType_Type, "s(){}", "Probe");
    if (probe == NULL) {
        return 0;
    }
    python_class_traverse = ((PyTypeObject *)probe)->tp_traverse;
    Py_DECREF(probe);
    return 1;
}

/* The interpreter's array of small ints is in the order of their values. */
static int
learn_small_ints(void)
{
    PyObject *first = PyLong_FromLong(-5), *last = PyLong_FromLong(256);
    if (first != NULL && last != NULL && first < last) {
        first_small_int = (uintptr_t)first;
        last_small_int = (uintptr_t)last;
    }
    int fine = first != NULL && last != NULL;
    Py_XDECREF(first);
    Py_XDECREF(last);
    return fine;
}

/* Through this capsule the clock sizes what an actor receives without a call through Python. */
static int
export_message_bound(PyObject *module)
{
    static const MessageSizer function = message_bound;
    PyObject *capsule = PyCapsule_New((void *)&function, SIZER_CAPSULE, NULL);
    int status = PyModule_AddObjectRef(module, SIZER_ATTRIBUTE, capsule);
    Py_XDECREF(capsule);
    return status;
}

/* The clock tells whose memory it is, if it is there. It is imported from the same folder, and it
   stays loaded. */
static void
import_owners(void)
{
    PyObject *capsule = import_attribute("actorkit.heap.c._clock", OWNERS_ATTRIBUTE);
    owners = capsule == NULL ? NULL : PyCapsule_GetPointer(capsule, OWNERS_CAPSULE);
    PyErr_Clear();
    Py_XDECREF(capsule);
}

PyMODINIT_FUNC
PyInit__walk(void)
{
    if (registered.stop_types == NULL) {
        registered.stop_types = PyTuple_New(0);
        registered.adapters_by_type = PyTuple_New(0);
        registered.adapters_by_name = PyTuple_New(0);
        name_sizeof = PyUnicode_InternFromString("__sizeof__");
        name_builtins = PyUnicode_InternFromString("__builtins__");
        name_held_at_most = PyUnicode_InternFromString("held_at_most");
        deque_type = (PyTypeObject *)import_attribute("_collections", "deque");
        bytesio_type = (PyTypeObject *)import_attribute("_io", "BytesIO");
        stdlib_module_names = import_attribute("sys", "stdlib_module_names");
        allocated_blocks = import_attribute("sys", "getallocatedblocks");
        import_owners();
        if (!learn_class_traverse() || !learn_small_ints() || PyErr_Occurred()) {
            return NULL;
        }
    }
    PyObject *module = PyModule_Create(&walk_module);
    if (module != NULL && export_message_bound(module) < 0) {
        Py_CLEAR(module);
    }
    return module;
}
