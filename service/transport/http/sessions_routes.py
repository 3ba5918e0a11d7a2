"""The session paths of the REST facade: parse, call, encode."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict

from service.sessions.commands import DeleteSession, GetSession, SessionId, Tenant, Units
from service.sessions.service import Sessions
from service.transport.caller import TenantResolver
from service.transport.http.models import CreateBody, EditsBody, Problem, SessionAnswer, UnitsName, session_answer
from service.transport.http.strict_json import StrictJsonRoute

SessionPath = Annotated[str, Path(alias="id", description="The session's id.")]


class NoQuery(BaseModel):
    """No query parameters; one that is given is refused, like an unknown field."""

    model_config = ConfigDict(extra="forbid")


class GetQuery(NoQuery):
    """What to show of a session."""

    include: Literal["text"] | None = None
    units: UnitsName = "codepoint"


PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "NOT_FOUND: no such session or model, as far as the caller can know"},
    409: {"model": Problem, "description": "REVISION_CONFLICT: carries the current `revision`"},
    422: {"model": Problem, "description": "INVALID_ARGUMENT: names the `field`"},
    429: {"model": Problem, "description": "OVERLOADED: retry after `retry_after_s`"},
    503: {"model": Problem, "description": "UNAVAILABLE: retry after `retry_after_s`"},
}
"""How the session paths refuse, for their documentation."""

_CREATE_EXAMPLES: dict[str, Any] = {
    "suggest at once": {
        "summary": "Start with a text and ask for suggestions",
        "value": {"text": "import os\nfor root, dirs, files in os.", "suggest": {"count": 3}},
    },
    "empty": {"summary": "Start empty", "value": {}},
    "own id": {"summary": "Choose the id, so that a retry is safe", "value": {"id": "tab-17", "text": "def main():"}},
}
_EDIT_EXAMPLES: dict[str, Any] = {
    "type": {
        "summary": "Type, and ask what comes next",
        "value": {
            "revision": 1,
            "edit_id": "a1-1",
            "edits": [{"insert": "walk("}],
            "suggest": {"count": 3, "max_bytes": 48, "stop": "line"},
        },
    },
    "block": {
        "summary": "Ask for the rest of the block, but for no comment",
        "value": {
            "revision": 1,
            "edits": [{"insert": "walk('.'):"}],
            "suggest": {"count": 1, "max_bytes": 256, "stop": "block", "stop_strings": ["#"]},
        },
    },
    "correct": {
        "summary": "Delete two characters and type others, as one edit",
        "value": {"revision": 2, "edits": [{"delete": 2}, {"insert": "f("}]},
    },
    "replace": {
        "summary": "Replace a range, counted as an editor counts it",
        "value": {"revision": 3, "units": "utf16", "edits": [{"replace": {"start": 7, "end": 9, "text": "sys"}}]},
    },
    "accept": {
        "summary": "Take a suggestion",
        "value": {"revision": 4, "edits": [{"accept": {"suggestion": "the id of a suggestion"}}]},
    },
    "undo": {"summary": "Go back to an earlier revision", "value": {"revision": 5, "edits": [{"undo_to": 2}]}},
}


def session_routes(sessions: Sessions, tenants: TenantResolver) -> APIRouter:
    """The routes over `sessions`."""
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"], responses=PROBLEMS, route_class=StrictJsonRoute)
    answers: dict[str, Any] = {"response_model": SessionAnswer, "response_model_exclude_none": True}

    def tenant_of(request: Request) -> Tenant:
        return tenants.resolve(request.headers.get)

    caller: Any = Depends(tenant_of)

    @router.post("", name="CreateSession", status_code=201, summary="Start a session", **answers)
    async def create(
        body: Annotated[CreateBody, Body(openapi_examples=_CREATE_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        tenant: Tenant = caller,
    ) -> SessionAnswer:
        return session_answer(await sessions.create(tenant, body.command()))

    @router.get("/{id}", name="GetSession", summary="Read a session", **answers)
    async def get(session: SessionPath, query: Annotated[GetQuery, Query()], tenant: Tenant = caller) -> SessionAnswer:
        command = GetSession(SessionId(session), query.include == "text", Units(query.units))
        return session_answer(await sessions.get(tenant, command))

    @router.delete("/{id}", name="DeleteSession", status_code=204, summary="Forget a session and its text")
    async def delete(session: SessionPath, _: Annotated[NoQuery, Query()], tenant: Tenant = caller) -> Response:
        await sessions.delete(tenant, DeleteSession(SessionId(session)))
        return Response(status_code=204)

    @router.post("/{id}/edits", name="Edit", summary="Edit, all or none, and suggest", **answers)
    async def edit(
        session: SessionPath,
        body: Annotated[EditsBody, Body(openapi_examples=_EDIT_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        tenant: Tenant = caller,
    ) -> SessionAnswer:
        return session_answer(await sessions.edit(tenant, body.command(session)))

    return router
