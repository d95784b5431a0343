"""Debug mode (``python -X dev``, or ``open_node(debug=True)``): a check that is too dear for every
message is made.

A cast only queues if the pool is busy, or if its receiver has messages already. To check there
which thread it comes from would make every message dearer by a tenth, so ``cast`` and ``send`` do
not check. In debug mode the tables do in which they look up the handler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..actor.record import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base.home import Home

__all__ = ["CheckedKind"]


class CheckedKind(RecordKind):
    """A kind whose actors can be sent to from the node's own thread only."""

    __slots__ = ("_info",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.known: dict[Any, Any] = _Checked(self.known, self.engine.home, self.label)

    @property
    def info(self) -> Callable[..., Any]:
        """The handler of what is sent. Each ``send`` reads it."""
        self.engine.home.check("send to", self.label)
        return self._info

    @info.setter
    def info(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, function: Callable[..., Any]
    ) -> None:
        self._info = function


class _Checked(dict[Any, Any]):
    """The handlers that are known. Each ``cast`` looks into it."""

    __slots__ = ("_home", "_known", "_label")

    def __init__(self, known: dict[Any, Any], home: Home, label: str) -> None:
        self._known = known
        self._home = home
        self._label = label

    def __getitem__(self, method: Any) -> Any:
        self._home.check("cast to", self._label)
        return self._known[method]
