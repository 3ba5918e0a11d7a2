"""The paths of `/v2` that tell of the server: live, ready, metadata, logging, tracing, shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Request, Response

from service.transport.http.kserve.bodies import ServerMetadata, SettingsBody, read_body
from service.transport.http.kserve.documentation import optional_body
from service.transport.http.kserve.errors import REFUSALS
from service.transport.kserve import metadata
from service.transport.kserve.late import LateInference
from service.transport.kserve.refusals import (
    SERVER_NOT_READY,
    Malformed,
    no_cuda,
    no_region,
    no_shared_memory,
    no_trace,
)
from service.transport.kserve.settings import log_settings, refuse_log_settings, refuse_trace_settings
from service.transport.lifecycle import Lifecycle

Memory = Literal["system", "cuda"]


def server_routes(inference: LateInference, lifecycle: Lifecycle) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v2", tags=["kserve"], responses=REFUSALS)
    updated: dict[str, Any] = {"openapi_extra": optional_body(SettingsBody, {})}

    @router.get("", name="ServerMetadata", summary="What this server is, and which extensions it has")
    async def server_metadata() -> ServerMetadata:
        return ServerMetadata(**metadata.server_metadata())

    @router.get("/health/live", name="ServerLive", summary="The process runs")
    async def live() -> Response:
        return Response()

    @router.get("/health/ready", name="ServerReady", summary="The models are warm, and the server is not ending")
    async def ready() -> Response:
        if not lifecycle.ready:
            raise Malformed("server", SERVER_NOT_READY)
        return Response()

    @router.get("/logging", name="LogSettings", summary="What is logged")
    async def logging() -> dict[str, bool | int | str]:
        return dict(log_settings())

    @router.post("/logging", name="UpdateLogSettings", summary="The same; a change is refused", **updated)
    async def update_logging(request: Request) -> dict[str, bool | int | str]:
        refuse_log_settings(await _settings(request))
        return dict(log_settings())

    @router.get("/trace/setting", name="TraceSetting", summary="What is traced: nothing")
    @router.get("/models/{model}/trace/setting", name="ModelTraceSetting", summary="The same of a model")
    async def trace(model: str = "") -> dict[str, Any]:
        return traced(model)

    @router.post("/trace/setting", name="UpdateTraceSetting", summary="The same; a change is refused", **updated)
    @router.post(
        "/models/{model}/trace/setting", name="UpdateModelTraceSetting", summary="The same of a model", **updated
    )
    async def update_trace(request: Request, model: str = "") -> dict[str, Any]:
        answer = traced(model)
        refuse_trace_settings(await _settings(request))
        return answer

    def traced(model: str) -> dict[str, Any]:
        if model and not inference.here.serves(model):
            raise no_trace(model)
        return {
            name: list(values) if name == "trace_level" else values[0]
            for name, values in metadata.trace_settings().items()
        }

    @router.get("/{memory}sharedmemory/status", name="SharedMemoryStatus", summary="No regions: none can be registered")
    async def regions(memory: Memory) -> list[dict[str, Any]]:
        del memory
        return []

    @router.get("/{memory}sharedmemory/region/{region}/status", name="RegionStatus", summary="There is no region")
    async def region_status(memory: Memory, region: str) -> Response:
        raise no_region(region, memory)

    @router.post("/{memory}sharedmemory/region/{region}/register", name="RegisterRegion", summary="Refused")
    async def register(memory: Memory, region: str) -> Response:
        raise no_cuda(region) if memory == "cuda" else no_shared_memory(region)

    @router.post("/{memory}sharedmemory/unregister", name="UnregisterRegions", summary="There is nothing to do")
    @router.post(
        "/{memory}sharedmemory/region/{region}/unregister", name="UnregisterRegion", summary="There is nothing to do"
    )
    async def unregister(memory: Memory, region: str = "") -> Response:
        del memory, region
        return Response()

    return router


async def _settings(request: Request) -> Mapping[str, Any]:
    """What is to be changed; nothing if there is no body."""
    body = await request.body()
    return read_body(SettingsBody, body).root if body else {}
