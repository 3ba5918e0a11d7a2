"""The session paths of the REST facade: parse, call, encode."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.sessions.commands import DeleteSession, GetSession, ListSessions, SessionId, Tenant, Units
from service.sessions.service import Sessions
from service.transport.caller import TenantResolver
from service.transport.http.deadlines import deadline_of, in_time
from service.transport.http.models import (
    CreateBody,
    EditsBody,
    ListAnswer,
    Problem,
    SessionAnswer,
    TextBody,
    UnitsName,
    list_answer,
    session_answer,
)
from service.transport.http.session_examples import CREATE_EXAMPLES, EDIT_EXAMPLES, TEXT_EXAMPLES
from service.transport.http.strict_json import StrictJsonRoute

SessionPath = Annotated[str, Path(alias="id", description="The session's id.")]


class NoQuery(BaseModel):
    """No query parameters; one that is given is refused, like an unknown field."""

    model_config = ConfigDict(extra="forbid")


class GetQuery(NoQuery):
    """What to show of a session."""

    include: Literal["text"] | None = None
    units: UnitsName = "codepoint"


class ListQuery(NoQuery):
    """Which part of the list."""

    after: str | None = Field(default=None, description="The `after` of the part before; the first part if left out.")
    limit: int = Field(default=ListSessions().limit, description="1 to 1000.")


PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "NOT_FOUND: no such session or model, as far as the caller can know"},
    408: {"model": Problem, "description": "DEADLINE: the body stopped coming for half a minute"},
    409: {"model": Problem, "description": "REVISION_CONFLICT: carries the current `revision`"},
    413: {"model": Problem, "description": "INVALID_ARGUMENT: the body is larger than this server takes"},
    422: {"model": Problem, "description": "INVALID_ARGUMENT: names the `field`"},
    429: {"model": Problem, "description": "OVERLOADED: retry after `retry_after_s`"},
    503: {"model": Problem, "description": "UNAVAILABLE: retry after `retry_after_s`"},
    504: {"model": Problem, "description": "DEADLINE: the time of `x-carousel-timeout-ms` was up"},
}
"""How the session paths refuse, for their documentation."""


def session_routes(sessions: Sessions, tenants: TenantResolver) -> APIRouter:
    """The routes over `sessions`."""
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"], responses=PROBLEMS, route_class=StrictJsonRoute)
    answers: dict[str, Any] = {"response_model": SessionAnswer, "response_model_exclude_none": True}

    def tenant_of(request: Request) -> Tenant:
        return tenants.resolve(request.headers.get)

    caller: Any = Depends(tenant_of)
    deadline: Any = Depends(deadline_of)

    @router.post("", name="CreateSession", status_code=201, summary="Start a session", **answers)
    async def create(
        body: Annotated[CreateBody, Body(openapi_examples=CREATE_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> SessionAnswer:
        return session_answer(await sessions.create(tenant, body.command(), deadline_s=deadline_s))

    @router.get("", name="ListSessions", summary="List the caller's sessions", response_model_exclude_none=True)
    async def page(
        query: Annotated[ListQuery, Query()], tenant: Tenant = caller, deadline_s: float | None = deadline
    ) -> ListAnswer:
        after = None if query.after is None else SessionId(query.after)
        return list_answer(await in_time(sessions.page(tenant, ListSessions(after, query.limit)), deadline_s))

    @router.get("/{id}", name="GetSession", summary="Read a session", **answers)
    async def get(
        session: SessionPath,
        query: Annotated[GetQuery, Query()],
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> SessionAnswer:
        command = GetSession(SessionId(session), query.include == "text", Units(query.units))
        return session_answer(await in_time(sessions.get(tenant, command), deadline_s))

    @router.delete("/{id}", name="DeleteSession", status_code=204, summary="Forget a session and its text")
    async def delete(
        session: SessionPath,
        _: Annotated[NoQuery, Query()],
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> Response:
        await in_time(sessions.delete(tenant, DeleteSession(SessionId(session))), deadline_s)
        return Response(status_code=204)

    @router.post("/{id}/edits", name="Edit", summary="Edit, all or none, and suggest", **answers)
    async def edit(
        session: SessionPath,
        body: Annotated[EditsBody, Body(openapi_examples=EDIT_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> SessionAnswer:
        return session_answer(await sessions.edit(tenant, body.command(session), deadline_s=deadline_s))

    @router.put("/{id}/text", name="SetText", summary="Set the whole text; what differs is one edit", **answers)
    async def set_text(
        session: SessionPath,
        body: Annotated[TextBody, Body(openapi_examples=TEXT_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> SessionAnswer:
        return session_answer(await sessions.set_text(tenant, body.command(session), deadline_s=deadline_s))

    return router
