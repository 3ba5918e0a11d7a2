"""`POST /v2/models/{model}/infer`: parse, call, encode; JSON, or JSON with bytes behind it, compressed or not."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Response

from service.sessions.commands import Tenant
from service.transport.caller import TenantResolver
from service.transport.http.kserve.bodies import InferAnswerBody, InferBody
from service.transport.http.kserve.compression import compressed, decompressed, wanted_encoding
from service.transport.http.kserve.documentation import (
    ANSWER_EXAMPLE,
    INFER_DESCRIPTION,
    INFER_EXAMPLES,
    NO_QUERY,
    inlined,
)
from service.transport.http.kserve.errors import INFER_REFUSALS
from service.transport.http.kserve.json_tensors import answer_body, read_request
from service.transport.http.leaving import CallerLeft, NoAnswer, while_connected
from service.transport.kserve.late import LateInference

HEADER_LENGTH: Final = "inference-header-content-length"
_JSON: Final = "application/json"
_BINARY: Final = "application/octet-stream"
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}

_REQUEST: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "required": False,
            "description": "How many bytes of the body are JSON, if tensors stand behind it as bytes.",
            "schema": {"type": "integer", "minimum": 1},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {_JSON: {"schema": inlined(InferBody), "examples": INFER_EXAMPLES}, _BINARY: _BYTES},
    },
}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": f"The outputs. If one is wanted as bytes, the body is `{_BINARY}`: JSON, of the length that the "
        "header Inference-Header-Content-Length says, and the bytes behind it.",
        "content": {_JSON: {"example": ANSWER_EXAMPLE}, _BINARY: _BYTES},
    }
}


def infer_routes(inference: LateInference, tenants: TenantResolver, *, max_request_bytes: int) -> APIRouter:
    """The routes; of a model, and of a version of it."""
    router = APIRouter(prefix="/v2", tags=["kserve"], responses=INFER_REFUSALS, dependencies=NO_QUERY)

    def tenant_of(request: Request) -> Tenant:
        return tenants.resolve(request.headers.get)

    caller: Any = Depends(tenant_of)
    documented: dict[str, Any] = {
        "response_model": InferAnswerBody,
        "responses": _ANSWERS,
        "openapi_extra": _REQUEST,
        "description": INFER_DESCRIPTION,
    }

    @router.post("/models/{model}/infer", name="ModelInfer", summary="Infer", **documented)
    async def infer(model: str, request: Request, tenant: Tenant = caller) -> Response:
        return await answered(model, "", request, tenant)

    @router.post(
        "/models/{model}/versions/{version}/infer",
        name="ModelVersionInfer",
        summary="Infer with a version, named by its number or by 8 digits or more of its digest",
        **documented,
    )
    async def infer_version(model: str, version: str, request: Request, tenant: Tenant = caller) -> Response:
        return await answered(model, version, request, tenant)

    async def answered(model: str, version: str, request: Request, tenant: Tenant) -> Response:
        headers = request.headers
        body = decompressed(await request.body(), headers.get("content-encoding"), max_request_bytes)
        inference.here.model(model, version)
        inputs = inference.here.signature(model).inputs
        asked = read_request(model, version, body, headers.get(HEADER_LENGTH), inputs)
        try:
            answer = await while_connected(request, inference.here.infer(tenant, asked.request))
        except CallerLeft:
            return NoAnswer()
        content, header_length = answer_body(asked, answer)
        response = Response(content, media_type=_JSON if header_length is None else _BINARY)
        if header_length is not None:
            response.headers[HEADER_LENGTH] = str(header_length)
        encoding = wanted_encoding(headers.get("accept-encoding"), content)
        if encoding is not None:
            response.body = compressed(content, encoding)
            response.headers["content-length"] = str(len(response.body))
            response.headers["content-encoding"] = encoding
        response.headers["vary"] = "accept-encoding"
        return response

    return router
