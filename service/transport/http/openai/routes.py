"""OpenAI's paths: `POST /v1/completions`, `GET /v1/models`, `GET /v1/models/{id}`. Parse, call, encode."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from service.engine.requests import ModelIdentity
from service.errors import InvalidArgument
from service.sessions.commands import SessionId, Tenant
from service.sessions.service import Sessions
from service.transport.caller import TenantResolver
from service.transport.http.leaving import CallerLeft, NoAnswer, while_connected
from service.transport.http.openai.answering import Answering
from service.transport.http.openai.errors import ErrorAnswer
from service.transport.http.openai.examples import COMPLETION_ANSWERS, COMPLETION_EXAMPLES
from service.transport.http.openai.models import (
    Asked,
    Choice,
    CompletionAnswer,
    CompletionBody,
    CompletionChunk,
    ModelCard,
    ModelList,
)
from service.transport.http.openai.pinning import SESSION_HEADER, Pinned, pin
from service.transport.http.openai.stream import completion_events
from service.transport.http.owned_events import OwnedEvents, begun
from service.transport.http.served_models import model_named
from service.transport.http.sessions_routes import NoQuery
from service.transport.http.strict_json import StrictJsonRoute

_DESCRIPTION = """**A token is a byte of UTF-8**, in every count, limit, offset and list: `max_tokens` 16 is at most 16
ASCII characters.

A prompt that was sent before, or that begins with one, is not read again: its longest known beginning is found in the
state tree, and each new byte is one step. With the header `x-carousel-session` the prompt becomes the text of that
session, so that going back in it is as cheap.

The same request with the same `seed` gives the same text while `system_fingerprint` is the same."""

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "INVALID_ARGUMENT: `param` names the parameter"},
    404: {"model": ErrorAnswer, "description": "NOT_FOUND: no such model"},
    408: {"model": ErrorAnswer, "description": "DEADLINE: the body stopped coming for half a minute"},
    409: {"model": ErrorAnswer, "description": "REVISION_CONFLICT: others write to the pinned session"},
    413: {"model": ErrorAnswer, "description": "INVALID_ARGUMENT: the body is larger than this server takes"},
    429: {"model": ErrorAnswer, "description": "OVERLOADED: retry after the header `retry-after`"},
    503: {"model": ErrorAnswer, "description": "UNAVAILABLE: retry after the header `retry-after`"},
}


def openai_routes(sessions: Sessions, tenants: TenantResolver) -> APIRouter:
    """The routes over `sessions`."""
    router = APIRouter(prefix="/v1", tags=["openai"], responses=_ERRORS, route_class=StrictJsonRoute)
    began = int(time.time())  # the models were loaded about then

    def tenant_of(request: Request) -> Tenant:
        return tenants.resolve(request.headers.get)

    caller: Any = Depends(tenant_of)

    @router.post(
        "/completions",
        name="OpenAICompletions",
        summary="OpenAI's completions",
        description=_DESCRIPTION,
        response_model=CompletionAnswer,
        responses=COMPLETION_ANSWERS,
    )
    async def completions(
        body: Annotated[CompletionBody, Body(openapi_examples=COMPLETION_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        request: Request,
        session: Annotated[
            str | None,
            Header(alias=SESSION_HEADER, description="Makes the prompt the text of this session, which may be new."),
        ] = None,
        tenant: Tenant = caller,
    ) -> Response:
        asked = body.asked()
        model = model_named(sessions, asked.model)
        pinned = None if session is None else await _pinned(sessions, tenant, SessionId(session), asked)
        headers: Mapping[str, str] = {} if pinned is None else pinned.headers
        answering = Answering(sessions, tenant, asked, None if pinned is None else pinned.session)
        id_, created = f"cmpl-{request.scope['state']['request_id']}", int(time.time())

        def chunk_of(choices: list[Choice]) -> CompletionChunk:
            return CompletionChunk.model_construct(
                id=id_,
                object="text_completion",
                created=created,
                model=model.name,
                system_fingerprint=_fingerprint(model),
                choices=choices,
            )

        try:
            if asked.stream:
                pieces = await begun(request, answering.pieces())
                return OwnedEvents(completion_events(answering, pieces, chunk_of), pieces, headers)
            choices = await while_connected(request, answering.choices())
        except CallerLeft:
            return NoAnswer()
        return JSONResponse({**chunk_of(choices).model_dump(), "usage": answering.usage.model_dump()}, headers=headers)

    @router.get("/models", name="OpenAIModels", summary="The models that may be named, in OpenAI's shape")
    async def models(_: Annotated[NoQuery, Query()], tenant: Tenant = caller) -> ModelList:
        return ModelList(data=[ModelCard(id=model.name, created=began) for model in sessions.models])

    @router.get("/models/{id}", name="OpenAIModel", summary="One model, in OpenAI's shape")
    async def model(
        name: Annotated[str, Path(alias="id", description="Its name.")],
        _: Annotated[NoQuery, Query()],
        tenant: Tenant = caller,
    ) -> ModelCard:
        return ModelCard(id=model_named(sessions, name).name, created=began)

    return router


async def _pinned(sessions: Sessions, tenant: Tenant, session: SessionId, asked: Asked) -> Pinned:
    if len(asked.prompts) > 1:
        raise InvalidArgument(SESSION_HEADER, "one session holds one text; send one prompt, or leave the header out")
    return await pin(sessions, tenant, session, asked.prompts[0].whole("prompt"), asked.model)


def _fingerprint(model: ModelIdentity) -> str:
    """Changes with whatever may change the bits of an answer."""
    return "fp_" + hashlib.sha256(f"{model.digest} {model.numerics_id}".encode()).hexdigest()[:16]
