"""The path that says how likely a text is."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request, Response

from service.sessions.commands import Tenant
from service.sessions.service import Sessions
from service.transport.caller import TenantResolver
from service.transport.http.deadlines import deadline_of
from service.transport.http.leaving import CallerLeft, NoAnswer, while_connected
from service.transport.http.score_models import ScoreAnswer, ScoreBody, score_json
from service.transport.http.sessions_routes import PROBLEMS, NoQuery
from service.transport.http.strict_json import StrictJsonRoute

_AT_ONCE = 2048  # bytes of text; the JSON of more is written on another thread, or keystrokes would wait for it
_EXAMPLES: dict[str, Any] = {
    "review": {
        "summary": "Where would the model have written something else?",
        "value": {"text": "import os\nfor root, dirs, flies in os.walk('.'):\n    pritn(root)\n", "surprises": 3},
    },
    "alternatives": {
        "summary": "The last line alone, with two alternatives at each byte",
        "value": {"text": "def add(a, b):\n    return a", "start": 15, "top": 2, "surprises": 0},
    },
    "session": {"summary": "All of a session's text", "value": {"session": "tab-17", "units": "utf16"}},
}


def score_routes(sessions: Sessions, tenants: TenantResolver) -> APIRouter:
    """The route over `sessions`."""
    router = APIRouter(prefix="/v1", tags=["texts"], responses=PROBLEMS, route_class=StrictJsonRoute)

    def tenant_of(request: Request) -> Tenant:
        return tenants.resolve(request.headers.get)

    caller: Any = Depends(tenant_of)
    deadline: Any = Depends(deadline_of)

    @router.post(
        "/score",
        name="Score",
        summary="How likely every byte of a text is, and where the model expected something else",
        response_model=ScoreAnswer,
    )
    async def score(
        body: Annotated[ScoreBody, Body(openapi_examples=_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        request: Request,
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> Response:
        try:
            scored = await while_connected(request, sessions.score(tenant, body.command(), deadline_s=deadline_s))
        except CallerLeft:
            return NoAnswer()
        if len(scored.log_probabilities) <= _AT_ONCE:
            return Response(score_json(scored), media_type="application/json")
        return Response(await asyncio.to_thread(score_json, scored), media_type="application/json")

    return router
