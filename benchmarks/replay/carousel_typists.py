"""Typists on Carousel: a `Type` stream each, and one suggestion after every key. A worker; see benchmarks.workers.

`python -m benchmarks.replay.carousel_typists HOST:PORT CONNECTIONS MAX_BYTES`
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import grpc

from benchmarks.crowd import Typist, type_for
from benchmarks.lean_grpc import Connection, LeanGrpcError, Stream, call_head
from benchmarks.workers import answer_questions
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.generated.carousel.v1 import autocomplete_pb2_grpc as pb_grpc

_TYPE = "/carousel.v1.Autocomplete/Type"
_ACKNOWLEDGED = b"\x0a"  # how a TypeResponse begins that holds an Acknowledgement
_TIMEOUT_S = 30.0
_SHED = pb.FINISH_REASON_SHED


class CarouselTypist(Typist):
    """A session and its stream. What the server sheds is asked for again, and the wait counts."""

    def __init__(self, connection: Connection, target: str, session: pb.Session, text: str, max_bytes: int) -> None:
        """Open the stream of a session that was created."""
        super().__init__(text)
        self._revision, self._max_bytes = session.revision, max_bytes
        self._stream = connection.open(call_head(target, _TYPE), self._on_message, self._on_end)
        self._session_id = session.id
        self._keys = self.shed = 0

    def press(self, character: str) -> None:
        """Insert it and ask for a suggestion."""
        self._send(_insert(character))
        self._revision += 1

    def _send(self, edits: bytes) -> None:
        self._keys += 1
        head = pb.TypeRequest(session_id=self._session_id, revision=self._revision, edit_id=str(self._keys))
        self._session_id = ""  # the stream knows it from now on
        self._stream.send(head.SerializeToString() + edits + _suggest(self._max_bytes))

    def _on_message(self, _: Stream, message: bytes) -> None:
        if message.startswith(_ACKNOWLEDGED):
            return
        event = pb.TypeResponse.FromString(message)
        suggested = event.suggested
        if not event.HasField("suggested") or suggested.edit_id != str(self._keys):
            raise LeanGrpcError(f"not the suggestion for the last key: {event}")
        if suggested.finish_reason == _SHED:
            self.shed += 1
            self._send(b"")
            return
        self.answered(suggested.suggestions[0].text.encode() if suggested.suggestions else b"")

    def _on_end(self, _: Stream) -> None:
        raise LeanGrpcError("the server ended a stream")


@cache
def _insert(character: str) -> bytes:
    """A part of a TypeRequest: parts that are joined are one message (protobuf's encoding)."""
    return pb.TypeRequest(edits=[pb.EditOperation(insert=character)]).SerializeToString()


@cache
def _suggest(max_bytes: int) -> bytes:
    suggest = pb.SuggestOptions(count=1, max_bytes=max_bytes, stop=pb.STOP_NONE)
    return pb.TypeRequest(suggest=suggest).SerializeToString()


class Crowd:
    """All typists, as a worker knows them."""

    def __init__(self, target: str, connections: int, max_bytes: int) -> None:
        """Connect; the typists come with their texts."""
        self._target, self._max_bytes = target, max_bytes
        self._connections = [Connection(target) for _ in range(connections)]
        self._typists: list[CarouselTypist] = []

    def answer(self, do: str, **given: Any) -> dict[str, Any]:
        """`open` with texts, `type` for some time, `samples` of what was suggested."""
        if do == "open":
            return self._open(given["texts"])
        if do == "samples":
            return {"samples": [typist.suggested for typist in self._typists]}
        shed = sum(typist.shed for typist in self._typists)
        turn = type_for(self._typists, self._connections, given["warm_up_s"], given["seconds"])
        return {**turn, "shed": sum(typist.shed for typist in self._typists) - shed}

    def _open(self, texts: list[str]) -> dict[str, Any]:
        with grpc.insecure_channel(self._target) as channel:
            stub = pb_grpc.AutocompleteStub(channel)
            for number, text in enumerate(texts):
                created = stub.CreateSession(pb.CreateSessionRequest(), timeout=_TIMEOUT_S)
                connection = self._connections[number % len(self._connections)]
                typist = CarouselTypist(connection, self._target, created.session, text, self._max_bytes)
                self._typists.append(typist)
        return {}


def main() -> None:
    """Do what is asked until there are no more questions."""
    target, connections, max_bytes = sys.argv[1:]
    answer_questions(Crowd(target, int(connections), int(max_bytes)).answer)


if __name__ == "__main__":
    main()
