"""Opening ports, and saying plainly why one cannot be opened."""

from __future__ import annotations

import socket

_GONE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 120_000}
"""When the system takes the other end of a connection for gone: after how many quiet seconds it asks, how often it asks
again, and for how many milliseconds what was sent may stay without an answer. By default it is hours (tcp(7)).
"""


class CannotListen(Exception):
    """An address that cannot be listened on; the message says why."""


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the address; port 0 lets the system choose. Raises CannotListen."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CannotListen(f"cannot listen on {address(host, port)}: {reason}") from error
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # the connections that it takes have the same
    for option, value in _GONE.items():
        if hasattr(socket, option):  # Linux has them all
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return opened


def address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
