"""The REST application: every path a FastAPI route in one OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

import service
from service.sessions.service import Sessions
from service.transport.caller import REQUEST_ID_HEADER, TenantResolver
from service.transport.http.completion_routes import completion_routes
from service.transport.http.completion_stream import LAST_EVENT_ID
from service.transport.http.deadlines import TIMEOUT_HEADER
from service.transport.http.documentation import add_documentation
from service.transport.http.door import Door
from service.transport.http.error_answers import answer_errors_of
from service.transport.http.infill.routes import llama_routes
from service.transport.http.intake import Intake
from service.transport.http.key_gate import KeyGate, document_keys
from service.transport.http.kserve.infer_routes import HEADER_LENGTH, infer_routes
from service.transport.http.kserve.memory_routes import memory_routes
from service.transport.http.kserve.model_routes import model_routes
from service.transport.http.kserve.server_routes import server_routes
from service.transport.http.moving_routes import IMPORT_PATH, moving_routes
from service.transport.http.openai.pinning import REVISION_HEADER, SESSION_HEADER
from service.transport.http.openai.routes import openai_routes
from service.transport.http.operations_routes import operations_routes
from service.transport.http.problems import CODE_HEADER, MEDIA_TYPE
from service.transport.http.score_routes import score_routes
from service.transport.http.sessions_routes import session_routes
from service.transport.http.websocket.messages import event_schemas
from service.transport.http.websocket.routes import typing_routes, unknown_sockets
from service.transport.kserve.late import LateInference
from service.transport.lifecycle import Lifecycle
from service.transport.observer import RequestObserver

_DESCRIPTION = """Autocomplete whose model remembers.

Start a session, send edits as they are typed, and get suggestions for what comes next at the cursor.
Errors are RFC 9457 problem details with a stable `code`; every answer carries `x-request-id`.
With the header `x-carousel-timeout-ms` a caller says how long it waits."""


def create_app(
    sessions: Sessions,
    *,
    tenants: TenantResolver,
    lifecycle: Lifecycle,
    observer: RequestObserver,
    metrics_url: str,
    host: str,
    allowed_origins: Sequence[str],
    max_request_bytes: int,
    inference: LateInference | None = None,
) -> ASGIApp:
    """The application for one HTTP port; `host` is the address that the port listens on.

    inference: shared with the gRPC facade; one of its own if not given.
    """
    app = _Documented(
        title="Carousel",
        version=service.__version__,
        description=_DESCRIPTION,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.asks_for_keys = tenants.asks_for_keys
    app.include_router(session_routes(sessions, tenants))
    app.include_router(moving_routes(sessions, tenants))
    app.include_router(completion_routes(sessions, tenants))
    app.include_router(score_routes(sessions, tenants))
    app.include_router(openai_routes(sessions, tenants))
    app.include_router(llama_routes(sessions, tenants, lifecycle))
    app.include_router(
        typing_routes(sessions, tenants, lifecycle=lifecycle, observer=observer, max_message_bytes=max_request_bytes)
    )
    kserve = inference or LateInference(sessions)
    app.include_router(infer_routes(kserve, tenants, max_request_bytes=max_request_bytes))
    app.include_router(model_routes(kserve, lifecycle, tenants))
    app.include_router(server_routes(kserve, lifecycle))
    app.include_router(memory_routes())
    app.include_router(operations_routes(lifecycle, metrics_url))
    app.include_router(unknown_sockets())
    add_documentation(app)
    answer_errors_of(app)
    if tenants.asks_for_keys:
        app.add_middleware(KeyGate, tenants=tenants)
    if allowed_origins:  # outside of the gate, so that a page may read that its key is not known
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(allowed_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=[
                "authorization",
                "content-type",
                REQUEST_ID_HEADER,
                LAST_EVENT_ID,
                SESSION_HEADER,
                TIMEOUT_HEADER,
                HEADER_LENGTH,
            ],
            expose_headers=[
                REQUEST_ID_HEADER,
                CODE_HEADER,
                "retry-after",
                SESSION_HEADER,
                REVISION_HEADER,
                HEADER_LENGTH,
            ],
        )
    return Intake(
        app,
        door=Door(host, allowed_origins),
        observer=observer,
        lifecycle=lifecycle,
        max_request_bytes=max_request_bytes,
        larger_requests={IMPORT_PATH: sessions.max_document_bytes},
    )


class _Documented(FastAPI):
    asks_for_keys = False

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with problems under their own media type, and with the WebSocket's events."""
        if self.openapi_schema is None:
            document = super().openapi()
            document["components"]["schemas"] = {**event_schemas(), **document["components"]["schemas"]}
            for path in document["paths"].values():
                for operation in path.values():
                    _show_refusals_as_sent(operation["responses"])
            if self.asks_for_keys:
                document_keys(document)
        assert self.openapi_schema is not None, "FastAPI keeps what it made"
        return self.openapi_schema


def _show_refusals_as_sent(responses: dict[str, Any]) -> None:
    """Problems have a media type of their own; what the framework would answer by itself is never sent."""
    for status, answer in list(responses.items()):
        shown = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
        if shown.endswith("/Problem"):
            answer["content"][MEDIA_TYPE] = answer["content"].pop("application/json")
        elif shown.endswith("/HTTPValidationError"):
            del responses[status]
