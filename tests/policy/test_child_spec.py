import functools
import itertools
import math
import pickle

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorkit import errors
from actorkit.errors import DuplicateChildId, InvalidChildSpec, InvalidSupervisorFlag, SpecError
from actorkit.policy.supervision.backoff import Backoff
from actorkit.policy.supervision.child_spec import ChildSpec, validate_children
from actorkit.policy.supervision.supervisor_flags import DynamicFlags, SupervisorFlags
from actorkit.reasons import SHUTDOWN
from tests.conformance.marks import conforms
from tests.policy.strategies import child_specs, worker


@conforms("SUP-13")
def test_sup_13_defaults_are_filled_in():
    spec = ChildSpec(worker)
    assert (spec.id, spec.restart, spec.shutdown, spec.kind) == ("worker", "permanent", 5.0, "worker")
    assert (spec.significant, spec.init_timeout, spec.mailbox, spec.overflow) == (False, 5.0, 1024, "reject")
    assert (spec.args, dict(spec.kwargs), dict(spec.options)) == ((), {}, {})
    assert ChildSpec(worker, kind="supervisor").shutdown == math.inf
    assert ChildSpec(worker, kind="supervisor", shutdown=3).shutdown_time == 3
    assert ChildSpec(worker, name="db").id == "db"
    assert ChildSpec(worker, name="db", id=1).id == 1


REFUSED = [
    ("start", None),
    ("start", "worker"),
    ("args", "ab"),
    ("args", {1}),
    ("kwargs", [1]),
    ("kwargs", {1: 2}),
    ("options", None),
    ("id", [1]),
    ("restart", "always"),
    ("restart", None),
    ("restart", ["permanent"]),
    ("shutdown", -10),
    ("shutdown", math.nan),
    ("shutdown", "kill"),
    ("shutdown", True),
    ("kind", "boss"),
    ("significant", 1),
    ("name", ""),
    ("name", 7),
    ("init_timeout", 0),
    ("init_timeout", math.nan),
    ("init_timeout", None),
    ("backoff", 1.0),
    ("scheduling", "idle"),
    ("mailbox", 0),
    ("mailbox", 1.5),
    ("mailbox", True),
    ("mailbox", None),
    ("overflow", "drop"),
    ("priority", 1),
    ("memory_quota", 1000),  # of a worker
]


@conforms("SUP-16")
@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_sup_16_every_bad_field_has_its_own_error(field, value):
    with pytest.raises(InvalidChildSpec) as caught:
        ChildSpec(**{"start": worker, field: value})
    error = caught.value
    assert error.field == field
    assert error.value is value or error.value == value
    assert error.remedy.startswith("give ")
    for part in (field, error.why, error.remedy):
        assert part in str(error)
    with pytest.raises(InvalidChildSpec):
        ChildSpec(worker).with_(**{field: value})


@conforms("SUP-16")
def test_sup_16_the_full_product_of_good_values():
    product = itertools.product(
        ["permanent", "transient", "temporary"],
        [0, 1, 2.5, math.inf, "brutal_kill", None],
        ["worker", "supervisor"],
        [False, True],
    )
    for restart, shutdown, kind, significant in product:
        fields = {"restart": restart, "shutdown": shutdown, "kind": kind, "significant": significant}
        if significant and restart == "permanent":
            with pytest.raises(InvalidChildSpec, match="significant"):
                ChildSpec(worker, **fields)
        else:
            spec = ChildSpec(worker, **fields)
            assert all(getattr(spec, name) == value for name, value in fields.items() if value is not None)


@conforms("SUP-15")
def test_sup_15_unknown_fields_are_pythons_affair():
    with pytest.raises(TypeError, match="colour"):
        ChildSpec(worker, colour="red")
    with pytest.raises(TypeError, match="colour"):
        ChildSpec(worker).with_(colour="red")


def test_a_start_without_a_name_needs_an_id():
    partial = functools.partial(worker)
    with pytest.raises(InvalidChildSpec, match=r"start has no __qualname__ .*ChildSpec\(start, id=") as caught:
        ChildSpec(partial)
    assert caught.value.field == "id"
    assert ChildSpec(partial, id="p").id == "p"


def test_what_goes_in_is_copied_and_cannot_be_changed():
    arguments, options, args = {"x": 1}, {"y": 2}, [1]
    spec = ChildSpec(worker, args=args, kwargs=arguments, options=options)
    arguments["x"] = options["y"] = args[0] = 7
    assert (spec.args, spec.kwargs["x"], spec.options["y"]) == ((1,), 1, 2)
    with pytest.raises(TypeError):
        spec.kwargs["x"] = 3
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        spec.restart = "temporary"
    assert hash(spec) == hash(spec.with_())


@settings(max_examples=30)
@given(child_specs(), child_specs())
def test_with_is_the_constructor_with_the_changes(spec, other):
    changes = {field.name: getattr(other, field.name) for field in attrs.fields(ChildSpec) if field.init}
    assert spec.with_() == spec
    assert spec.with_(**changes) == other
    assert ChildSpec(**changes) == other


def test_what_was_left_open_stays_open_in_a_copy():
    spec = ChildSpec(worker)
    assert spec.with_(name="a").id == "a"
    assert spec.with_(name="a").with_(name="b").id == "b"
    assert spec.with_(kind="supervisor").shutdown == math.inf
    fixed = ChildSpec(worker, id="fixed", shutdown=5.0)
    assert fixed.with_(name="a", kind="supervisor").id == "fixed"
    assert fixed.with_(name="a", kind="supervisor").shutdown == 5.0
    assert fixed.with_(shutdown=None, id=None, kind="supervisor").shutdown == math.inf
    assert fixed.with_(backoff=Backoff()).backoff == Backoff()


@conforms("SUP-16")
def test_sup_16_duplicates_and_strangers_in_a_list():
    validate_children([])
    validate_children([ChildSpec(worker), ChildSpec(worker, id="2")])
    with pytest.raises(DuplicateChildId, match="'worker'"):
        validate_children([ChildSpec(worker), ChildSpec(worker)])
    with pytest.raises(InvalidChildSpec, match="not a child spec") as caught:
        validate_children([worker])
    assert (caught.value.field, caught.value.value) == ("spec", worker)
    assert "give ak.child(worker, …)" in caught.value.remedy


def test_significant_needs_a_supervisor_that_shuts_itself_down():
    spec = ChildSpec(worker, restart="transient", significant=True)
    validate_children([spec], "any_significant")
    validate_children([spec], "all_significant")
    with pytest.raises(InvalidChildSpec, match="auto_shutdown") as caught:
        validate_children([spec], "never")
    assert (caught.value.field, caught.value.value) == ("significant", True)
    assert "'worker' is significant" in caught.value.why
    assert caught.value.remedy.startswith("give the supervisor auto_shutdown=")


@conforms("SUP-17", "DYN-05")
@pytest.mark.parametrize("kind", [SupervisorFlags, DynamicFlags])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_restarts", -1),
        ("max_restarts", math.inf),
        ("max_restarts", True),
        ("max_restarts", 1.0),
        ("max_seconds", 0),
        ("max_seconds", -1),
        ("max_seconds", math.inf),
        ("max_seconds", math.nan),
        ("max_seconds", "5"),
        ("max_seconds", True),
    ],
)
def test_sup_17_dyn_05_bad_intensity(kind, field, value):
    with pytest.raises(InvalidSupervisorFlag) as caught:
        kind(**{field: value})
    assert (caught.value.field, caught.value.value) == (field, value) or value != value
    assert f"{field}={value!r}" in str(caught.value)
    assert "give " in str(caught.value)


@conforms("SUP-17", "DYN-05")
@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (SupervisorFlags, "strategy", "simple_one_for_one"),
        (SupervisorFlags, "strategy", None),
        (SupervisorFlags, "auto_shutdown", "always"),
        (DynamicFlags, "max_children", -1),
        (DynamicFlags, "max_children", 1.5),
        (DynamicFlags, "max_children", None),
        (DynamicFlags, "max_children", True),
    ],
)
def test_sup_17_dyn_05_bad_flags(kind, field, value):
    with pytest.raises(InvalidSupervisorFlag) as caught:
        kind(**{field: value})
    assert (caught.value.field, caught.value.value) == (field, value)
    assert "give " in str(caught.value)


@conforms("DYN-04", "ESUP-03")
def test_dyn_04_esup_03_defaults():
    flags = SupervisorFlags()
    assert (flags.strategy, flags.max_restarts, flags.max_seconds) == ("one_for_one", 3, 5.0)
    assert flags.auto_shutdown == "never"
    assert (DynamicFlags().max_restarts, DynamicFlags().max_seconds) == (3, 5.0)
    assert DynamicFlags().max_children == math.inf
    with pytest.raises(TypeError):
        SupervisorFlags(colour="red")


EXAMPLES = [
    InvalidChildSpec("id", [1], "why", "remedy"),
    DuplicateChildId("a"),
    InvalidSupervisorFlag("max_restarts", -1, "why"),
    errors.ChildNotFound("a"),
    errors.ChildNotFound("a", "temporary"),
    errors.ChildAlreadyStarted("a", "ref"),
    errors.ChildAlreadyPresent("a", "undefined"),
    errors.ChildRunning("a", "running"),
    errors.ChildRunning("a", "unkillable"),
    errors.ChildRestarting("a", "restarting"),
    errors.MaxChildrenReached("a", 3),
    errors.StartFailed("a", SHUTDOWN),
    errors.SupervisorStopping("a"),
    errors.SupervisorError("a"),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_say_what_they_are_about_and_survive_pickling(error):
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    if isinstance(error, errors.SupervisorError):
        error.supervisor = "top/db"
        assert str(error).startswith("top/db: ")
    else:
        assert isinstance(error, SpecError)
        assert isinstance(error, ValueError)


@settings(max_examples=30)
@given(st.lists(child_specs(), max_size=6), st.sampled_from(["never", "any_significant", "all_significant"]))
def test_validate_children_agrees_with_a_plain_reading(specs, auto_shutdown):
    ids = [spec.id for spec in specs]
    bad = len(set(ids)) < len(ids) or (auto_shutdown == "never" and any(spec.significant for spec in specs))
    if bad:
        with pytest.raises(SpecError):
            validate_children(specs, auto_shutdown)
    else:
        validate_children(specs, auto_shutdown)


@pytest.mark.parametrize(
    ("kind", "field", "choices"),
    [
        (ChildSpec, "restart", ["permanent", "transient", "temporary"]),
        (ChildSpec, "kind", ["worker", "supervisor"]),
        (ChildSpec, "scheduling", None),
        (ChildSpec, "overflow", ["reject", "wait", "drop_oldest", "drop_newest"]),
        (SupervisorFlags, "strategy", ["one_for_one", "one_for_all", "rest_for_one"]),
        (SupervisorFlags, "auto_shutdown", ["never", "any_significant", "all_significant"]),
    ],
)
def test_the_choices_are_said(kind, field, choices):
    with pytest.raises(SpecError) as caught:
        kind(**{field: "sometimes"} | ({"start": worker} if kind is ChildSpec else {}))
    if choices is None:
        assert 'give one of "' in str(caught.value)
    else:
        assert "give one of " + ", ".join(f'"{choice}"' for choice in choices) in str(caught.value)


@pytest.mark.parametrize("field", ["max_heap_size", "memory_quota"])
@pytest.mark.parametrize("value", ["lots", object()])
def test_a_size_that_is_none_says_so(field, value):
    with pytest.raises(InvalidChildSpec, match=field) as caught:
        ChildSpec(worker, kind="supervisor", **{field: value})
    error = caught.value
    assert (error.field, error.value) == (field, value)
    assert "is not a size" in error.why
    assert error.remedy.startswith("give bytes")


def test_significant_and_permanent_says_why_not():
    with pytest.raises(InvalidChildSpec) as caught:
        ChildSpec(worker, significant=True)
    error = caught.value
    assert (error.field, error.value) == ("significant", True)
    assert error.why.startswith("a permanent child is always restarted")
    assert error.remedy.startswith("give restart=")
