"""How both shells open their channel: the options, and the name of the service's methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# A client that lost its server looks for it again quickly: gRPC's own first wait is a second, which no typist has.
# Pings notice a dead connection under an idle stream; the server allows one every ten seconds.
CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 5.0


def metadata_of(headers: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Headers as gRPC takes them."""
    return tuple((name.lower(), value) for name, value in (headers or {}).items())
