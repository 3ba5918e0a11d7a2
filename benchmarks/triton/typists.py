"""Typists on Triton: a sequence each, one request for a key. A worker; see benchmarks.workers.

`python -m benchmarks.triton.typists HOST:PORT CONNECTIONS` with the Python of Triton's environment: the messages are
those of its package `tritonclient`, sent by the same lean client as Carousel's.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from tritonclient.grpc import service_pb2 as pb  # type: ignore[import-not-found] # only in Triton's environment

from benchmarks.crowd import Typist, type_for
from benchmarks.lean_grpc import Connection, LeanGrpcError, Stream, call_head
from benchmarks.workers import answer_questions

_SERVICE = "/inference.GRPCInferenceService/"
_MODEL = "typing"


class TritonTypist(Typist):
    """A sequence. Either all of its keys go over one `ModelStreamInfer`, or each is a call of `ModelInfer`."""

    def __init__(self, connection: Connection, target: str, sequence: int, text: str, *, streamed: bool) -> None:
        """sequence: any number that is not zero and nobody else's."""
        super().__init__(text)
        self._connection, self._sequence, self._started = connection, sequence, False
        self._stream: Stream | None = None
        if streamed:
            self._stream = connection.open(call_head(target, _SERVICE + "ModelStreamInfer"), self._on_streamed)
        self._head = call_head(target, _SERVICE + "ModelInfer")

    def press(self, character: str) -> None:
        """Feed it to the sequence."""
        request = _request(self._sequence, not self._started) + _byte(character)
        self._started = True
        if self._stream is not None:
            self._stream.send(request)
        else:
            self._connection.open(self._head, self._on_response).send(request, end=True)

    def _on_streamed(self, _: Stream, message: bytes) -> None:
        event = pb.ModelStreamInferResponse.FromString(message)
        if event.error_message:
            raise LeanGrpcError(event.error_message)
        self.answered(event.infer_response.raw_output_contents[0])

    def _on_response(self, _: Stream, message: bytes) -> None:
        self.answered(pb.ModelInferResponse.FromString(message).raw_output_contents[0])


@cache
def _request(sequence: int, start: bool) -> bytes:
    """A request without its byte: parts that are joined are one message (protobuf's encoding)."""
    request = pb.ModelInferRequest(model_name=_MODEL)
    request.parameters["sequence_id"].int64_param = sequence
    if start:
        request.parameters["sequence_start"].bool_param = True
    request.inputs.add(name="BYTE", datatype="UINT8", shape=[1, 1])
    serialized: bytes = request.SerializeToString()
    return serialized


@cache
def _byte(character: str) -> bytes:
    serialized: bytes = pb.ModelInferRequest(raw_input_contents=[character.encode("latin-1")]).SerializeToString()
    return serialized


class Crowd:
    """All typists, as a worker knows them."""

    def __init__(self, target: str, connections: int) -> None:
        """Connect; the typists come with their texts."""
        self._target = target
        self._connections = [Connection(target) for _ in range(connections)]
        self._typists: list[TritonTypist] = []

    def answer(self, do: str, **given: Any) -> dict[str, Any]:
        """`open` with texts, `type` for some time, `samples` of what was suggested."""
        if do == "open":
            self._typists.clear()  # with the same numbers, their sequences begin anew
            for number, text in enumerate(given["texts"]):
                connection = self._connections[number % len(self._connections)]
                sequence = given["first_sequence"] + number
                typist = TritonTypist(connection, self._target, sequence, text, streamed=given["streamed"])
                self._typists.append(typist)
            return {}
        if do == "samples":
            return {"samples": [typist.suggested for typist in self._typists]}
        return type_for(self._typists, self._connections, given["warm_up_s"], given["seconds"])


def main() -> None:
    """Do what is asked until there are no more questions."""
    target, connections = sys.argv[1:]
    answer_questions(Crowd(target, int(connections)).answer)


if __name__ == "__main__":
    main()
