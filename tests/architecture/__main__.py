"""``python -m tests.architecture``: print, or write, what the tests of the architecture compare
with.
"""

from __future__ import annotations

import argparse

from tests.architecture import debts, pages, public_names
from tests.architecture.layers import LAYERS
from tests.architecture.package import PACKAGE, arrows, circles, modules, sources


def figures() -> None:
    """The figures by which the house is measured."""
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in sources() if path.suffix == ".py"]
    found = circles(arrows())
    print(f"{len(modules())} modules, {sum(lines)} lines, the longest has {max(lines)}")
    print(f"{sum(map(len, arrows().values()))} arrows, {len(list(debts.arrows_up()))} of them up")
    print(f"largest circle: {max(map(len, found), default=0)} modules; circles: {len(found)}")
    print(f"class names used twice: {len(list(debts.classes_twice()))}")
    print(f"layers: {len(LAYERS)}; top folder: {PACKAGE.name}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.architecture", description=__doc__)
    parser.add_argument("what", choices=["figures", "debts", "names", "pages"])
    parser.add_argument("--write", action="store_true", help="write the list that the tests compare with")
    options = parser.parse_args()
    if options.what == "figures":
        figures()
    elif options.what == "debts":
        if options.write:
            debts.write()
        print("\n".join(debts.debts()) or "no debts")
    elif options.what == "pages":
        if options.write:
            pages.write()
        print("\n\n".join(part() for parts in pages.PARTS.values() for part in parts.values()))
    elif options.write:
        print("\n".join(public_names.write()) or "the list has it all")
    else:
        print("\n".join(public_names.lines()))


main()
