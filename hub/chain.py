"""The one seam: what happens to a call on its way.

A middleware may stop, delay, repeat or redirect a call. It never widens reach, imports no other
middleware, and carries what it needs in the Call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from hub.model import Handler, Middleware

__all__ = ["build"]


def build(middlewares: Sequence[Middleware], innermost: Handler) -> Handler:
    """One handler out of many: the first of `middlewares` is the outermost."""
    handler = innermost
    for middleware in reversed(middlewares):
        handler = _wrap(middleware, handler)
    return handler


def _wrap(middleware: Middleware, inner: Handler) -> Handler:
    # Neither a coroutine nor a frame of its own: each one in the way costs (1 us for the whole chain).
    return partial(middleware, inner=inner)
