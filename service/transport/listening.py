"""Opening ports, and saying plainly why one cannot be opened."""

from __future__ import annotations

import socket


class CannotListen(Exception):
    """An address that cannot be listened on; the message says why."""


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the address; port 0 lets the system choose. Raises CannotListen."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotListen(f"cannot listen on {address(host, port)}: {reason}") from error


def address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
