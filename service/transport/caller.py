"""Who calls, and under which request id: read from the headers of either protocol."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from service.errors import InvalidArgument, PermissionDenied
from service.sessions.commands import Tenant
from service.transport.keys import KEY_HEADER, TENANT_NAME, ApiKeys

REQUEST_ID_HEADER = "x-request-id"
TENANT_HEADER = "x-carousel-tenant"
DEFAULT_TENANT = Tenant("default")

Headers = Callable[[str], str | None]
"""Looks a header up by its lower-case name."""

_current: ContextVar[str | None] = ContextVar("carousel_request_id", default=None)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


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
    """Maps a caller to a tenant, in one way for every facade.

    Without keys everyone is `default`, with them whoever the key belongs to. A trusted header names another tenant:
    for everybody without keys, with them for a gateway's key alone.
    """

    def __init__(self, *, trust_header: bool, keys: ApiKeys | None = None) -> None:
        self._trust_header, self._keys = trust_header, keys

    @property
    def asks_for_keys(self) -> bool:
        """Whether nobody is answered without one."""
        return self._keys is not None

    @property
    def keys_are_current(self) -> bool:
        """Whether the keys are those that their file holds now, as far as anybody has looked; so it is without keys."""
        return self._keys is None or self._keys.current

    def resolve(self, header: Headers) -> Tenant:
        """The caller's tenant.

        Raises Unauthenticated without a key that is known, InvalidArgument if a trusted header holds no tenant's name,
        PermissionDenied if it names another tenant than the key's.
        """
        holder = None if self._keys is None else self._keys.holder(header(KEY_HEADER))
        named = self._named(header) if self._trust_header else None
        if holder is None:
            return named or DEFAULT_TENANT
        if named is not None and named != holder:
            raise PermissionDenied(f"the key is not that of the tenant in {TENANT_HEADER}; leave the header out")
        return holder

    def _named(self, header: Headers) -> Tenant | None:
        named = header(TENANT_HEADER)
        if named is not None and not TENANT_NAME.fullmatch(named):
            raise InvalidArgument(TENANT_HEADER, "a tenant's name is 1 to 64 of A-Z a-z 0-9 . _ -")
        return None if named is None else Tenant(named)
