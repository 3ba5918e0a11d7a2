"""What operators and probes ask over HTTP: alive, ready, and where the metrics are."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from service.errors import Unavailable
from service.transport.http.models import Problem
from service.transport.lifecycle import Lifecycle

_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": Problem, "description": "UNAVAILABLE: warming up, or ending"}
}


class Status(BaseModel):
    """The answer of a probe that succeeded."""

    status: Literal["ok"] = "ok"


def operations_routes(lifecycle: Lifecycle, metrics_url: str) -> APIRouter:
    """The routes of one process."""
    router = APIRouter(tags=["operations"])

    @router.get("/livez", name="Livez", summary="The process runs")
    async def livez() -> Status:
        return Status()

    @router.get("/readyz", name="Readyz", summary="The server is warm and takes callers", responses=_NOT_READY)
    async def readyz() -> Status:
        if not lifecycle.ready:
            why = "the server is shutting down" if lifecycle.draining else "the model is not warm yet"
            raise Unavailable(why, 1.0)
        return Status()

    @router.get("/metrics", name="Metrics", summary="Where the metrics are", response_class=PlainTextResponse)
    async def metrics() -> str:
        return f"# The metrics have a port of their own: {metrics_url}\n"

    return router
