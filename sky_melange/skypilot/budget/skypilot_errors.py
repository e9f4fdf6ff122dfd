"""What SkyPilot raises, and its messages on one line."""

from __future__ import annotations

import functools
import re


@functools.cache
def skypilot_errors() -> tuple[type[Exception], ...]:
    """SkyPilot's own errors, its assertions on catalog rows, the database's, and those of a controller that is gone."""
    import sqlalchemy
    from sky import exceptions

    own = [value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, Exception)]
    general = (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    )
    try:
        import grpc
    except ImportError:  # only servers with remote controllers have it
        return (*own, *general, ValueError, sqlalchemy.exc.SQLAlchemyError)
    return (*own, *general, ValueError, sqlalchemy.exc.SQLAlchemyError, grpc.RpcError, grpc.FutureTimeoutError)


def one_line(error: Exception, *, limit: int = 300) -> str:
    """The message without terminal colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error)) or type(error).__name__
    return " ".join(text.split())[:limit]
