"""The paths of `/v2` for shared memory, of which there is none: lists are empty, and nothing can be registered."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from service.transport.http.kserve.documentation import NO_QUERY
from service.transport.http.kserve.errors import REFUSALS
from service.transport.kserve.refusals import no_cuda, no_region, no_shared_memory

Memory = Literal["system", "cuda"]
_EMPTY: dict[str, Any] = {"response_class": Response}


def memory_routes() -> APIRouter:
    """The routes, for memory of the system and of CUDA alike."""
    router = APIRouter(prefix="/v2", tags=["kserve"], responses=REFUSALS, dependencies=NO_QUERY)

    @router.get("/{memory}sharedmemory/status", name="SharedMemoryStatus", summary="No regions: none can be registered")
    async def regions(memory: Memory) -> list[dict[str, Any]]:
        return []

    @router.get(
        "/{memory}sharedmemory/region/{region}/status", name="RegionStatus", summary="There is no region", **_EMPTY
    )
    async def region_status(memory: Memory, region: str) -> Response:
        raise no_region(region, memory)

    @router.post("/{memory}sharedmemory/region/{region}/register", name="RegisterRegion", summary="Refused", **_EMPTY)
    async def register(memory: Memory, region: str) -> Response:
        raise no_cuda(region) if memory == "cuda" else no_shared_memory(region)

    # What is not registered need not be unregistered: programs do so before they begin.
    @router.post(
        "/{memory}sharedmemory/unregister", name="UnregisterRegions", summary="There is nothing to do", **_EMPTY
    )
    async def unregister_all(memory: Memory) -> Response:
        return PlainTextResponse()

    @router.post(
        "/{memory}sharedmemory/region/{region}/unregister",
        name="UnregisterRegion",
        summary="There is nothing to do",
        **_EMPTY,
    )
    async def unregister(memory: Memory, region: str) -> Response:
        return PlainTextResponse()

    return router
