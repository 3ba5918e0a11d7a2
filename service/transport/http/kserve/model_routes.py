"""The paths of `/v2` that tell of models: ready, metadata, configuration, statistics, repository."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from service.transport.http.kserve.bodies import IndexBody, IndexedModel, ModelMetadata, Statistics, read_body
from service.transport.http.kserve.documentation import optional_body
from service.transport.http.kserve.errors import REFUSALS, KserveError
from service.transport.kserve import metadata
from service.transport.kserve.late import LateInference
from service.transport.kserve.refusals import MODEL_NOT_READY, Malformed, loading_is_off
from service.transport.lifecycle import Lifecycle

_OFF: dict[int | str, dict[str, Any]] = {403: {"model": KserveError, "description": "PERMISSION_DENIED: always"}}


def model_routes(inference: LateInference, lifecycle: Lifecycle) -> APIRouter:
    """The routes; every one of a model stands there once more for a version of it."""
    router = APIRouter(prefix="/v2", tags=["kserve"], responses=REFUSALS)

    @router.get("/models/stats", name="Statistics", summary="What was inferred since the start, by model")
    async def all_statistics() -> Statistics:
        return Statistics.model_construct(model_stats=inference.here.statistics())

    @router.get("/models/{model}", name="ModelMetadata", summary="A model's tensors")
    @router.get("/models/{model}/versions/{version}", name="ModelVersionMetadata", summary="The same of a version")
    async def model_metadata(model: str, version: str = "") -> ModelMetadata:
        return ModelMetadata.model_validate(metadata.model_metadata(inference.here.model(model, version)))

    @router.get("/models/{model}/ready", name="ModelReady", summary="Whether a model takes requests")
    @router.get("/models/{model}/versions/{version}/ready", name="ModelVersionReady", summary="The same of a version")
    async def model_ready(model: str, version: str = "") -> Response:
        if not (lifecycle.ready and inference.here.serves(model, version)):
            raise Malformed("model", MODEL_NOT_READY)
        return Response()

    @router.get("/models/{model}/config", name="ModelConfig", summary="A model's configuration, as Triton's")
    @router.get("/models/{model}/versions/{version}/config", name="ModelVersionConfig", summary="The same of a version")
    async def model_config(model: str, version: str = "") -> dict[str, Any]:
        return metadata.model_config(inference.here.model(model, version))

    @router.get("/models/{model}/stats", name="ModelStatistics", summary="What was inferred with a model")
    @router.get("/models/{model}/versions/{version}/stats", name="ModelVersionStatistics", summary="With a version")
    async def model_statistics(model: str, version: str = "") -> Statistics:
        return Statistics.model_construct(model_stats=inference.here.statistics(model, version))

    @router.post(
        "/repository/index",
        name="RepositoryIndex",
        summary="The models of this server",
        openapi_extra=optional_body(IndexBody, {"ready": True}),
    )
    async def repository_index(request: Request) -> list[IndexedModel]:
        if body := await request.body():
            read_body(IndexBody, body)  # all of them are ready once the server answers
        return [IndexedModel(**model) for model in metadata.repository_index(inference.here.models)]

    @router.post(
        "/repository/models/{model}/load",
        name="RepositoryModelLoad",
        summary="Refused: models are chosen when the server starts",
        responses=_OFF,
    )
    async def load(model: str) -> Response:
        raise loading_is_off()

    @router.post(
        "/repository/models/{model}/unload",
        name="RepositoryModelUnload",
        summary="Refused: models are chosen when the server starts",
        responses=_OFF,
    )
    async def unload(model: str) -> Response:
        raise loading_is_off()

    return router
