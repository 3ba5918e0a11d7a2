"""The paths of `/v2` that tell of models: ready, metadata, configuration, statistics, repository."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse

from service.sessions.commands import Tenant
from service.transport.caller import TenantResolver
from service.transport.http.kserve.bodies import (
    IndexBody,
    IndexedModel,
    LoadBody,
    ModelMetadata,
    Statistics,
    UnloadBody,
    read_body,
)
from service.transport.http.kserve.documentation import NO_QUERY, optional_body
from service.transport.http.kserve.errors import REFUSALS, KserveError
from service.transport.kserve.late import LateInference
from service.transport.kserve.refusals import MODEL_NOT_READY, Malformed
from service.transport.lifecycle import Lifecycle

_NOT_ALLOWED: dict[int | str, dict[str, Any]] = {
    403: {"model": KserveError, "description": "PERMISSION_DENIED: but to callers of the tenant in --model-admin"},
    503: {"model": KserveError, "description": "UNAVAILABLE: the server is starting"},
}
_OF_VERSION = "The same of a version, named by its number or by 8 digits or more of its digest"


def model_routes(inference: LateInference, lifecycle: Lifecycle, tenants: TenantResolver) -> APIRouter:
    """The routes; every one of a model stands there once more for a version of it."""
    router = APIRouter(prefix="/v2", tags=["kserve"], responses=REFUSALS, dependencies=NO_QUERY)
    router.include_router(_described(inference))
    router.include_router(_ready_and_counted(inference, lifecycle))
    router.include_router(_repository(inference, tenants))
    return router


def _described(inference: LateInference) -> APIRouter:
    router = APIRouter()

    def described(model: str, version: str) -> ModelMetadata:
        return ModelMetadata.model_validate(inference.here.described(model, version))

    @router.get("/models/stats", name="Statistics", summary="What was inferred since the start, by model")
    async def all_statistics() -> Statistics:  # stands first, or `stats` would be a model
        return Statistics.model_construct(model_stats=inference.here.statistics())

    @router.get("/models/{model}", name="ModelMetadata", summary="A model's tensors")
    async def of_model(model: str) -> ModelMetadata:
        return described(model, "")

    @router.get("/models/{model}/versions/{version}", name="ModelVersionMetadata", summary=_OF_VERSION)
    async def of_version(model: str, version: str) -> ModelMetadata:
        return described(model, version)

    @router.get("/models/{model}/config", name="ModelConfig", summary="A model's configuration, as Triton's")
    async def config(model: str) -> dict[str, Any]:
        return inference.here.config(model)

    @router.get("/models/{model}/versions/{version}/config", name="ModelVersionConfig", summary=_OF_VERSION)
    async def version_config(model: str, version: str) -> dict[str, Any]:
        return inference.here.config(model, version)

    return router


def _ready_and_counted(inference: LateInference, lifecycle: Lifecycle) -> APIRouter:
    router = APIRouter()

    def is_ready(model: str, version: str) -> Response:
        if not (lifecycle.ready and inference.here.serves(model, version)):
            raise Malformed("model", MODEL_NOT_READY)
        return PlainTextResponse()

    @router.get(
        "/models/{model}/ready",
        name="ModelReady",
        summary="Whether a model takes requests",
        response_class=Response,
    )
    async def ready(model: str) -> Response:
        return is_ready(model, "")

    @router.get(
        "/models/{model}/versions/{version}/ready",
        name="ModelVersionReady",
        summary=_OF_VERSION,
        response_class=Response,
    )
    async def version_ready(model: str, version: str) -> Response:
        return is_ready(model, version)

    @router.get("/models/{model}/stats", name="ModelStatistics", summary="What was inferred with a model")
    async def statistics(model: str) -> Statistics:
        return Statistics.model_construct(model_stats=inference.here.statistics(model))

    @router.get("/models/{model}/versions/{version}/stats", name="ModelVersionStatistics", summary=_OF_VERSION)
    async def version_statistics(model: str, version: str) -> Statistics:
        return Statistics.model_construct(model_stats=inference.here.statistics(model, version))

    return router


def _repository(inference: LateInference, tenants: TenantResolver) -> APIRouter:
    router = APIRouter(prefix="/repository")

    def tenant_of(request: Request) -> Tenant:
        return tenants.resolve(request.headers.get)

    caller: Any = Depends(tenant_of)
    guarded: dict[str, Any] = {"responses": _NOT_ALLOWED, "response_class": Response}

    @router.post(
        "/index",
        name="RepositoryIndex",
        summary="The versions of the models, also those that were unloaded or could not be loaded",
        openapi_extra=optional_body(IndexBody, {"ready": True}),
    )
    async def index(request: Request) -> list[IndexedModel]:
        body = await request.body()
        wanted = read_body(IndexBody, body) if body else IndexBody()
        return [IndexedModel(**model) for model in inference.here.index(ready_only=wanted.ready)]

    @router.post(
        "/models/{model}/load",
        name="RepositoryModelLoad",
        summary="Look into a model's folder, and serve what is new there beside what serves",
        openapi_extra=optional_body(LoadBody, {}),
        **guarded,
    )
    async def load(model: str, request: Request, tenant: Tenant = caller) -> Response:
        if body := await request.body():
            read_body(LoadBody, body)
        await inference.here.load(tenant, model)
        return PlainTextResponse()

    @router.post(
        "/models/{model}/unload",
        name="RepositoryModelUnload",
        summary="Unload the older versions of a model; their sessions go over to the newest",
        openapi_extra=optional_body(UnloadBody, {}),
        **guarded,
    )
    async def unload(model: str, request: Request, tenant: Tenant = caller) -> Response:
        if body := await request.body():
            read_body(UnloadBody, body)
        await inference.here.unload(tenant, model)
        return PlainTextResponse()

    return router
