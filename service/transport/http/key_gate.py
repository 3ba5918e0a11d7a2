"""Behind it only who has a key comes, when the server asks for keys: HTTP's part of service/transport/keys.py."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import CarouselError
from service.transport.caller import TenantResolver
from service.transport.http.error_answers import answer_to
from service.transport.keys import KEY_HEADER

KEY_SUBPROTOCOL: Final = "carousel.key."
"""With the key in base64url after it, how a page tells a WebSocket: it can set no header but that of protocols.

Not in the address: those are kept in histories and in the logs of proxies.
"""

ASKED_WITHOUT_KEYS: Final = re.compile(
    r"/livez|/readyz|/metrics|/health|/v1/health|/v2/health/(live|ready)"  # probes have none
    r"|/docs(/assets/.*)?|/openapi\.json"  # browsers send none with a page, and what it says everybody may read
)
"""The paths that are answered to anybody, whole."""

_BEARER = b"Bearer "
_SCHEME = "key"
_REFUSED = ("422", "400", "404", "426")  # whose bodies have the shape of all refusals of their path


class KeyGate:
    """Wraps the application, inside of what lets pages of allowed origins read its refusals."""

    def __init__(self, app: ASGIApp, *, tenants: TenantResolver) -> None:
        self._app, self._tenants = app, tenants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one handshake of a WebSocket."""
        if scope["type"] == "websocket":
            _take_key_of_subprotocol(scope)
        if scope["type"] in ("http", "websocket") and not ASKED_WITHOUT_KEYS.fullmatch(scope["path"]):
            try:
                self._tenants.resolve(Headers(scope=scope).get)
            except CarouselError as error:
                await answer_to(error, scope["path"], scope["state"]["request_id"])(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _take_key_of_subprotocol(scope: Scope) -> None:
    """From here on the key is where all others are, and no subprotocol that anybody could choose or show."""
    offered = scope["subprotocols"]
    keys = [one for one in offered if one.startswith(KEY_SUBPROTOCOL)]
    if not keys:
        return
    scope["subprotocols"] = others = [one for one in offered if one not in keys]
    headers = [(name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"]
    if others:
        headers.append((b"sec-websocket-protocol", ", ".join(others).encode("latin-1")))
    if not any(name == KEY_HEADER.encode() for name, _ in headers):
        headers.append((KEY_HEADER.encode(), _BEARER + _decoded(keys[0].removeprefix(KEY_SUBPROTOCOL))))
    scope["headers"] = headers


def _decoded(part: str) -> bytes:
    """What is not base64url is no key, and stays so."""
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return b""


def document_keys(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document which paths want a key, and that they refuse who has none as they refuse others."""
    document["components"]["securitySchemes"] = {_SCHEME: {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        if ASKED_WITHOUT_KEYS.fullmatch(path):
            continue
        for operation in operations.values():
            operation["security"] = [{_SCHEME: []}]
            answers = operation["responses"]
            shape = next(
                (answers[status]["content"] for status in ("422", "400", "404", "500") if status in answers), None
            )
            refusal: dict[str, Any] = {"description": "UNAUTHENTICATED: no key, or one that is not known"}
            answers["401"] = refusal if shape is None else {**refusal, "content": shape}
