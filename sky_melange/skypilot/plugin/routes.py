"""The routes that store nothing: plan, check, prices, and the dashboard's files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.routing import APIRoute

from sky_melange.skypilot.plugin.answers import (
    INVALID,
    OF_BODIES,
    OF_WORK,
    RefusedError,
    body_of,
    failures,
    problem,
    read_body,
)
from sky_melange.skypilot.plugin.models import CheckRequest, PlanRequest
from sky_melange.skypilot.plugin.service import Service, json_text, not_found, refused, user_of

PREFIX: Final = "/plugins/api/melange"
DASHBOARD: Final = Path(__file__).resolve().parent / "dashboard"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_Name = Annotated[str | None, Query(max_length=200)]


class RefusingRoute(APIRoute):
    """Answers RefusedError in the documented form, without touching the handlers of SkyPilot's own routes."""

    def get_route_handler(self) -> Any:
        """FastAPI's handler with refusals answered."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response: Response = await handler(request)
            except RefusedError as error:
                return refused(error)
            except RequestValidationError as error:
                return refused(_misspelt(error))
            return response

        return answer


def _misspelt(error: RequestValidationError) -> RefusedError:
    """What FastAPI finds wrong with an address: an id that cannot be one, or a value in the query."""
    places = [entry["loc"] for entry in error.errors()]
    if any(place[0] == "path" for place in places):
        return not_found()
    detail = [
        problem(entry["msg"], where=".".join(str(part)[:60] for part in entry["loc"])) for entry in error.errors()
    ]
    return RefusedError(INVALID, 2, detail)


def router_of(service: Service) -> APIRouter:
    """The routes below PREFIX."""
    router = APIRouter(prefix=PREFIX, tags=["melange"], route_class=RefusingRoute)
    _add_work(router, service)
    _add_dashboard(router)
    return router


def _add_work(router: APIRouter, service: Service) -> None:
    limit_bytes = service.settings.max_body_bytes

    @router.post(
        "/plan",
        summary="Plan a workload",
        description="The plan.json that `sky-melange plan` writes for the same workload.yaml and prices.",
        openapi_extra=body_of(PlanRequest),
        responses=failures(*OF_BODIES, *OF_WORK),
    )
    async def plan(request: Request) -> Response:
        with service.place(user_of(request)):
            return json_text(await service.work("plan", await read_body(request, limit_bytes=limit_bytes)))

    @router.post(
        "/check",
        summary="Check a plan against today's prices",
        description="What `sky-melange check plan.json --format json` prints where its launch files are untouched.",
        openapi_extra=body_of(CheckRequest),
        responses=failures(*OF_BODIES, *OF_WORK),
    )
    async def check(request: Request) -> Response:
        with service.place(user_of(request)):
            return json_text(await service.work("check", await read_body(request, limit_bytes=limit_bytes)))

    @router.get(
        "/prices",
        summary="List prices",
        description="Prices with their age, and what is quarantined with its reason; the cheapest offer of each "
        "accelerator, cloud and kind, or with `all` every one.",
        responses=failures(*OF_WORK),
    )
    async def prices(
        request: Request,
        *,
        accelerator: _Name = None,
        cloud: _Name = None,
        region: _Name = None,
        spot: bool | None = None,
        everything: Annotated[bool, Query(alias="all")] = False,
    ) -> Response:
        wanted: dict[str, Any] = {"accelerator": accelerator, "cloud": cloud, "region": region, "spot": spot}
        with service.place(user_of(request)):
            return json_text(await service.work("prices", **wanted, everything=everything))


def _add_dashboard(router: APIRouter) -> None:
    files = {path.name: path for path in sorted(DASHBOARD.glob("*")) if path.suffix in _TYPES}

    @router.get("/dashboard/{name}", summary="A file of the dashboard page", include_in_schema=False)
    async def dashboard(name: str) -> Response:
        if name not in files:
            raise not_found()
        # Asked for again at each visit, and answered by its ETag: a new release is seen at once.
        return FileResponse(files[name], media_type=_TYPES[files[name].suffix], headers={"Cache-Control": "no-cache"})
