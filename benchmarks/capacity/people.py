"""People who type at their own pace, whatever the server does. A worker; see benchmarks.workers.

`python -m benchmarks.capacity.people HOST:PORT CONNECTIONS`

Everybody has a session and a `Type` stream; a key is pressed at its time, and asks for suggestions or for none.
"""

from __future__ import annotations

import heapq
import random
import selectors
import socket
import struct
import sys
import time
from typing import Any

import grpc

from benchmarks.lean_grpc import Connection, LeanGrpcError, Stream, call_head
from benchmarks.workers import answer_questions
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.generated.carousel.v1 import autocomplete_pb2_grpc as pb_grpc

_TYPE = "/carousel.v1.Autocomplete/Type"
_TIMEOUT_S = 30.0
_LAST_ANSWERS_S = 2.0
_SEED = 17
# Linux's struct tcp_info (include/uapi/linux/tcp.h): bytes acknowledged and received, then segments sent and received.
_TCP_INFO_BYTES, _TCP_INFO_COUNTS = 144, struct.Struct("@120xQQII")


class Person:
    """One session and the text that is typed into it, from its start again once it is typed."""

    def __init__(self, connection: Connection, target: str, session: pb.Session, text: str, suggest: bytes) -> None:
        """suggest: a part of a TypeRequest; empty to ask for nothing."""
        self._session_id, self._revision, self._text, self._suggest = session.id, session.revision, text, suggest
        self._stream = connection.open(call_head(target, _TYPE), self._on_message)
        self.keys, self._pressed_s = 0, 0.0
        self.waits_for: str | None = None
        self.at_once = False  # whether the next key is pressed as soon as this one is answered
        self.latencies_s: list[float] = []

    def press(self, now_s: float) -> None:
        """The next key; what was asked for with the one before is not waited for."""
        insert = pb.EditOperation(insert=self._text[self.keys % len(self._text)])
        self.keys += 1
        request = pb.TypeRequest(
            session_id=self._session_id, revision=self._revision, edit_id=str(self.keys), edits=[insert]
        )
        self._session_id = ""  # the stream knows it from now on
        self._revision += 1
        self._pressed_s, self.waits_for = now_s, request.edit_id
        self._stream.send(request.SerializeToString() + self._suggest)

    def _on_message(self, _: Stream, message: bytes) -> None:
        event = pb.TypeResponse.FromString(message)
        if event.HasField("rejected"):
            raise LeanGrpcError(f"an edit was rejected: {event.rejected.error.message}")
        edit_id = event.suggested.edit_id if self._suggest else event.acknowledged.edit_id
        if edit_id != self.waits_for:
            return
        self.waits_for, now_s = None, time.perf_counter()
        if event.suggested.finish_reason != pb.FINISH_REASON_SHED:
            self.latencies_s.append(now_s - self._pressed_s)
        if self.at_once:
            self.press(now_s)


class People:
    """All of them, as the worker knows them."""

    def __init__(self, target: str, connections: int) -> None:
        """Connect; the people come with their texts."""
        self._target = target
        self._connections = [Connection(target) for _ in range(connections)]
        self._people: list[Person] = []

    def answer(self, do: str, **given: Any) -> dict[str, Any]:
        """`open` with texts and what is asked for, `type` at a pace (0: a key when the last is answered), `wire`."""
        if do == "open":
            return self._open(**given)
        if do == "wire":
            return self._wire()
        return self._type(**given)

    def _open(self, texts: list[str], count: int, max_bytes: int) -> dict[str, Any]:
        suggest = pb.SuggestOptions(count=count, max_bytes=max_bytes, stop=pb.STOP_NONE)
        asked = pb.TypeRequest(suggest=suggest).SerializeToString() if count else b""
        with grpc.insecure_channel(self._target) as channel:
            stub = pb_grpc.AutocompleteStub(channel)
            for number, text in enumerate(texts):
                created = stub.CreateSession(pb.CreateSessionRequest(), timeout=_TIMEOUT_S)
                connection = self._connections[number % len(self._connections)]
                self._people.append(Person(connection, self._target, created.session, text, asked))
        return {}

    def _type(self, seconds: float, pause_s: float) -> dict[str, Any]:
        """Everybody types for so long; then the last answers are awaited."""
        for person in self._people:
            person.latencies_s.clear()
        keys = sum(person.keys for person in self._people)
        began_s, cpu_began_s = time.perf_counter(), time.process_time()
        with selectors.DefaultSelector() as selector:
            for connection in self._connections:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            if pause_s:
                self._at_their_pace(selector, began_s + seconds, pause_s)
            else:
                self._as_answered(selector, began_s + seconds)
            waited_until_s = time.perf_counter() + _LAST_ANSWERS_S
            while time.perf_counter() < waited_until_s and any(person.waits_for for person in self._people):
                self._exchange(selector, 0.01)
        return {
            "keystrokes": sum(person.keys for person in self._people) - keys,
            "seconds": seconds,
            "cpu_share": (time.process_time() - cpu_began_s) / (time.perf_counter() - began_s),
            "latencies_ms": [round(one * 1e3, 2) for person in self._people for one in person.latencies_s],
        }

    def _at_their_pace(self, selector: selectors.BaseSelector, until_s: float, pause_s: float) -> None:
        """Each from a moment of his own in the first pause."""
        chosen, now_s = random.Random(_SEED), time.perf_counter()
        due = [(now_s + chosen.random() * pause_s, number) for number in range(len(self._people))]
        heapq.heapify(due)
        while (now_s := time.perf_counter()) < until_s:
            while due[0][0] <= now_s:
                at_s, number = due[0]
                self._people[number].press(now_s)
                heapq.heapreplace(due, (at_s + pause_s, number))
            self._exchange(selector, max(due[0][0] - time.perf_counter(), 0.0))

    def _as_answered(self, selector: selectors.BaseSelector, until_s: float) -> None:
        for person in self._people:
            person.at_once = True
            person.press(time.perf_counter())
        while time.perf_counter() < until_s:
            self._exchange(selector, 0.01)
        for person in self._people:
            person.at_once = False

    def _exchange(self, selector: selectors.BaseSelector, wait_s: float) -> None:
        for connection in self._connections:
            connection.flush()
        for key, _ in selector.select(wait_s):
            key.data.receive()

    def _wire(self) -> dict[str, Any]:
        """What the first connection has carried so far, as the kernel has counted it."""
        info = self._connections[0].socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        sent, received, segments_out, segments_in = _TCP_INFO_COUNTS.unpack(info)
        return {"sent": sent, "received": received, "segments_out": segments_out, "segments_in": segments_in}


def main() -> None:
    """Do what is asked until there are no more questions."""
    target, connections = sys.argv[1:]
    answer_questions(People(target, int(connections)).answer)


if __name__ == "__main__":
    main()
