"""Lint, types, all tests on one Python, and on the others what depends on the version or the
extension.

1. ``ruff check``, ``ruff format --check``, ``mypy`` and ``pyright``, on Python 3.11.
2. ``make test``: everything, on 3.11 with the C extensions.
3. The tests that are marked ``every_version``, on each other combination of 3.11, 3.12 and 3.13
   with and without the extensions, as far as a budget of 40 minutes goes (``CI_MINUTES``), the
   likeliest to differ first.

A failure of 1 or 2, or of a test in 3, fails the run. What cannot be tried is not a failure but
printed: an interpreter that is not found, an installation that fails, extensions that were not
built, a budget that is used up.

Interpreters are looked for as python3.11, python3.12 and python3.13 on PATH, then below
~/.pyenv/versions. This file needs the standard library only, of any Python from 3.8 on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAIN = "3.11"
COMBINATIONS = [
    ("3.11", "pure"),
    ("3.13", "extension"),
    ("3.12", "extension"),
    ("3.13", "pure"),
    ("3.12", "pure"),
]
"""Each supported version twice; the first with the extension is MAIN. A test compares them with
``actorkit/heap/interpreter/versions.py``."""
BEGUN = time.monotonic()
BUDGET = 60.0 * float(os.environ.get("CI_MINUTES", "40"))

results: list[tuple[str, str, float, str]] = []


def remaining() -> float:
    """The seconds of the budget that are left."""
    return BUDGET - (time.monotonic() - BEGUN)


def note(verdict: str, name: str, seconds: float = 0.0, why: str = "") -> None:
    """Write a result down for the summary."""
    results.append((verdict, name, seconds, why))
    print(f"=== {verdict} {name}: {why}" if why else f"=== {verdict} {name}", flush=True)


def version_of(python: str) -> str | None:
    """Which Python it is, as "3.11"; None if it does not run. (A shim of pyenv's may not.)"""
    command = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def interpreter(version: str) -> str | None:
    """The path of an interpreter of that version, or None."""
    candidates = [shutil.which("python" + version)]
    installed = Path.home() / ".pyenv" / "versions"
    if installed.is_dir():
        found = [path for path in installed.iterdir() if path.name.startswith(version)]
        candidates += [str(path / "bin" / "python") for path in sorted(found, reverse=True)]
    candidates.append(sys.executable)
    for candidate in candidates:
        if candidate and version_of(candidate) == version:
            return candidate
    return None


def run(command: list[str], seconds: float | None = None, **environ: str) -> int | None:
    """The exit status of a command, whose output goes on to ours; None if its time was up."""
    print("+ " + " ".join(command), flush=True)
    process = subprocess.Popen(command, cwd=str(ROOT), env=dict(os.environ, **environ), start_new_session=True)
    try:
        return process.wait(timeout=seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            return None
        raise


def timed(name: str, command: list[str]) -> None:
    """Run what must not fail, and write down how it went."""
    begun = time.monotonic()
    status = run(command)
    note("ok" if status == 0 else "FAILED", name, time.monotonic() - begun)


def types_by_pyright(binaries: Path) -> None:
    """Pyright fetches Node.js when it runs first: where it cannot, that is no fault of the code."""
    begun = time.monotonic()
    command = [str(binaries / "pyright"), "--outputjson", "--pythonpath", str(binaries / "python")]
    print("+ " + " ".join(command), flush=True)
    try:
        done = subprocess.run(command, cwd=str(ROOT), capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        note("left out", "pyright", 600.0, "it is not done after ten minutes")
        return
    try:
        told = json.loads(done.stdout)
        errors = [each for each in told["generalDiagnostics"] if each["severity"] == "error"]
    except (ValueError, KeyError):
        note("left out", "pyright", 0.0, "it does not run here: " + (done.stderr or done.stdout)[-300:])
        return
    for each in errors:
        print("{}:{}: {}".format(each["file"], each["range"]["start"]["line"] + 1, each["message"]))
    note("FAILED" if errors else "ok", "pyright", time.monotonic() - begun)


def environment(version: str, python: str) -> str | None:
    """The interpreter of a virtual environment of that version with the package and its tests'
    needs.

    None, and a note, if it cannot be made.
    """
    folder = ROOT / (".venv-" + version)
    binary = folder / "bin" / "python"
    install = [str(binary), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", ".[test]"]
    if run([python, "-m", "venv", str(folder)], 300) == 0 and run(install, max(60.0, remaining())) == 0:
        return str(binary)
    return None


def has_extension(python: str) -> bool:
    """Whether the C extensions are there: an installation does without them where they cannot be
    built.
    """
    return run([python, "-c", "import actorkit.heap.c._clock, actorkit.heap.c._walk"], 60) == 0


def combination(version: str, mode: str, estimate: float) -> float | None:
    """Run what depends on version or extension; the seconds that it took, or None."""
    name = f"every_version on {version}, {mode}"
    if remaining() < estimate:
        why = f"{max(0.0, remaining()):.0f} s are left of the budget, and it may take {estimate:.0f}"
        note("left out", name, 0.0, why)
        return None
    if version == MAIN:
        python = str(ROOT / ".venv" / "bin" / "python")
    else:
        found = interpreter(version)
        if found is None:
            note("left out", name, 0.0, "there is no Python " + version)
            return None
        made = environment(version, found)
        if made is None:
            note("left out", name, 0.0, "its environment could not be made")
            return None
        python = made
    if mode == "extension" and not has_extension(python):
        note("left out", name, 0.0, "the extensions were not built")
        return None
    begun = time.monotonic()
    command = [python, "-m", "pytest", "-q", "-n", "logical", "-m", "every_version"]
    status = run(command, max(60.0, remaining()), **({"ACTORKIT_PURE": "1"} if mode == "pure" else {}))
    took = time.monotonic() - begun
    if status is None:
        note("left out", name, took, "the budget was used up before it ended")
        return None
    note("ok" if status == 0 else "FAILED", name, took)
    return took


def main() -> int:
    os.environ.pop("ACTORKIT_PURE", None)
    python = interpreter(MAIN)
    if python is None:
        note("left out", "Python " + MAIN, 0.0, "not found; everything runs on " + sys.executable)
        python = sys.executable
    if run(["make", ".venv/.ready", "PYTHON=" + python]) != 0:
        note("FAILED", "set up")
    else:
        binaries = ROOT / ".venv" / "bin"
        timed("ruff check", [str(binaries / "ruff"), "check", "."])
        timed("ruff format", [str(binaries / "ruff"), "format", "--check", "."])
        timed("mypy", [str(binaries / "mypy")])
        types_by_pyright(binaries)
        begun = time.monotonic()
        timed("make test", ["make", "test", "PYTHON=" + python])
        estimate = time.monotonic() - begun
        for version, mode in COMBINATIONS:
            estimate = combination(version, mode, estimate) or estimate
    print(f"\n=== summary, {(time.monotonic() - BEGUN) / 60:.0f} minutes")
    for verdict, name, seconds, why in results:
        print(f"{verdict:<9} {name:<30} {seconds:6.0f} s  {why}")
    return 1 if any(verdict == "FAILED" for verdict, *_ in results) else 0


if __name__ == "__main__":
    sys.exit(main())
