"""The paths that complete a text, a session's or a prompt: one JSON answer, or events as the text comes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, Query, Request, Response

from service.sessions.commands import CompleteText, Tenant
from service.sessions.service import Sessions
from service.transport.caller import TenantResolver
from service.transport.http.completion_models import (
    CompleteBody,
    CompletePromptBody,
    CompletionAnswer,
    completion_answer,
)
from service.transport.http.completion_stream import LAST_EVENT_ID, CompletionStream, Resumption
from service.transport.http.deadlines import deadline_of
from service.transport.http.leaving import CallerLeft, NoAnswer, while_connected
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
_PROMPT_EXAMPLES: dict[str, Any] = {
    "prompt": {
        "summary": "What would the model write?",
        "value": {"prompt": "def main():\n    ", "max_bytes": 40, "stop": ["\n"]},
    },
    "how likely": {
        "summary": "And how likely was every byte of it, and the two likeliest at its place?",
        "value": {"prompt": "import os\nos.", "max_bytes": 8, "top": 2},
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": f"Everything at once, or with `Accept: {_EVENTS}` pieces as they come. An event's `id`, sent "
        "back as `Last-Event-ID` with the same body, goes on behind it; an event `error` carries a problem.",
        "content": {_EVENTS: {"example": 'data: {"index": 0, "text": "walk("}\n\n'}},
    }
}


def completion_routes(sessions: Sessions, tenants: TenantResolver) -> APIRouter:
    """The routes over `sessions`."""
    router = APIRouter(prefix="/v1", responses=PROBLEMS, route_class=StrictJsonRoute)

    def tenant_of(request: Request) -> Tenant:
        return tenants.resolve(request.headers.get)

    caller: Any = Depends(tenant_of)
    deadline: Any = Depends(deadline_of)
    answers: dict[str, Any] = {
        "response_model": CompletionAnswer,
        "response_model_exclude_none": True,
        "responses": _ANSWERS,
    }

    @router.post(
        "/sessions/{id}/complete",
        name="Complete",
        summary="Go on from the cursor, changing nothing",
        tags=["sessions"],
        **answers,
    )
    async def complete(
        session: SessionPath,
        body: Annotated[CompleteBody, Body(openapi_examples=_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        request: Request,
        last_event_id: Annotated[str | None, Header(alias=LAST_EVENT_ID)] = None,
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> CompletionAnswer | Response:
        return await _answered(sessions, request, tenant, body.command(session), last_event_id, deadline_s)

    @router.post(
        "/complete",
        name="CompletePrompt",
        summary="Go on from a text without a session",
        tags=["texts"],
        **answers,
    )
    async def complete_prompt(
        body: Annotated[CompletePromptBody, Body(openapi_examples=_PROMPT_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        request: Request,
        last_event_id: Annotated[str | None, Header(alias=LAST_EVENT_ID)] = None,
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> CompletionAnswer | Response:
        return await _answered(sessions, request, tenant, body.prompt_command(), last_event_id, deadline_s)

    return router


async def _answered(
    sessions: Sessions,
    request: Request,
    tenant: Tenant,
    command: CompleteText,
    last_event_id: str | None,
    deadline_s: float | None,
) -> CompletionAnswer | Response:
    if _EVENTS not in request.headers.get("accept", ""):
        async with await sessions.complete(tenant, command, deadline_s=deadline_s) as completion:
            try:
                return await while_connected(request, completion_answer(completion))
            except CallerLeft:
                return NoAnswer()
    resumption = None if last_event_id is None else Resumption.read(last_event_id)
    if resumption is not None:
        command = resumption.command(command)
    completion = await sessions.complete(tenant, command, deadline_s=deadline_s)
    try:
        if resumption is not None:
            resumption.check(completion)
    except BaseException:
        completion.close()
        raise
    return CompletionStream(completion, command.count, resumption, request.scope["state"]["request_id"])
