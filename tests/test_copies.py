"""Errors, reasons and specs can be copied and pickled, to be logged elsewhere or sent on."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

import actorkit as ak
from actorkit.reasons import ExitReason
from tests.architecture.package import modules

RUN_ONLY = {"__main__", "doctor.patients", "doctor.trials"}
"""Modules that are programs."""


def below(cls: type) -> Iterator[type]:
    for each in cls.__subclasses__():
        yield each
        yield from below(each)


def found(base: type) -> list[type]:
    """All classes of the package below this one."""
    for module in modules():
        if module not in RUN_ONLY:
            importlib.import_module(f"actorkit.{module}")
    ours = {each for each in below(base) if each.__module__.partition(".")[0] == "actorkit"}
    return sorted(ours, key=lambda each: (each.__module__, each.__qualname__))


SAMPLES: dict[str, Any] = {
    "reason": ak.Shutdown("tired"),
    "error": ValueError("of somebody's"),
    "child_id": ("child", 1),
    "usage": 1000,
    "limit": 100,
    "seconds": 1.5,
    "retry_after": 1.5,
    "exit_status": 79,
    "ref": ("some", "ref"),
    "complete": [b"line"],
}
"""By the names of parameters; any other gets a text."""


def made(cls: type) -> Any:
    """An instance, with everything that it can be given."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    try:
        signature = inspect.signature(cls)
    except ValueError:  # that of all exceptions
        return cls("some text", 3)
    for parameter in signature.parameters.values():
        value = SAMPLES.get(parameter.name, f"some {parameter.name}")
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            positional.append(value)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            named[parameter.name] = value
        elif parameter.kind is parameter.VAR_POSITIONAL:
            positional.append("some text")
    return cls(*positional, **named)


def copies(value: Any) -> Iterator[Any]:
    yield copy.copy(value)
    yield copy.deepcopy(value)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.loads(pickle.dumps(value, protocol))


def data(value: Any) -> object:
    """What is compared: errors are equal only to themselves."""
    if isinstance(value, BaseException):
        return type(value), str(value), repr(value), [data(each) for each in value.args], data(value.__dict__)
    if isinstance(value, dict):
        return {name: data(each) for name, each in value.items()}
    return value


@pytest.mark.parametrize("cls", found(BaseException), ids=lambda cls: cls.__qualname__)
def test_errors(cls: type[BaseException]) -> None:
    error = made(cls)
    error.add_note("seen on Monday")
    for each in copies(error):
        assert each is not error
        assert data(each) == data(error)


def test_what_was_added_later_is_kept() -> None:
    """``supervisor`` and ``method`` are filled in by the layer that knows them."""
    error = ak.ChildNotFound("child")
    error.supervisor = "root"
    late = ak.CallTimeout("too late", target="<node.1>")
    late.method = "Room.join"
    for original in (error, late):
        for each in copies(original):
            assert str(each) == str(original)
            assert data(each) == data(original)


@pytest.mark.parametrize("cls", found(ExitReason), ids=lambda cls: cls.__qualname__)
def test_reasons(cls: type[ExitReason]) -> None:
    reason = made(cls)
    for each in copies(reason):
        assert type(each) is cls
        assert data(attrs.asdict(each, recurse=False)) == data(attrs.asdict(reason, recurse=False))


def start(number: int, *, word: str = "") -> None:
    """Something to start."""


def test_specs() -> None:
    specs = [
        ak.ChildSpec(start),
        ak.ChildSpec(start, args=(1,), kwargs={"word": "x"}, name="it", max_heap_size="1 MiB", options={"a": [1]}),
        ak.child(ak.Registry),
        ak.registry(name="names"),
        ak.supervisor(ak.child(ak.Registry), ak.child(ak.ProcessGroups), strategy="one_for_all"),
        ak.dynamic_supervisor(max_children=3),
        ak.task_supervisor(),
    ]
    for spec in specs:
        spec.actor_options()
        for each in copies(spec):
            assert each == spec
            assert each.kwargs == spec.kwargs
            assert each.options == spec.options
            assert each.actor_options() == spec.actor_options()
            with pytest.raises(TypeError):
                each.kwargs["more"] = 1
            renamed = each.with_(name="other")
            assert renamed == spec.with_(name="other")


def test_what_cannot_be_pickled_says_so() -> None:
    """Not the spec is in the way but what it starts."""
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(ak.ChildSpec(lambda: None, id="nobody"))
