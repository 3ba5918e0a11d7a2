"""The tree of errors that a caller can see, with stable codes.

CarouselError
├── InvalidArgument      malformed or out of range; names the field and the way out
├── Unauthenticated      no key, or one that is not known
├── PermissionDenied     a known caller who may not do this
├── NotFound             unknown session or model; another tenant's session
├── RevisionConflict     the base revision is not the current one; carries the current one
├── Fenced               the session was taken over elsewhere
├── Overloaded           a queue is full; carries a retry delay
├── QuotaExceeded        a tenant's limit; carries a retry delay
├── Unavailable          draining, or the store is down; carries a retry delay
│   └── StreamOver       so is this stream, because the server ends or it is old; carries where to go on
└── DeadlineExceeded     the caller's time was up before anything was committed

Whatever else reaches a facade is a bug: it is logged there with its traceback and shown as INTERNAL without detail.
The map from codes to gRPC statuses and HTTP statuses stands in `transport`; nothing below knows a protocol.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar


class Code(StrEnum):
    """The stable codes; clients may match on them."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    REVISION_CONFLICT = "REVISION_CONFLICT"
    FENCED = "FENCED"
    OVERLOADED = "OVERLOADED"
    QUOTA = "QUOTA"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE = "DEADLINE"
    INTERNAL = "INTERNAL"


class CarouselError(Exception):
    """Base of everything a caller can see. `str(error)` is one sentence: the cause, then the way out."""

    code: ClassVar[Code]


class InvalidArgument(CarouselError):
    """`field` is the path of the offending field as the caller wrote it, such as `edits[1].delete`."""

    code = Code.INVALID_ARGUMENT

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class Unauthenticated(CarouselError):
    """No key, or an unknown one."""

    code = Code.UNAUTHENTICATED


class PermissionDenied(CarouselError):
    """The caller is known and may not do this."""

    code = Code.PERMISSION_DENIED


class NotFound(CarouselError):
    """No such session or model, as far as this tenant can know. `kind` is `session` or `model`.

    `there_are` names those that could have been meant, where everybody may know them.
    """

    code = Code.NOT_FOUND

    def __init__(self, kind: str, name: str, there_are: Iterable[str] = ()) -> None:
        others = ", ".join(there_are)
        super().__init__(f"no {kind} {name!r}" + (f"; there are: {others}" if others else ""))
        self.kind = kind
        self.name = name


class RevisionConflict(CarouselError):
    """The request was based on another revision than the session's `current` one."""

    code = Code.REVISION_CONFLICT

    def __init__(self, message: str, current: int) -> None:
        super().__init__(message)
        self.current = current


class Fenced(CarouselError):
    """Another replica owns the session now."""

    code = Code.FENCED


class _Retryable(CarouselError):
    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(_Retryable):
    """A bounded queue is full."""

    code = Code.OVERLOADED


class QuotaExceeded(_Retryable):
    """The tenant has reached a limit of its own."""

    code = Code.QUOTA


class Unavailable(_Retryable):
    """Draining, or something the answer needs is down."""

    code = Code.UNAVAILABLE


class StreamOver(Unavailable):
    """The server ends a stream on which everything that it has read is answered; go on over another one.

    `revision` is that of the last edit which was committed there, if there was one.
    """

    def __init__(self, reason: str, retry_after_s: float, revision: int | None = None) -> None:
        where = "" if revision is None else f", from revision {revision}"
        super().__init__(f"{reason}; everything read was answered, go on over another stream{where}", retry_after_s)
        self.revision = revision


class DeadlineExceeded(CarouselError):
    """The caller's time was up before anything was committed."""

    code = Code.DEADLINE
