"""Who calls, and under which request id: read from the headers of either protocol."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from service.errors import InvalidArgument
from service.sessions.commands import Tenant

REQUEST_ID_HEADER = "x-request-id"
TENANT_HEADER = "x-carousel-tenant"
DEFAULT_TENANT = Tenant("default")

Headers = Callable[[str], str | None]
"""Looks a header up by its lower-case name."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(header: Headers) -> str:
    """The caller's x-request-id if it is fit for a log line and a header, else a new one."""
    given = header(REQUEST_ID_HEADER)
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return uuid.uuid4().hex


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
