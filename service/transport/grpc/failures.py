"""How an error looks on the wire: a google.rpc.Status with ErrorInfo, and BadRequest or RetryInfo where they apply."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo  # type: ignore[import-untyped]  # it ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it ships no types

from service.errors import (
    CarouselError,
    Code,
    InvalidArgument,
    NotFound,
    Overloaded,
    QuotaExceeded,
    RevisionConflict,
    StreamOver,
    Unavailable,
)
from service.transport.statuses import INTERNAL_MESSAGE, STATUSES, shown

DOMAIN = "carousel"
DETAILS_HEADER = "grpc-status-details-bin"


def status_of(error: BaseException, request_id: str) -> Status:
    """The status that tells the caller of `error`; anything but a CarouselError is shown as INTERNAL without detail."""
    if not isinstance(error, CarouselError):
        return _status(Code.INTERNAL, INTERNAL_MESSAGE, [_info(Code.INTERNAL), RequestInfo(request_id=request_id)])
    details: list[Message] = [_info(error.code, **_metadata(error))]
    if isinstance(error, InvalidArgument):
        violation = BadRequest.FieldViolation(field=error.field, description=shown(error.message))
        details.append(BadRequest(field_violations=[violation]))
    if isinstance(error, Overloaded | QuotaExceeded | Unavailable):
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        details.append(RetryInfo(retry_delay=delay))
    details.append(RequestInfo(request_id=request_id))
    return _status(error.code, shown(str(error)), details)


def _metadata(error: CarouselError) -> dict[str, str]:
    if isinstance(error, RevisionConflict):
        return {"revision": str(error.current)}
    if isinstance(error, StreamOver) and error.revision is not None:
        return {"revision": str(error.revision)}
    if isinstance(error, NotFound):
        return {"kind": error.kind}
    if isinstance(error, InvalidArgument):
        return {"field": error.field}
    return {}


def _info(code: Code, **metadata: str) -> ErrorInfo:
    return ErrorInfo(reason=code.value, domain=DOMAIN, metadata=metadata)


def _status(code: Code, message: str, details: list[Message]) -> Status:
    packed = []
    for detail in details:
        any_ = Any()
        any_.Pack(detail)
        packed.append(any_)
    number: int = STATUSES[code].grpc.value[0]
    return Status(code=number, message=message, details=packed)
