"""The names that users were told of, with their signatures, compared with ``public_names.txt``.

The list is a promise: a name in it stays, a renamed one stays under its old name with a
DeprecationWarning for one release (CONTRIBUTING.md), and whatever call was right stays right. A
line says one thing:

    module M                    M can be imported
    def M.f(signature)          it can be called so; ``async def`` if its call is awaited
    class M.C(signature)        the same for a class; no signature where only the runtime makes any
    base M.C: B                 B is among its base classes, so that ``except B`` still catches it
    attribute M.C.a             a field, property or constant; its value is not told

Defaults that are plain constants are part of the promise, others only that there is one.
Annotations are not in the list: what must type-check is in ``tests/typing``. New names, and new
parameters of old ones, join with ``python -m tests.architecture names --write``. That command takes
none off, and leaves a line as it is whose promise is broken.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

LIST = Path(__file__).with_name("public_names.txt")

NAMES_TOLD = (
    "actorkit",
    "actorkit.sys",
    "actorkit.testing",
    "actorkit.testing.faults",
    "actorkit.heap.capabilities",
    "actorkit.heap.explain",
    "actorkit.heap.memory_limit",
    "actorkit.heap.own_heaps",
    "actorkit.heap.usage",
    "actorkit.pressure.cgroup",
    "actorkit.pressure.kernel_events",
    "actorkit.pressure.live_bytes",
    "actorkit.pressure.process_memory",
    "actorkit.pressure.psi",
    "actorkit.pressure.rlimits",
    "actorkit.pressure.service_manager",
    "actorkit.pressure.sources",
    "actorkit.pressure.system",
    "actorkit.pressure.wakes",
)
"""The modules whose names are in the list. The list has more modules: those of which only the path
was told.
"""

API = {
    "Node": """
        admission capabilities finished footprint_of footprints from_thread heap_census heap_explain memory name
        process_info processes send_after shutdown spawn start statistics stopped subscribe tree whereis
    """,
    "Ref": """
        alive broadcast call cast cast_wait count count_children counts delete_child demonitor exit get_childspec join
        keys kill leave lookup match members monitor monitor_group partitions pid register restart_child run run_linked
        send send_wait start start_child stop stop_accepting terminate_child unregister update_value values whereis
        which_child which_children which_groups within
    """,
    "Context": """
        alive call cast continue_with demonitor exit exit_now idle_timeout kill link max_heap_size monitor node pid
        priority ref register send send_after spawn spawn_link spawn_monitor stop subscribe trap_exit unlink unregister
        unsubscribe watch_memory
    """,
    "ProcessContext": "receive receive_nowait",
    "Process": "",
    "Supervisor": """
        count_children delete_child get_childspec restart_child start_child terminate_child which_child which_children
    """,
    "DynamicSupervisor": "count_children start_child terminate_child which_children",
    "PartitionSupervisor": "count_children partition partitions which_children",
    "TaskSupervisor": "count_children run run_linked start terminate_child which_children",
    "Listener": "addresses count_children counts stop_accepting which_children",
    "Registry": "count dispatch keys lookup match register unregister update_value values whereis",
    "ProcessGroups": "broadcast demonitor join leave members monitor monitor_group which_groups",
    "Task": "cancel poll ref result shutdown",
    "TaskStream": "aclose",
    "EventStream": "drain receive",
    "SubtreeGovernor": "data receipts",
    "StreamActor": "connected ctx format_status handle_info init received terminate trap_exit write",
}
"""Classes with members that are public for the rest of the package only: what of them is the API. A
new operation for users is written in here, too.
"""

INSIDE = {
    "actorkit.runtime.node.Node": "quotas restart_gate root",
    "actorkit.runtime.node.Context": "",
    "actorkit.runtime.actor.context.ActorContext": "",
    "actorkit.runtime.actor.ref.Ref": """
        bound_record cast_packed check_declared check_thread post_after resolve resolve_on send_packed
        why_nobody
    """,
}
"""Of the classes that get new operations most often: what is written in them and is not the API.
So nobody forgets to say which it is.
"""

MADE_BY_USERS = {
    "Actor", "AdmissionSettings", "Backoff", "Capabilities", "ChildSpec", "Failure", "FaultPlan",
    "GateSettings", "GovernorSettings", "HeapLimit", "Kill", "Killed", "KindLimits",
    "LadderSettings", "Later", "MemoryPressure", "MemorySample", "NodeMemory", "NoProc", "Normal",
    "Pid", "Probe", "ScriptedMemory", "Shutdown", "Stop", "StreamActor", "Trace",
}  # fmt: skip
"""The classes whose signature is told, besides those of ``testing.faults``. All others only the
runtime makes, so that they may get a field more.
"""

NOT_TOLD = {"problem", "does"}
"""Methods that the package calls, in classes that are public otherwise."""

CONSTANTS = (type(None), bool, int, float, str, bytes)


def _default(value: object) -> str:
    return repr(value) if type(value) in CONSTANTS else "..."


def signature_of(value: Any, *, bound: bool) -> str | None:
    """As text, without annotations; ``bound`` leaves out the first parameter. None where Python
    cannot tell.
    """
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return None
    parts: list[str] = []
    kinds = [p.kind for p in parameters]
    for index, parameter in enumerate(parameters[1:] if bound else parameters, start=int(bound)):
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.VAR_POSITIONAL not in kinds and "*" not in parts:
            parts.append("*")
        default = "" if parameter.default is parameter.empty else f"={_default(parameter.default)}"
        star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        parts.append(f"{star}{parameter.name}{default}")
        last = index + 1 == len(parameters) or parameters[index + 1].kind is not parameter.POSITIONAL_ONLY
        if parameter.kind is parameter.POSITIONAL_ONLY and last:
            parts.append("/")
    return f"({', '.join(parts)})"


def _is_ours(value: Any) -> bool:
    return str(getattr(value, "__module__", "")).split(".")[0] == "actorkit"


def _callable_line(path: str, value: Any, *, bound: bool) -> str:
    signature = signature_of(value, bound=bound)
    word = "async def" if inspect.iscoroutinefunction(inspect.unwrap(value)) else "def"
    return f"{word} {path}{'' if signature is None else signature}"


def _written_in(cls: type) -> Iterator[str]:
    """The attributes that the class's methods give to ``self``, and methods that only type checkers
    are told of.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            if node.value.id == "self":
                yield node.attr
        elif isinstance(node, ast.If):
            yield from (inner.name for inner in node.body if isinstance(inner, ast.FunctionDef))


def members_of(cls: type) -> set[str]:
    """The public names of the class and its instances that come from the package."""
    names: set[str] = set()
    for base in cls.__mro__:
        if _is_ours(base):
            names.update(vars(base), inspect.get_annotations(base), _written_in(base))
    if attrs.has(cls):
        names.update(field.name for field in attrs.fields(cls))
    return {name for name in names if not name.startswith("_")}


def _class_lines(path: str, cls: Any) -> Iterator[str]:
    told = cls.__name__ in MADE_BY_USERS or path.startswith("actorkit.testing.faults.")
    yield f"class {path}{(signature_of(cls, bound=False) or '') if told else ''}"
    for base in cls.__mro__[1:]:
        builtin = base.__module__ == "builtins" and base not in (object, BaseException, Exception)
        if builtin or (_is_ours(base) and base.__name__ in _face()):
            yield f"base {path}: {base.__name__}"
    chosen = API.get(cls.__name__)
    for name in sorted(members_of(cls) - NOT_TOLD if chosen is None else chosen.split()):
        yield _member_line(f"{path}.{name}", cls, name)


def _member_line(path: str, cls: type, name: str) -> str:
    found = inspect.getattr_static(cls, name, None)
    if isinstance(found, (classmethod, staticmethod)):
        return _callable_line(path, getattr(cls, name), bound=False)
    if inspect.isfunction(found):
        return _callable_line(path, found, bound=True)
    return f"attribute {path}"


def _face() -> dict[str, Any]:
    return vars(importlib.import_module("actorkit"))


def names_of(module: types.ModuleType) -> list[str]:
    """The public names of a module: those of ``__all__``, of a package's face, or what is written
    in it.
    """
    if hasattr(module, "__all__"):
        return sorted(module.__all__)
    face = module.__name__ in ("actorkit", "actorkit.testing")
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and (face or getattr(value, "__module__", None) == module.__name__)
        and not isinstance(value, type(annotations))
    )


def _module_lines(path: str) -> Iterator[str]:
    module = importlib.import_module(path) if path != "actorkit.sys" else _face()["sys"]
    yield f"module {path}"
    for name in names_of(module):
        value = getattr(module, name)
        if inspect.isclass(value) and not isinstance(value, types.GenericAlias):
            yield from _class_lines(f"{path}.{name}", value)
        elif callable(value) and hasattr(value, "__code__"):
            yield _callable_line(f"{path}.{name}", value, bound=False)
        else:
            yield f"attribute {path}.{name}"


def undecided() -> list[str]:
    """The operations that neither API nor INSIDE knows."""
    found = []
    for path, inside in INSIDE.items():
        module, _, name = path.rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        known = {*API["Context" if name == "ActorContext" else name].split(), *inside.split()}
        own = {each for each, value in vars(cls).items() if inspect.isfunction(value) or isinstance(value, property)}
        found.extend(f"{name}.{each}" for each in sorted(own - known) if not each.startswith("_"))
    return found


def lines() -> list[str]:
    """What the package has today."""
    return sorted({line for path in NAMES_TOLD for line in _module_lines(path)}, key=_key)


def _key(line: str) -> tuple[str, str]:
    word, _, rest = line.removeprefix("async ").partition(" ")
    return rest.partition("(")[0], word


def listed() -> list[str]:
    """What users were told of."""
    return [line for line in LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def wider() -> dict[str, str]:
    """For each line of the list that promises less than what the package has today, such as a
    signature without a new parameter: the line that it should be.
    """
    known = {_key(line): line for line in listed()}
    pairs = [(known[_key(line)], line) for line in lines() if _key(line) in known]
    return {before: now for before, now in pairs if before != now and "(" in now and broken(before) is None}


def write() -> list[str]:
    """Add what is new to the list; returns what has changed in it, as ``+ line`` and ``- line``.
    What is in it stays: a name goes by hand, a release after its deprecation.
    """
    before = listed()
    mentioned = {_key(line) for line in before}
    now = wider()
    joined = [now.get(line, line) for line in before] + [line for line in lines() if _key(line) not in mentioned]
    head = "# What users were told of: see public_names.py. Lines are added by a command, and taken off by hand only.\n"
    LIST.write_text(head + "".join(f"{line}\n" for line in sorted(joined, key=_key)), encoding="utf-8")
    changed = [f"- {line}" for line in now] + [f"+ {line}" for line in joined if line not in before]
    return sorted(changed, key=lambda line: (_key(line[2:]), line[0] == "+"))


# --- what is still true of a line ---------------------------------------------------------------


def _found(path: str) -> tuple[Any, str, Any]:
    """(owner, last name, value) of a dotted path; LookupError if there is none."""
    parts = path.split(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for length in range(len(parts), 0, -1):
            try:
                value: Any = importlib.import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                continue
            owner: Any = None
            for index, name in enumerate(parts[length:], start=length):
                owner = value
                if inspect.isclass(owner) and not hasattr(owner, name) and name in members_of(owner):
                    return owner, name, None  # of its instances only
                try:
                    value = getattr(owner, name)
                except AttributeError:
                    raise LookupError(".".join(parts[: index + 1])) from None
            return owner, parts[-1], value
    raise LookupError(path)


def broken(line: str) -> str | None:
    """Why what the line says is not true any more; None if it is."""
    word, _, rest = line.removeprefix("async ").partition(" ")
    path, _, told = rest.partition(": ") if word == "base" else (*rest.partition("(")[:2], "")
    try:
        owner, name, value = _found(path)
    except LookupError as error:
        return f"{error} is gone"
    if word == "base":
        return None if told in {base.__name__ for base in value.__mro__} else f"{path} is no {told} any more"
    if word not in ("def", "class"):
        return None
    if "(" not in rest:
        return None
    now = _member_line(path, owner, name) if inspect.isclass(owner) else None
    if now is None:
        if not callable(value):
            return f"{path} cannot be called any more"
        now = (
            f"class {path}{signature_of(value, bound=False) or ''}"
            if inspect.isclass(value)
            else _callable_line(path, value, bound=False)
        )
    if line.startswith("async ") != now.startswith("async ") and word == "def":
        return f"{path}: {'not ' if line.startswith('async ') else ''}async now"
    if "(" not in now:
        return None if now.startswith("attribute") else f"{path} has no signature any more"
    why = refuses(line[line.index("(") :], now[now.index("(") :])
    return None if why is None else f"{path}: {why}"


def refuses(before: str, after: str) -> str | None:
    """Why a call that fits ``before`` may not fit ``after``; None if every such call does."""
    old, new = _arguments(before), _arguments(after)
    old_positional, new_positional = [*old.posonlyargs, *old.args], [*new.posonlyargs, *new.args]
    by_keyword = {a.arg for a in (*new.args, *new.kwonlyargs)}
    for index, parameter in enumerate(old_positional):
        fits = index < len(new_positional)
        if not fits and new.vararg is None:
            return f"{parameter.arg} cannot be given by position"
        if fits and parameter in old.args and new_positional[index].arg != parameter.arg:
            return f"{new_positional[index].arg} stands where {parameter.arg} did"
    for parameter in (*old.args, *old.kwonlyargs):
        if parameter.arg not in by_keyword and new.kwarg is None:
            return f"{parameter.arg} cannot be given by name"
    if old.vararg and not new.vararg:
        return f"takes no *{old.vararg.arg}"
    if old.kwarg and not new.kwarg:
        return f"takes no **{old.kwarg.arg}"
    old_defaults, new_defaults = _defaults(old), _defaults(new)
    renamed = {b.arg: a.arg for a, b in zip(old.posonlyargs, new_positional, strict=False)}
    for name, default in new_defaults.items():
        name = renamed.get(name, name)
        if default is None and name not in old_defaults:
            return f"{name} must be given"
        if default is None and old_defaults[name] is not None:
            return f"{name} has no default"
        known = old_defaults.get(name)
        if known not in (None, "...") and default != known:
            return f"the default of {name} is {default}, not {known}"
    return None


def _arguments(signature: str) -> ast.arguments:
    (function,) = ast.parse(f"def f{signature}: ...").body
    assert isinstance(function, ast.FunctionDef)
    return function.args


def _defaults(arguments: ast.arguments) -> dict[str, str | None]:
    """For each parameter the text of its default, None if it must be given."""
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = len(positional) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [None] * missing + list(arguments.defaults)
    pairs = [*zip(positional, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return {a.arg: None if default is None else ast.unparse(default).replace("Ellipsis", "...") for a, default in pairs}
