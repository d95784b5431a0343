/* Running frames, version by version: their slots, what they belong to, and which one is innermost.
 *
 * References. What these functions return is borrowed. The GIL is held. */

#ifndef ACTORKIT_INTERPRETER_FRAMES_H
#define ACTORKIT_INTERPRETER_FRAMES_H

#include "_python.h" /* first: it prepares Python.h */

/* The frame itself, of the object that Python sees. */
static inline struct _PyInterpreterFrame *
frame_of(PyObject *object)
{
    return ((PyFrameObject *)object)->f_frame;
}

static inline PyObject **
frame_slots(struct _PyInterpreterFrame *frame)
{
    return frame->localsplus;
}

static inline PyCodeObject *
frame_code(struct _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX >= 0x030D0000
    return (PyCodeObject *)frame->f_executable;
#else
    return frame->f_code;
#endif
}

static inline PyObject *
frame_function(struct _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX >= 0x030C0000
    return frame->f_funcobj;
#else
    return (PyObject *)frame->f_func;
#endif
}

/* The generator or coroutine that a frame is part of, or NULL. */
static inline PyObject *
frame_generator(struct _PyInterpreterFrame *frame)
{
    if (frame->owner != FRAME_OWNED_BY_GENERATOR) {
        return NULL;
    }
    return (PyObject *)((char *)frame - offsetof(PyGenObject, gi_iframe));
}

/* Does the traversal of the frame see its slots? The frame on top has no stack top while it runs,
 * and then its traversal sees none of them. */
static inline int
frame_shows_slots(struct _PyInterpreterFrame *frame)
{
    return frame->stacktop >= 0;
}

/* How many of its slots are in use: up to its stack top where that is valid, else its variables. */
static inline int
frame_used_slots(struct _PyInterpreterFrame *frame)
{
    return frame_shows_slots(frame) ? frame->stacktop : frame_code(frame)->co_nlocalsplus;
}

/* The namespace that a frame runs in, of a class body or of `exec`, or NULL. */
static inline PyObject *
frame_locals(struct _PyInterpreterFrame *frame)
{
    return frame->f_locals;
}

/* The instance that a frame of `__init__` works on, which a hidden frame in front of it holds, or
 * NULL. From 3.13 on a call of a class goes through such a frame instead of C. */
static inline PyObject *
frame_instance(struct _PyInterpreterFrame *frame)
{
#if PY_VERSION_HEX >= 0x030D0000
    struct _PyInterpreterFrame *hidden = frame->previous;
    if (frame->owner == FRAME_OWNED_BY_THREAD && hidden != NULL && hidden->owner == FRAME_OWNED_BY_THREAD
        && _PyFrame_IsIncomplete(hidden) && frame_code(hidden)->co_nlocalsplus == 0 && hidden->stacktop == 1) {
        return hidden->localsplus[0];
    }
#else
    (void)frame;
#endif
    return NULL;
}

/* The innermost frame of Python code of this thread, or NULL. Frames that are just being made, and
 * those by which the interpreter calls itself, are skipped. No frame object is made, so it may be
 * asked inside an allocator hook, with the GIL. */
static inline struct _PyInterpreterFrame *
innermost_frame(PyThreadState *thread)
{
#if PY_VERSION_HEX >= 0x030D0000
    struct _PyInterpreterFrame *frame = thread->current_frame;
#else
    struct _PyInterpreterFrame *frame = thread->cframe != NULL ? thread->cframe->current_frame : NULL;
#endif
    while (frame != NULL) {
        if (!_PyFrame_IsIncomplete(frame)) {
            return frame;
        }
        frame = frame->previous;
    }
    return NULL;
}

/* The file that the innermost Python code of this thread came from, a str, or NULL. */
static inline PyObject *
innermost_file(PyThreadState *thread)
{
    struct _PyInterpreterFrame *frame = innermost_frame(thread);
    return frame != NULL ? frame_code(frame)->co_filename : NULL;
}

#endif
