"""Errors as the client reads them off what the server writes."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # it ships no types

import carousel_client as client
from carousel_client.errors import error_of_call, error_of_status
from service import errors as server
from service.transport.grpc.failures import DETAILS_HEADER, status_of
from service.transport.statuses import STATUSES

EVERY_ERROR = [
    (server.InvalidArgument("edits[1].delete", "too much"), client.InvalidArgument, {"field": "edits[1].delete"}),
    (server.Unauthenticated("no key"), client.Unauthenticated, {}),
    (server.PermissionDenied("not yours"), client.PermissionDenied, {}),
    (server.NotFound("session", "x"), client.NotFound, {"kind": "session"}),
    (server.RevisionConflict("stale", 12), client.RevisionConflict, {"current": 12}),
    (server.Fenced("taken over"), client.Fenced, {}),
    (server.Overloaded("full", 0.25), client.Overloaded, {"retry_after_s": 0.25}),
    (server.QuotaExceeded("too many", 1.5), client.QuotaExceeded, {"retry_after_s": 1.5}),
    (server.Unavailable("draining", 1.0), client.Unavailable, {"retry_after_s": 1.0}),
    (server.DeadlineExceeded("too late"), client.DeadlineExceeded, {}),
    (ZeroDivisionError("a bug"), client.Internal, {}),
]


class FailedCall(grpc.RpcError):
    """What grpc raises, with the parts that are read."""

    def __init__(self, code: grpc.StatusCode, details: str, trailers: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._code, self._details, self._trailers = code, details, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailers


def test_the_table_below_has_every_code_of_the_server() -> None:
    assert {getattr(error, "code", server.Code.INTERNAL) for error, _, _ in EVERY_ERROR} == set(server.Code)


@pytest.mark.parametrize(("sent", "kind", "facts"), EVERY_ERROR)
def test_every_error_of_the_server_arrives_as_its_class_with_its_facts(
    sent: Exception, kind: type[client.CarouselError], facts: dict[str, object]
) -> None:
    read = error_of_status(status_of(sent, "request-1"))
    assert type(read) is kind
    assert {name: getattr(read, name) for name in facts} == facts
    if isinstance(sent, server.CarouselError):
        assert str(read) == str(sent)


@pytest.mark.parametrize(("sent", "kind", "facts"), EVERY_ERROR)
def test_a_failed_call_is_read_from_its_trailers(
    sent: Exception, kind: type[client.CarouselError], facts: dict[str, object]
) -> None:
    status = status_of(sent, "request-1")
    code = STATUSES[getattr(sent, "code", server.Code.INTERNAL)].grpc
    read = error_of_call(FailedCall(code, status.message, ((DETAILS_HEADER, status.SerializeToString()),)))
    assert type(read) is kind
    assert read.request_id == "request-1"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, client.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, client.DeadlineExceeded),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, client.Overloaded),
        (grpc.StatusCode.UNIMPLEMENTED, client.Internal),
        (grpc.StatusCode.NOT_FOUND, client.Internal),  # a proxy's: no session of ours is meant
    ],
)
def test_what_grpc_or_a_proxy_answers_without_our_details_is_mapped_by_its_status(
    code: grpc.StatusCode, kind: type[client.CarouselError]
) -> None:
    read = error_of_call(FailedCall(code, "said somebody"))
    assert type(read) is kind
    assert "said somebody" in str(read)


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.CANCELLED, "by a proxy"),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
        (grpc.StatusCode.INTERNAL, "Internal error from Core"),
        (grpc.StatusCode.UNKNOWN, "Stream removed"),
    ],
)
def test_a_connection_that_was_cut_under_a_call_is_an_unavailable_server(code: grpc.StatusCode, details: str) -> None:
    assert type(error_of_call(FailedCall(code, details))) is client.Unavailable


def test_details_that_cannot_be_read_are_passed_over() -> None:
    read = error_of_call(FailedCall(grpc.StatusCode.UNAVAILABLE, "x", ((DETAILS_HEADER, b"\xff\xff"),)))
    assert type(read) is client.Unavailable


def test_a_reason_of_another_domain_is_not_taken_for_ours() -> None:
    status = status_of(server.NotFound("session", "x"), "r")
    foreign = Status.FromString(status.SerializeToString().replace(b"\x08carousel", b"\x08somebody"))
    assert type(error_of_status(foreign)) is client.Internal
