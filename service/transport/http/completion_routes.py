"""The path that completes a session's text: one JSON answer, or events as the text comes."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response
from starlette.types import Receive, Scope, Send

from service.sessions.commands import Tenant
from service.sessions.completions import Completion
from service.sessions.service import Sessions
from service.transport.caller import TenantResolver
from service.transport.http.completion_models import CompleteBody, CompletionAnswer, completion_answer
from service.transport.http.completion_stream import LAST_EVENT_ID, CompletionStream, Resumption
from service.transport.http.sessions_routes import PROBLEMS, NoQuery, SessionPath
from service.transport.http.strict_json import StrictJsonRoute

_EVENTS = "text/event-stream"
_EXAMPLES: dict[str, Any] = {
    "line": {"summary": "The rest of the line, the likeliest", "value": {"max_bytes": 80, "stop": ["\n"]}},
    "ideas": {
        "summary": "Three ideas, the same ones every time",
        "value": {"count": 3, "max_bytes": 40, "temperature": 0.8, "top_p": 0.95, "seed": 7},
    },
    "never ends by itself": {
        "summary": "Bias the end of the text away",
        "value": {"max_bytes": 200, "logit_bias": {"255": -100}},
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": f"Everything at once, or with `Accept: {_EVENTS}` pieces as they come. An event's `id`, sent "
        "back as `Last-Event-ID` with the same body, goes on behind it; an event `error` carries a problem.",
        "content": {_EVENTS: {"schema": {"type": "string"}, "example": 'data: {"index": 0, "text": "walk("}\n\n'}},
    }
}


def completion_routes(sessions: Sessions, tenants: TenantResolver) -> APIRouter:
    """The route over `sessions`."""
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"], responses=PROBLEMS, route_class=StrictJsonRoute)

    def tenant_of(request: Request) -> Tenant:
        return tenants.resolve(request.headers.get)

    caller: Any = Depends(tenant_of)

    @router.post(
        "/{id}/complete",
        name="Complete",
        summary="Go on from the cursor, changing nothing",
        response_model=CompletionAnswer,
        response_model_exclude_none=True,
        responses=_ANSWERS,
    )
    async def complete(
        session: SessionPath,
        body: Annotated[CompleteBody, Body(openapi_examples=_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        request: Request,
        last_event_id: Annotated[str | None, Header(alias=LAST_EVENT_ID)] = None,
        tenant: Tenant = caller,
    ) -> CompletionAnswer | Response:
        command = body.command(session)
        if _EVENTS not in request.headers.get("accept", ""):
            async with await sessions.complete(tenant, command) as completion:
                return await _while_connected(request, completion)
        resumption = None if last_event_id is None else Resumption.read(last_event_id)
        if resumption is not None:
            command = resumption.command(command)
        completion = await sessions.complete(tenant, command)
        try:
            if resumption is not None:
                resumption.check(completion)
        except BaseException:
            completion.close()
            raise
        return CompletionStream(completion, command.count, resumption, request.scope["state"]["request_id"])

    return router


async def _while_connected(request: Request, completion: Completion) -> CompletionAnswer | Response:
    """The answer; nothing, and an end to the work, if the caller does not wait for it."""
    answering = asyncio.ensure_future(completion_answer(completion))
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        return answering.result() if answering.done() else _NoAnswer()
    finally:
        answering.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass  # the rest of a body that was read already


class _NoAnswer(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Nobody is there to be answered."""
