"""Which browsers may come in: pages of this server's own and of allowed origins, whatever name DNS was made to give.

A page elsewhere could otherwise use a reader's browser to talk to a server on the reader's own machine: straight away
(then its Origin is foreign) or after pointing its own name at 127.0.0.1 (then its Host is foreign).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from service.errors import PermissionDenied

_LOCAL_NAMES = frozenset({"localhost"})


class Door:
    """Checks Host and Origin of every request. `host` is the address that the server listens on."""

    def __init__(self, host: str, allowed_origins: Sequence[str]) -> None:
        self._origins = frozenset(allowed_origins)
        self._names = _LOCAL_NAMES | {host.lower()} | {urlsplit(it).hostname or "" for it in allowed_origins}
        # A server that listens for other machines is called by names that it cannot know.
        self._any_name = not _is_local(host)

    def check(self, host: str | None, origin: str | None) -> None:
        """Raises PermissionDenied if the request comes from a page that may not call."""
        name = _hostname(host)
        known = name in self._names or _is_address(name)
        if not known and not self._any_name:
            raise PermissionDenied(
                f"this server does not answer to the host name {name!r}; call it by its address, or let it listen on "
                "that name"
            )
        if origin is None or origin in self._origins:
            return
        if not (known and urlsplit(origin).netloc.lower() == (host or "").lower()):
            raise PermissionDenied(
                f"pages of {origin!r} may not call this server; CAROUSEL_ALLOWED_ORIGINS allows them"
            )


def _hostname(host: str | None) -> str:
    try:
        return urlsplit(f"//{host or ''}").hostname or ""
    except ValueError:  # such as an IPv6 address without its bracket
        return ""


def _is_address(name: str) -> bool:
    """An address cannot be pointed elsewhere, unlike a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    return host in _LOCAL_NAMES or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
