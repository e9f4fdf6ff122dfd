"""What SkyPilot raises, and its messages on one line."""

from __future__ import annotations

import functools
import re
from typing import Final

_GENERAL: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    re.error,
)


@functools.cache
def refusals() -> tuple[type[Exception], ...]:
    """What SkyPilot raises for a task that it refuses; its assertions on catalog rows are among them."""
    from sky import exceptions

    own = [value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*own, *_GENERAL)


@functools.cache
def skypilot_errors() -> tuple[type[Exception], ...]:
    """The same with those of the server's database, and of a controller that is gone."""
    import sqlalchemy

    try:
        import grpc
    except ImportError:  # only servers with remote controllers have it
        return (*refusals(), sqlalchemy.exc.SQLAlchemyError)
    return (*refusals(), sqlalchemy.exc.SQLAlchemyError, grpc.RpcError, grpc.FutureTimeoutError)


def one_line(error: Exception, *, limit: int = 300) -> str:
    """The message without terminal colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)) or type(error).__name__
    return " ".join(text.split())[:limit]
