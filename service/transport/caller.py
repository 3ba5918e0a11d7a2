"""Who calls, and under which request id: read from the headers of either protocol."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from service.errors import InvalidArgument
from service.sessions.commands import Tenant

REQUEST_ID_HEADER = "x-request-id"
TENANT_HEADER = "x-carousel-tenant"
DEFAULT_TENANT = Tenant("default")

Headers = Callable[[str], str | None]
"""Looks a header up by its lower-case name."""

_current: ContextVar[str | None] = ContextVar("carousel_request_id", default=None)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(header: Headers) -> str:
    """The caller's x-request-id if it is fit for a log line and a header, else a new one."""
    given = header(REQUEST_ID_HEADER)
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return secrets.token_hex(16)


@contextmanager
def answering(request_id: str) -> Iterator[None]:
    """What is logged inside belongs to this request."""
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)


def current_request_id() -> str | None:
    """The request that this task is answering, for its log lines."""
    return _current.get()


class TenantResolver:
    """Maps a caller to a tenant: everyone is `default` unless a trusted gateway names the tenant."""

    def __init__(self, *, trust_header: bool) -> None:
        self._trust_header = trust_header

    def resolve(self, header: Headers) -> Tenant:
        """The caller's tenant. Raises InvalidArgument if a trusted header holds no tenant's name."""
        named = header(TENANT_HEADER) if self._trust_header else None
        if named is None:
            return DEFAULT_TENANT
        if not _TENANT.fullmatch(named):
            raise InvalidArgument(TENANT_HEADER, "a tenant's name is 1 to 64 of A-Z a-z 0-9 . _ -")
        return Tenant(named)
