"""The paths on which a session becomes another one: forked here, exported there, imported elsewhere."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from pydantic import Field

from service.sessions.commands import ExportSession, ImportSession, SessionId, Tenant, Units
from service.sessions.service import Sessions
from service.transport.caller import TenantResolver
from service.transport.http.deadlines import deadline_of, in_time
from service.transport.http.models import ForkBody, SessionAnswer, UnitsName, session_answer
from service.transport.http.session_examples import DOCUMENT_EXAMPLE, FORK_EXAMPLES
from service.transport.http.sessions_routes import PROBLEMS, NoQuery, SessionPath
from service.transport.http.strict_json import StrictJsonRoute

IMPORT_PATH = "/v1/sessions/import"
"""Takes larger bodies than the others: a document's history may outgrow its text."""

_JSON = "application/json"
_DOCUMENT: dict[str, Any] = {
    "schema": {"type": "object", "description": "What `ExportSession` answers, unchanged."},
    "example": json.loads(DOCUMENT_EXAMPLE),
}


class ImportQuery(NoQuery):
    """What is to be different from then."""

    id: str | None = Field(default=None, description="The session's id; that of then if left out.")
    model: str | None = Field(default=None, description="The model's name; that of then if left out.")
    units: UnitsName = "codepoint"


def moving_routes(sessions: Sessions, tenants: TenantResolver) -> APIRouter:
    """The routes over `sessions`."""
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"], responses=PROBLEMS, route_class=StrictJsonRoute)
    answers: dict[str, Any] = {"response_model": SessionAnswer, "response_model_exclude_none": True}

    def tenant_of(request: Request) -> Tenant:
        return tenants.resolve(request.headers.get)

    caller: Any = Depends(tenant_of)
    deadline: Any = Depends(deadline_of)

    @router.post(
        "/{id}/fork",
        name="ForkSession",
        status_code=201,
        summary="Start a session with the text and history of this one",
        **answers,
    )
    async def fork(
        session: SessionPath,
        body: Annotated[ForkBody, Body(openapi_examples=FORK_EXAMPLES)],
        _: Annotated[NoQuery, Query()],
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> SessionAnswer:
        return session_answer(await in_time(sessions.fork(tenant, body.command(session)), deadline_s))

    @router.get(
        "/{id}/export",
        name="ExportSession",
        summary="Read a session as a document that any server imports",
        response_class=Response,
        responses={200: {"description": "The document.", "content": {_JSON: _DOCUMENT}}},
    )
    async def export(
        session: SessionPath,
        _: Annotated[NoQuery, Query()],
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> Response:
        exporting = sessions.export(tenant, ExportSession(SessionId(session)))
        return Response(await in_time(exporting, deadline_s), media_type=_JSON)

    @router.post(
        "/import",
        name="ImportSession",
        status_code=201,
        summary="Start a session from a document, with its history and what makes retries safe",
        description="The body is the document. A session that has grown out of it is answered as it is now.",
        openapi_extra={"requestBody": {"required": True, "content": {_JSON: _DOCUMENT}}},
        **answers,
    )
    async def import_(
        request: Request,
        query: Annotated[ImportQuery, Query()],
        tenant: Tenant = caller,
        deadline_s: float | None = deadline,
    ) -> SessionAnswer:
        command = ImportSession(
            document=await request.body(),
            id=None if query.id is None else SessionId(query.id),
            model=query.model,
            units=Units(query.units),
        )
        return session_answer(await in_time(sessions.import_(tenant, command), deadline_s))

    return router
