"""Where the runtime calls users' code in an actor's turn, a walk up the stack finds the activation.

Whatever calls users' code is given it by ``interruptible``, or Ctrl-C could not end it. So those
places are known from the source, and each has its line here: the activations and ways in that run
what it is given, or why there are none (see ``actorkit/runtime/base/activations.py``).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.package import modules, tree_of

PUMP = "runtime.life.pump.MessagePump._pump"
INLINE = "runtime.actor.call_door.CallDoor.call"
HERE = "runtime.life.own_task.OwnTaskRuns.run_here"
STEPS = ("runtime.life.stepping.Driver.send", "runtime.life.stepping.Driver.throw", "runtime.life.stepping.Kid._step")
BIRTHS = ("runtime.life.birth.Births.spawn_plain", "runtime.life.birth.Births.spawn_actor")
REPORTED = "runtime.looking.sys.WatchedKind.watching.reported"

RUN_BY: dict[str, tuple[str, ...] | str] = {
    "runtime.actor.dispatch.HandlerTable.__missing__": (PUMP, INLINE, HERE, REPORTED, *STEPS),
    "runtime.actor.context.ActorContext.continue_with": (PUMP, *STEPS),
    "runtime.actor.actor_kind.ActorKind.__init__": (PUMP, REPORTED, *BIRTHS, *STEPS),
    "runtime.actor.actor_kind._overridden": (PUMP, "runtime.life.orderly_end._terminate", *STEPS),
    "runtime.life.process.start_process": ("runtime.life.process._begin", *STEPS),
    "net.stream_actor.stream_callbacks": (
        HERE,
        PUMP,
        "net.stream_actor._receive",
        "net.stream_actor._receive_async",
        *STEPS,
    ),
    "behaviours.task.perform": ("behaviours.task.perform", "runtime.life.process._begin", *STEPS),
    "otp.stream_source.begin_source": (
        "otp.stream_source.fetch",
        "otp.stream_source.close_source",
        "otp.stream_pump.Pump._feed",
        *STEPS,
    ),
    "runtime.life.starter.Starter._make": "it allocates in the account that the actor is going to have",
    "runtime.looking.sys.replace_state.replace": "it runs between two messages; the actor is looked at when it is done",
    "runtime.looking.sys.trace": "what whoever traces keeps is not the actor's",
}
"""By the function in which ``interruptible`` is called."""

PREDICATES = (
    "runtime.actor.mailbox.Mailbox.find_message",
    "runtime.life.process.ReceivingContext.receive",
    "runtime.life.process.ReceivingContext.receive_nowait",
)
"""They call what a process gives them itself, in its own turn."""

ENTERS: dict[str, str] = {
    "runtime.life.birth.Births._not_born": "goes back to the spawner, whose activation goes on",
    "runtime.life.stepping.SteppedAttribution.before_task_step": "trio's step of the task is the activation",
    "runtime.life.stepping.SteppedAttribution.after_task_step": "leaves it",
    "runtime.life.stepping.SteppedAttribution.task_exited": "leaves it",
    "runtime.looking.sys._on_its_account": "counts what is made for the actor; nothing is raised in it",
    "runtime.looking.sys.WatchedKind._report": "leaves it for a moment, and comes back",
}
"""Functions that change the account at hand and are no activations, and why."""


def functions(tree: ast.AST, name: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Each function of a module by its full name, those within functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{name}.{node.name}", node
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        inner = f"{name}.{node.name}" if named else name
        yield from functions(node, inner)


FUNCTIONS = {name: node for module, path in modules().items() for name, node in functions(tree_of(path), module)}


def own_calls(function: ast.AST) -> Iterator[ast.Call]:
    """The calls in a function, but not those in functions within it."""
    for node in ast.iter_child_nodes(function):
        if isinstance(node, ast.Call):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from own_calls(node)


def calls(function: ast.AST, *names: str) -> bool:
    """Does it call one of ``names``, as a function or as an attribute?"""
    return any(
        (isinstance(call.func, ast.Name) and call.func.id in names)
        or (isinstance(call.func, ast.Attribute) and call.func.attr in names)
        for call in own_calls(function)
    )


def marks(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Its decorators, by name."""
    return {ast.unparse(decorator).rpartition(".")[2] for decorator in function.decorator_list}


def test_who_is_given_users_code_says_who_runs_it() -> None:
    found = {name for name, node in FUNCTIONS.items() if calls(node, "interruptible")}
    assert found - RUN_BY.keys() == set(), "say in RUN_BY which activation runs it, or why none does"
    assert RUN_BY.keys() - found == set(), "no longer needed in RUN_BY"


RUNNERS = sorted(
    {name for runners in RUN_BY.values() if not isinstance(runners, str) for name in runners} | {*PREDICATES}
)


@pytest.mark.parametrize("name", RUNNERS)
def test_who_runs_it_is_marked(name: str) -> None:
    assert name in FUNCTIONS, f"{name} has gone"
    assert marks(FUNCTIONS[name]) & {"activation", "way_in"}, f"mark {name} as an activation or as a way in"


def test_who_enters_an_account_is_an_activation() -> None:
    """Whoever calls the hook has changed whose code runs."""
    found = {name for name, node in FUNCTIONS.items() if calls(node, "hook", "step_hook")}
    marked = {name for name, node in FUNCTIONS.items() if "activation" in marks(node)}
    assert marked - found == set(), "an activation enters an account"
    assert found - marked - ENTERS.keys() == set(), "mark it as an activation, or say in ENTERS why it is none"
    assert ENTERS.keys() - found == set(), "no longer needed in ENTERS"


def test_the_mark_is_above_all_others() -> None:
    """Another decorator may give the function another code object."""
    for name, node in FUNCTIONS.items():
        names = [ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list]
        for mark in {"activation", "way_in"} & set(names):
            assert names[0] == mark, f"{name}: put {mark} above the others"


def test_the_sources_are_read() -> None:
    """A check that finds nothing would pass."""
    assert Path(__file__).parent.parent.parent / "actorkit" in modules()["runtime.node"].parents
    assert len(FUNCTIONS) > 1000
