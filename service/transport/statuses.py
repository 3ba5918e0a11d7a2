"""The one map from stable codes to gRPC statuses and HTTP statuses."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from service.errors import CarouselError, Code


@dataclass(frozen=True, slots=True)
class Statuses:
    """What a code is called in each protocol."""

    grpc: grpc.StatusCode
    http: int


STATUSES: dict[Code, Statuses] = {
    Code.INVALID_ARGUMENT: Statuses(grpc.StatusCode.INVALID_ARGUMENT, 422),
    Code.UNAUTHENTICATED: Statuses(grpc.StatusCode.UNAUTHENTICATED, 401),
    Code.PERMISSION_DENIED: Statuses(grpc.StatusCode.PERMISSION_DENIED, 403),
    Code.NOT_FOUND: Statuses(grpc.StatusCode.NOT_FOUND, 404),
    Code.REVISION_CONFLICT: Statuses(grpc.StatusCode.FAILED_PRECONDITION, 409),
    Code.FENCED: Statuses(grpc.StatusCode.ABORTED, 409),
    Code.OVERLOADED: Statuses(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    Code.QUOTA: Statuses(grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
    Code.UNAVAILABLE: Statuses(grpc.StatusCode.UNAVAILABLE, 503),
    Code.DEADLINE: Statuses(grpc.StatusCode.DEADLINE_EXCEEDED, 504),
    Code.INTERNAL: Statuses(grpc.StatusCode.INTERNAL, 500),
}

INTERNAL_MESSAGE = "an internal error; the request id finds it in the server's log"

_LONGEST_MESSAGE = 500


def shown(text: str) -> str:
    """A message as it goes out: cut, because it may quote what the caller sent and gRPC carries it in a header."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return whole if len(whole) <= _LONGEST_MESSAGE else whole[:_LONGEST_MESSAGE] + "..."


def code_of(error: BaseException) -> Code:
    """The stable code of an error; INTERNAL for anything that is a bug."""
    return error.code if isinstance(error, CarouselError) else Code.INTERNAL
