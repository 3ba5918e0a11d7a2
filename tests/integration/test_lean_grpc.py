"""The load generators' own client against a real gRPC server: what arrives is what was sent, and failures are loud."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest

from benchmarks.lean_grpc import Connection, LeanGrpcError, Stream, call_head, run

MANY = 3_000


def echo(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield from requests


def who(request: bytes, context: grpc.ServicerContext) -> bytes:
    tenant = next(value for name, value in context.invocation_metadata() if name == "x-carousel-tenant")
    return f"{tenant!s} {len(request)}".encode()


def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")


def exhausted(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "come later")


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(8))
    handlers = {
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
        "Who": grpc.unary_unary_rpc_method_handler(who),
        "Exhausted": grpc.unary_unary_rpc_method_handler(exhausted),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.fixture
def connection(target: str) -> Iterator[Connection]:
    made = Connection(target)
    yield made
    made.close()


def ignore(_: Stream, __: bytes) -> None: ...


def test_streams_beside_each_other_echo_their_own_messages_in_order(target: str, connection: Connection) -> None:
    heard: dict[int, list[bytes]] = {number: [] for number in range(5)}
    for number, received in heard.items():

        def more(stream: Stream, message: bytes, number: int = number, received: list[bytes] = received) -> None:
            received.append(message)
            if len(received) < 50:
                stream.send(b"%d of %d" % (len(received), number))

        connection.open(call_head(target, "/test.Test/Echo"), more).send(b"0 of %d" % number)
    run([connection], lambda: all(len(received) == 50 for received in heard.values()))
    for number, received in heard.items():
        assert received == [b"%d of %d" % (at, number) for at in range(50)]


def test_more_than_the_server_s_window_waits_for_it_and_then_arrives(target: str, connection: Connection) -> None:
    received: list[bytes] = []
    stream = connection.open(call_head(target, "/test.Test/Echo"), lambda _, message: received.append(message))
    sent = [b"%d" % number + b"x" * 200 for number in range(MANY)]
    for message in sent:
        stream.send(message)
    run([connection], lambda: len(received) == MANY)
    assert received == sent


def test_a_call_ends_once_and_headers_reach_the_server(target: str, connection: Connection) -> None:
    received: list[bytes] = []
    ended: list[Stream] = []
    head = call_head(target, "/test.Test/Who", {"x-carousel-tenant": "t" * 200})
    stream = connection.open(head, lambda _, message: received.append(message), ended.append)
    stream.send(b"12345", end=True)
    run([connection], lambda: bool(ended))
    assert (received, ended, stream.ended) == ([b"t" * 200 + b" 5"], [stream], True)


def test_a_call_that_fails_is_an_error_that_says_why(target: str, connection: Connection) -> None:
    connection.open(call_head(target, "/test.Test/Refuse"), ignore).send(b"", end=True)
    with pytest.raises(LeanGrpcError, match="no such thing"):
        run([connection], lambda: False)


def test_a_call_that_is_to_come_later_is_told_to_those_who_can_and_is_an_error_to_others(
    target: str, connection: Connection
) -> None:
    refused: list[Stream] = []
    stream = connection.open(call_head(target, "/test.Test/Exhausted"), ignore)
    stream.on_refused = refused.append
    stream.send(b"", end=True)
    run([connection], lambda: bool(refused))
    assert (refused, stream.ended) == ([stream], True)
    connection.open(call_head(target, "/test.Test/Exhausted"), ignore).send(b"", end=True)
    with pytest.raises(LeanGrpcError, match="come later"):
        run([connection], lambda: False)


def test_what_is_decided_while_nothing_comes_is_sent_all_the_same(target: str, connection: Connection) -> None:
    received: list[bytes] = []
    stream = connection.open(call_head(target, "/test.Test/Echo"), lambda _, message: received.append(message))
    asked = iter([False, False])

    def until() -> bool:
        if not next(asked, True):
            stream.send(b"later")
        return len(received) == 2

    run([connection], until)
    assert received == [b"later"] * 2


def test_of_a_cancelled_call_nothing_more_is_heard(target: str, connection: Connection) -> None:
    received: list[bytes] = []
    cancelled = connection.open(call_head(target, "/test.Test/Echo"), lambda _, message: received.append(message))
    cancelled.send(b"never heard")
    cancelled.cancel()
    ended: list[Stream] = []
    head = call_head(target, "/test.Test/Who", {"x-carousel-tenant": "later"})
    connection.open(head, ignore, ended.append).send(b"", end=True)
    run([connection], lambda: bool(ended))
    assert not received


def test_a_message_that_fits_no_frame_is_refused_before_it_is_sent(target: str, connection: Connection) -> None:
    with pytest.raises(ValueError, match="fit one frame"):
        connection.open(call_head(target, "/test.Test/Echo"), ignore).send(b"x" * 20_000)
