"""The tree of errors that a server can answer with, by its stable codes, and how they are read off the wire.

CarouselError
├── InvalidArgument      malformed or out of range; `field` names what
├── Unauthenticated      no key, or one that is not known
├── PermissionDenied     a known caller who may not do this
├── NotFound             unknown session or model; `kind` says which
├── RevisionConflict     based on another revision than `current`
├── Fenced               the session was taken over elsewhere; the same call finds out
├── Overloaded           a queue is full; `retry_after_s`
├── QuotaExceeded        a tenant's limit; `retry_after_s`
├── Unavailable          not to be reached, draining, or its store is down; `retry_after_s` if the server said so
├── DeadlineExceeded     the time was up: an edit may or may not be committed; the same edit id finds out
└── Internal             a bug of the server, or an answer of something that is no Carousel; `request_id` finds it
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo  # type: ignore[import-untyped]  # it ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it ships no types

_DOMAIN = "carousel"
_DETAILS_TRAILER = "grpc-status-details-bin"


class CarouselError(Exception):
    """Base of all. `str(error)` is one sentence; `request_id` finds the call in the server's log, if it got there."""

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class InvalidArgument(CarouselError):
    """`field` is the path of the offending field, such as `edits[1].delete`; empty if the server did not say."""

    def __init__(self, message: str, *, field: str = "", request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.field = field


class Unauthenticated(CarouselError):
    """No key, or an unknown one."""


class PermissionDenied(CarouselError):
    """The caller is known and may not do this."""


class NotFound(CarouselError):
    """No such session or model; `kind` is `session` or `model`, empty if the server did not say."""

    def __init__(self, message: str, *, kind: str = "", request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.kind = kind


class RevisionConflict(CarouselError):
    """Somebody else edited the session: it is at revision `current`. Reading its text adopts that."""

    def __init__(self, message: str, *, current: int, request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.current = current


class Fenced(CarouselError):
    """Another replica wrote to the session meanwhile, and nothing was applied. Sent again by itself."""


class _Retryable(CarouselError):
    def __init__(self, message: str, *, retry_after_s: float | None = None, request_id: str | None = None) -> None:
        super().__init__(message, request_id=request_id)
        self.retry_after_s = retry_after_s


class Overloaded(_Retryable):
    """The server takes no more just now. Sent again by itself if the server said when, within the deadline."""


class QuotaExceeded(_Retryable):
    """The tenant has reached a limit of its own."""


class Unavailable(_Retryable):
    """Not to be reached, draining, or something the answer needs is down. Sent again by itself, within the deadline."""


class DeadlineExceeded(CarouselError):
    """The time was up. Whether an edit was committed is not known; sending it with the same edit id finds out."""


class Internal(CarouselError):
    """A bug of the server, or the answer of something that is no Carousel."""


_BY_REASON: dict[str, type[CarouselError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "UNAUTHENTICATED": Unauthenticated,
    "PERMISSION_DENIED": PermissionDenied,
    "NOT_FOUND": NotFound,
    "REVISION_CONFLICT": RevisionConflict,
    "FENCED": Fenced,
    "OVERLOADED": Overloaded,
    "QUOTA": QuotaExceeded,
    "UNAVAILABLE": Unavailable,
    "DEADLINE": DeadlineExceeded,
    "INTERNAL": Internal,
}

# What gRPC itself, or a proxy, answers without our details. A missing entry is Internal.
_BY_STATUS: dict[grpc.StatusCode, type[CarouselError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    # Nobody here cancels a call and reads its error: the server, or what lies between, gave it up.
    grpc.StatusCode.CANCELLED: Unavailable,
}

# How gRPC tells that a connection was cut under a call, where it has no status of its own for that. The first is what
# grpc.aio makes of a write that failed because the call has ended: the server's own INTERNAL has our details.
_CUT = ("Internal error from Core", "RST_STREAM", "Stream removed", "Socket closed", "Connection reset", "GOAWAY")


def error_of_call(failure: grpc.RpcError) -> CarouselError:
    """The typed error of a call that failed, whoever made it fail; `failure` is of grpc's sync or async world."""
    # Named tuples in the one world, plain ones in the other: pairs in both.
    trailers = cast("Iterable[tuple[str, str | bytes]]", failure.trailing_metadata() or ())
    for key, value in trailers:
        if key == _DETAILS_TRAILER and isinstance(value, bytes):
            try:
                return error_of_status(Status.FromString(value))
            except DecodeError:
                break  # somebody else's details: the status is what is left
    details = failure.details() or "no details"
    error = _BY_STATUS.get(failure.code(), Internal)
    if error is Internal and any(sign in details for sign in _CUT):
        error = Unavailable
    return error(f"{failure.code().name}: {details}")


def error_of_status(status: Status) -> CarouselError:
    """The typed error that a google.rpc.Status tells of; Internal if its reason is none of ours."""
    info, bad_request, retry, request = ErrorInfo(), BadRequest(), RetryInfo(), RequestInfo()
    told = [detail for detail in (info, bad_request, retry, request) if _unpack_into(detail, status)]
    request_id = request.request_id or None
    error = _BY_REASON.get(info.reason, Internal) if info.domain == _DOMAIN else Internal
    if issubclass(error, InvalidArgument):
        violations = bad_request.field_violations
        field = violations[0].field if violations else info.metadata.get("field", "")
        return error(status.message, field=field, request_id=request_id)
    if issubclass(error, NotFound):
        return error(status.message, kind=info.metadata.get("kind", ""), request_id=request_id)
    if issubclass(error, RevisionConflict):
        current = info.metadata.get("revision", "")
        if not current.isdecimal():
            return Internal(f"a conflict without a revision: {status.message}", request_id=request_id)
        return error(status.message, current=int(current), request_id=request_id)
    if issubclass(error, _Retryable):
        delay_s = retry.retry_delay.ToTimedelta().total_seconds() if retry in told else None
        return error(status.message, retry_after_s=delay_s, request_id=request_id)
    return error(status.message, request_id=request_id)


def _unpack_into(detail: BadRequest | ErrorInfo | RequestInfo | RetryInfo, status: Status) -> bool:
    return any(packed.Unpack(detail) for packed in status.details)
