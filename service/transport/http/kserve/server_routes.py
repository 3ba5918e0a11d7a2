"""The paths of `/v2` that tell of the server: live, ready, metadata, logging, tracing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from service.transport.http.kserve.bodies import ServerMetadata, SettingsBody, read_body
from service.transport.http.kserve.documentation import NO_QUERY, optional_body
from service.transport.http.kserve.errors import REFUSALS
from service.transport.kserve import metadata
from service.transport.kserve.late import LateInference
from service.transport.kserve.refusals import SERVER_NOT_READY, Malformed, no_trace
from service.transport.kserve.settings import log_settings, refuse_log_settings, refuse_trace_settings
from service.transport.lifecycle import Lifecycle

_UPDATED: dict[str, Any] = {"openapi_extra": optional_body(SettingsBody, {})}


def server_routes(inference: LateInference, lifecycle: Lifecycle) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v2", tags=["kserve"], responses=REFUSALS, dependencies=NO_QUERY)
    router.include_router(_settings_routes(inference))

    @router.get("", name="ServerMetadata", summary="What this server is, and which extensions it has")
    async def server_metadata() -> ServerMetadata:
        return ServerMetadata(**metadata.server_metadata())

    @router.get("/health/live", name="ServerLive", summary="The process runs", response_class=Response)
    async def live() -> Response:
        return PlainTextResponse()

    @router.get(
        "/health/ready",
        name="ServerReady",
        summary="The models are warm, and the server is not ending",
        response_class=Response,
    )
    async def ready() -> Response:
        if not lifecycle.ready:
            raise Malformed("server", SERVER_NOT_READY)
        return PlainTextResponse()

    return router


def _settings_routes(inference: LateInference) -> APIRouter:
    router = APIRouter()

    @router.get("/logging", name="LogSettings", summary="What is logged")
    async def logging() -> dict[str, bool | int | str]:
        return dict(log_settings())

    @router.post("/logging", name="UpdateLogSettings", summary="The same; a change is refused", **_UPDATED)
    async def update_logging(request: Request) -> dict[str, bool | int | str]:
        refuse_log_settings(await _settings(request))
        return dict(log_settings())

    @router.get("/trace/setting", name="TraceSetting", summary="What is traced: nothing")
    async def trace() -> dict[str, Any]:
        return traced()

    @router.post("/trace/setting", name="UpdateTraceSetting", summary="The same; a change is refused", **_UPDATED)
    async def update_trace(request: Request) -> dict[str, Any]:
        refuse_trace_settings(await _settings(request))
        return traced()

    @router.get("/models/{model}/trace/setting", name="ModelTraceSetting", summary="The same of a model")
    async def model_trace(model: str) -> dict[str, Any]:
        return traced_of(model)

    @router.post(
        "/models/{model}/trace/setting",
        name="UpdateModelTraceSetting",
        summary="The same of a model; a change is refused",
        **_UPDATED,
    )
    async def update_model_trace(model: str, request: Request) -> dict[str, Any]:
        told = traced_of(model)
        refuse_trace_settings(await _settings(request))
        return told

    def traced() -> dict[str, Any]:
        settings = metadata.trace_settings().items()
        return {name: list(values) if name == "trace_level" else values[0] for name, values in settings}

    def traced_of(model: str) -> dict[str, Any]:
        if not inference.here.serves(model):
            raise no_trace(model)
        return traced()

    return router


async def _settings(request: Request) -> Mapping[str, Any]:
    """What is to be changed; nothing if there is no body."""
    body = await request.body()
    return read_body(SettingsBody, body).root if body else {}
