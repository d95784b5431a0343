/* The alarm: an interruption in the middle of running code. Part of _clock.c.
 *
 * Theory of operation
 * ===================
 *
 * When the bytes of an account have reached `soft`, the clock asks the interpreter for a pending
 * call, from a hook that has the GIL. There is never more than one such call in the queue for all
 * accounts together, and it carries no pointer: it looks at the account that its thread is in
 * *then*, and does nothing unless that account asked in the activation that it is still in. If the
 * queue is full, the next allocation tries again.
 *
 * The interpreter makes pending calls at loop back-edges, function entries and after calls, in the
 * main thread of the main interpreter only. Elsewhere an account is due, and nobody is interrupted.
 * C code that does not return to the interpreter is not interrupted either; the refusals are for
 * that.
 *
 * The alarm function is called with the account switched off. Whether it returns or raises: if the
 * account is still over its threshold, the threshold moves REARM_STEP on, so that code that handles
 * the exception is interrupted soon, but not at once. Once the alarm has come PATIENCE times while
 * a verdict stands, it comes again at the very next occasion. Code that catches everything and goes
 * on (`while True: try: ... except BaseException: continue`) is then interrupted outside of its
 * `try`.
 *
 * Postponed. The alarm function may say "not here" (it returns True): C code has called what runs,
 * and hides something from it. Then the pending call puts itself into the queue again and again,
 * without asking, until the C stack is shorter than it was, so that this C code has returned. It
 * gives up after POSTPONED_MOST times; and if the account reaches its threshold anew, it asks.
 *
 * References. The alarm function is referenced while it runs; so is the account, by the reference
 * that `entered` had, which is put back at the end.
 *
 * Fork. The child goes on with the account that the forking thread was in. The request for a
 * pending call may have got lost with the parent's queue, so the child forgets it and asks anew. */

#ifndef ACTORKIT_HEAP_ALARM_H
#define ACTORKIT_HEAP_ALARM_H

#include "_account.h"

#define REARM_STEP (64 * 1024) /* bytes between two alarms that change nothing */
#define POSTPONED_MOST 100000 /* about two milliseconds */
#define PATIENCE 8             /* so many alarms leave the code that handles the exception a step's time */

static bool alarm_queued;         /* our pending call is in the interpreter's queue */
static PyObject *alarm_function;  /* owned; NULL if the clock is not installed */

/* The activation whose alarm has been postponed, and how long the C stack was. */
static struct {
    const Account *account; /* borrowed, only compared; NULL: none */
    uint64_t activation;
    uintptr_t stack;
    uint32_t times;
} postponed;

static int ring(void *);

/* Let the pending call come again at the next occasion. */
static bool
ring_again(Account *account)
{
    if (alarm_queued || Py_AddPendingCall(ring, NULL) < 0) {
        return false;
    }
    alarm_queued = true;
    account->asked = account->activation;
    return true;
}

/* Has the alarm of this account been postponed? Then *wait says whether the C code that was in the
   way still is. The C stack grows towards lower addresses. */
static bool
is_postponed(const Account *account, uintptr_t stack, bool *wait)
{
    if (postponed.account != account || postponed.activation != account->activation) {
        return false;
    }
    *wait = stack <= postponed.stack;
    return true;
}

/* The account has reached watch_at, and we have the GIL: let the interpreter call us when it
   can. */
static __attribute__((noinline)) void
want_alarm(Account *account)
{
    if (UNLIKELY(account_total(account) >= account->heap_at)) {
        want_heap(account);
        if (account_total(account) < account->alarm_at) {
            return;
        }
    }
    if (account_keeps_limit(account)) {
        return; /* it has allocated much and freed as much */
    }
    STORE(account->due, 1);
    if (account->asked == account->activation || alarm_function == NULL) {
        return;
    }
    if (!alarm_queued) {
        alarm_queued = true;
        if (Py_AddPendingCall(ring, NULL) < 0) {
            alarm_queued = false; /* the queue is full: the next allocation tries again */
            return;
        }
    }
    account->asked = account->activation;
}

/* The pending call. What the alarm raises is raised in the frame that was interrupted. */
static int
ring(void *Py_UNUSED(nothing))
{
    Account *account = entered;
    alarm_queued = false;
    if (account == NULL || alarm_function == NULL || account->asked != account->activation
        || PyInterpreterState_Get() != PyInterpreterState_Main()) {
        return 0;
    }
    account->asked = 0;
    uintptr_t stack = (uintptr_t)__builtin_frame_address(0);
    bool reached = account_total(account) >= account->alarm_at, wait = false;
    bool again = is_postponed(account, stack, &wait);
    if (!again && !reached) {
        return 0; /* it was reset in the meantime */
    }
    if (again && !reached && wait && postponed.times++ < POSTPONED_MOST) {
        if (ring_again(account)) {
            return 0;
        }
    }
    postponed.account = NULL;
    if ((!reached && wait) || account_keeps_limit(account)) {
        return 0; /* it has waited in vain, or has freed much */
    }
    entered = NULL; /* the reference is ours until we put it back */
    PyObject *function = Py_NewRef(alarm_function);
    PyObject *result = PyObject_CallFunction(function, "OK", (PyObject *)account,
                                             (unsigned long long)account->activation);
    if (result == Py_True && ring_again(account)) {
        postponed.account = account;
        postponed.activation = account->activation;
        postponed.stack = stack;
        postponed.times = 0;
    }
    else if (account->verdict != NULL && account->in_vain++ >= PATIENCE) {
        STORE(account->alarm_at, 0);
        if (result == NULL) {
            (void)ring_again(account);
        }
    }
    else if (account_total(account) >= account->alarm_at) {
        account->soft = account_bytes(account) + REARM_STEP;
        account_arm(account);
    }
    Account *left_behind = entered;
    entered = account;
    Py_XDECREF((PyObject *)left_behind);
    Py_DECREF(function);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

#if !defined(_WIN32)
/* Around a fork: the child must not find a lock that a thread of the parent holds. */
static void
before_fork(void)
{
    LOCK_LEDGERS();
}

static void
after_fork_in_parent(void)
{
    UNLOCK_LEDGERS();
}

static void
after_fork_in_child(void)
{
    UNLOCK_LEDGERS();
    alarm_queued = false;
    if (entered != NULL) {
        entered->asked = 0;
    }
}
#endif

#endif
