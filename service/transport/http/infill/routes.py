"""llama.cpp's paths: `/infill`, `/completion`, `/health`, `/props`. Parse, call, encode."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from fastapi.responses import JSONResponse

import service
from service.errors import Unavailable
from service.sessions.commands import Tenant
from service.sessions.limits import Limits
from service.sessions.service import Sessions
from service.sessions.units import check_text
from service.transport.caller import TenantResolver
from service.transport.http.infill.answering import Answering
from service.transport.http.infill.answers import settings_of
from service.transport.http.infill.errors import LlamaErrorAnswer
from service.transport.http.infill.examples import ANSWERS, COMPLETION_EXAMPLES, INFILL_EXAMPLES
from service.transport.http.infill.models import (
    Health,
    InfillBody,
    LlamaCompletion,
    LlamaCompletionBody,
    OptionsBody,
    Props,
)
from service.transport.http.infill.options import options_of
from service.transport.http.infill.prompts import left_of, prompts_of
from service.transport.http.infill.stream import llama_events
from service.transport.http.leaving import CallerLeft, NoAnswer, while_connected
from service.transport.http.owned_events import OwnedEvents, begun
from service.transport.http.served_models import model_named
from service.transport.http.sessions_routes import NoQuery
from service.transport.http.strict_json import StrictJsonRoute
from service.transport.lifecycle import Lifecycle

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": LlamaErrorAnswer, "description": "A field is wrong, or not supported: the message names it"},
    404: {"model": LlamaErrorAnswer, "description": "No such model"},
    408: {"model": LlamaErrorAnswer, "description": "The body stopped coming for half a minute"},
    413: {"model": LlamaErrorAnswer, "description": "The body is larger than this server takes"},
    429: {"model": LlamaErrorAnswer, "description": "Overloaded: retry after the header `retry-after`"},
    503: {"model": LlamaErrorAnswer, "description": "Warming up, or ending"},
}

_INFILL = """As llama.vim and llama.vscode call it. **A token is a byte of UTF-8.**

The model reads `input_extra`, `input_prefix` and `prompt`, in this order, of long ones the last 4 to 8 KiB; what it has
read before costs nothing. It cannot read what comes after the cursor: several candidates are made, cut where
`input_suffix` may follow, and the one is told after which it is likeliest."""


def llama_routes(sessions: Sessions, tenants: TenantResolver, lifecycle: Lifecycle) -> APIRouter:
    """The routes over `sessions`."""
    router = APIRouter(tags=["llama.cpp"], responses=_ERRORS, route_class=StrictJsonRoute)

    def tenant_of(request: Request) -> Tenant:
        return tenants.resolve(request.headers.get)

    caller: Any = Depends(tenant_of)

    async def answered(
        request: Request, tenant: Tenant, body: OptionsBody, prompts: tuple[str, ...] | str, suffix: str = ""
    ) -> Response:
        options = options_of(body)
        texts = (prompts,) if isinstance(prompts, str) else prompts
        answering = Answering(sessions, tenant, options, model_named(sessions, options.model).name, texts, suffix)
        try:
            if options.stream:
                pieces = await begun(request, answering.events())
                return OwnedEvents(llama_events(pieces), pieces)
            answers = await while_connected(request, answering.answers())
        except CallerLeft:
            return NoAnswer()
        alone = isinstance(prompts, str) and options.count == 1
        return JSONResponse(answers[0] if alone else answers)

    @router.post(
        "/infill",
        name="LlamaInfill",
        summary="llama.cpp's infill: what fits between two texts",
        description=_INFILL,
        response_model=LlamaCompletion,
        responses=ANSWERS,
    )
    async def infill(
        body: Annotated[InfillBody, Body(openapi_examples=INFILL_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        request: Request,
        tenant: Tenant = caller,
    ) -> Response:
        check_text(body.input_suffix, "input_suffix")
        return await answered(request, tenant, body, left_of(body), body.input_suffix)

    @router.post(
        "/completion",
        name="LlamaCompletion",
        summary="llama.cpp's completion",
        description="**A token is a byte of UTF-8.** With several prompts or `n_cmpl` above 1 the answer is a list.",
        response_model=LlamaCompletion | list[LlamaCompletion],
        responses=ANSWERS,
    )
    async def completion(
        body: Annotated[LlamaCompletionBody, Body(openapi_examples=COMPLETION_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        request: Request,
        tenant: Tenant = caller,
    ) -> Response:
        return await answered(request, tenant, body, prompts_of(body.prompt))

    async def health(_: Annotated[NoQuery, Query()]) -> Health:
        if not lifecycle.ready:
            raise Unavailable("the server is shutting down" if lifecycle.draining else "Loading model", 1.0)
        return Health()

    for path, name in (("/health", "LlamaHealth"), ("/v1/health", "LlamaHealthV1")):
        router.get(path, name=name, summary="llama.cpp's health: the server is warm")(health)

    @router.get("/props", name="LlamaProps", summary="llama.cpp's properties of the server")
    async def props(_: Annotated[NoQuery, Query()]) -> Props:
        default = sessions.model(None).name
        return Props(
            default_generation_settings={
                "id": 0,
                "id_task": -1,
                "n_ctx": Limits().max_text_bytes,
                "is_processing": False,
                "params": settings_of(options_of(OptionsBody())),
            },
            model_alias=default,
            model_path=default,
            build_info=f"carousel {service.__version__}",
        )

    return router
