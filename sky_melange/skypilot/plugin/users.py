"""Who asks, by SkyPilot's authentication, and what they may, by its roles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sky_melange.skypilot.plugin.store import Reader

if TYPE_CHECKING:
    from fastapi import Request

_ADMIN: Final = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """SkyPilot's user; both are None where it does not ask who it is."""

    id: str | None
    name: str | None


def user_of(request: Request) -> User:
    """Whom SkyPilot's authentication found. Middleware sets it on each request, to None where nobody is asked."""
    found: Any = getattr(request.state, "auth_user", None)
    return User(id=None, name=None) if found is None else User(id=str(found.id), name=found.name)


def reader_of(user: User) -> Reader:
    """What the user may see and delete: administrators all, others their own. Blocks: SkyPilot reads its policy.

    Without authentication everyone is an administrator, as in SkyPilot's own routes.
    """
    if user.id is None:
        return Reader(user_id=None, sees_all=True)
    from sky.users import permission

    roles: list[str] = permission.permission_service.get_user_roles(user.id)
    # As SkyPilot itself: admin beside another role is no admin.
    return Reader(user_id=user.id, sees_all=roles == [_ADMIN])
