"""How both shells open their channel: the options, and the name of the service's methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# A client that lost its server looks for it again quickly: gRPC's own first wait is a second, which no typist has.
# Pings notice a dead connection under an idle stream; the server allows one every ten seconds.
# A score has some bytes for each byte of a text, and more with alternatives: gRPC's own limit of 4 MiB is too little.
CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", 256 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)

# A cluster's router hashes it, so that a session's calls reach the replica that holds its state. Of no meaning to a
# server by itself; correctness never depends on it.
AFFINITY_HEADER = "x-carousel-session"

KEY_HEADER = "authorization"

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT_S = 5.0
DEFAULT_RESUME_WITHIN_S = 30.0
PROBE_TIMEOUT_S = 5.0  # of each call that looks for a server that a stream has lost


def metadata_of(headers: Mapping[str, str] | None, api_key: str | None = None) -> tuple[tuple[str, str], ...]:
    """Headers as gRPC takes them, the key among them. Raises ValueError for a key that no header can hold."""
    metadata = tuple((name.lower(), value) for name, value in (headers or {}).items())
    if api_key is None:
        return metadata
    if not api_key or not _can_be_metadata(api_key) or " " in api_key:
        raise ValueError("api_key: empty, or with a space, an end of line or a letter that no key has")
    if any(name == KEY_HEADER for name, _ in metadata):
        raise ValueError("api_key: there is an authorization among the headers already; give one of the two")
    return (*metadata, (KEY_HEADER, f"Bearer {api_key}"))


def about_session(metadata: tuple[tuple[str, str], ...], session_id: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call about a session; about none if the id is empty. Metadata is ASCII, an id may be more."""
    if not session_id or any(name == AFFINITY_HEADER for name, _ in metadata) or not _can_be_metadata(session_id):
        return metadata
    return (*metadata, (AFFINITY_HEADER, session_id))


def _can_be_metadata(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()
