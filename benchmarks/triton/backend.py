"""A Python backend of Triton that types: it takes a byte of a sequence and gives the likeliest bytes that follow.

As an expert would write it for this graph. Triton's sequence batcher (`oldest`) hands over up to 64 sequences at once;
their states lie in one contiguous array a tensor; the byte is fed for all of them in one run, its states are kept, and
the suggestion is decoded greedily for the whole batch. Where the graph can follow its own choice (the shipped int8
graph can), byte and suggestion are one call of onnxruntime, the fastest of the ways tried: 11.8 ms for 64 rows and 16
bytes, a call for each byte 12.0 ms with the input `single_step` and 13.6 ms without. Otherwise each byte is a call, and
the states are fed back without a copy. Only the head's tokens are fetched beside the states. onnxruntime has the
options of `service/runtime/onnx_model.py`: one thread, no spinning.

Runs inside of Triton, in an environment of its own: nothing of Carousel can be imported here but files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton  # type: ignore[import-not-found] # a file of Triton's, on its path alone

_LIKELIEST = -1  # in the tokens of a graph that follows: feed the likeliest token after the step before


class TritonPythonModel:
    """What Triton asks of a Python backend, by this name."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the graph. args: Triton's, with the model's configuration as JSON."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        folder = Path(parameters["folder"])
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        graph = manifest["graphs"][parameters["precision"]]
        self._max_bytes = int(parameters["max_bytes"])
        self._start_token = manifest["start_token"]
        self._names = graph["tokens"], [state["input"] for state in graph["states"]]
        self._after, self._likeliest = [state["output"] for state in graph["states"]], graph["top_tokens"]
        self._first = {graph["positions"]: np.zeros(1, np.int64)}
        self._follow = graph.get("follow")
        if self._follow is not None:
            self._following = {graph["positions"]: np.array([-1], np.int64), self._follow["flag"]: np.array([True])}
        self._session = _open_session(folder / graph["file"])
        sequences = config["sequence_batching"]["oldest"]["max_candidate_sequences"]
        self._initial = [(state["dtype"], state["width"], state["initial"]) for state in graph["states"]]
        self._states = [np.zeros((sequences, width), dtype) for dtype, width, _ in self._initial]
        self._slots: dict[int, int] = {}
        self._free = list(range(sequences))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a batch, at most one request of each sequence."""
        slots = np.array([self._slot(request) for request in requests])
        fed = [triton.get_input_tensor_by_name(request, "BYTE").as_numpy()[0] for request in requests]
        tokens = np.concatenate(fed).astype(np.int64)[None]
        gathered = [state[slots] for state in self._states]
        decode = self._decode_by_steps if self._follow is None else self._decode_in_one_call
        states, suggestions = decode(tokens, gathered)
        for kept, state in zip(self._states, states, strict=True):
            kept[slots] = state
        for request in requests:
            if request.flags() & triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END:
                self._free.append(self._slots.pop(request.correlation_id()))
        return [
            triton.InferenceResponse([triton.Tensor("SUGGESTION", suggestions[row : row + 1])])
            for row in range(len(requests))
        ]

    def _decode_in_one_call(self, tokens: Any, states: list[Any]) -> tuple[list[Any], Any]:
        """The states after the byte, and the likeliest bytes that follow one by one, uint8 [rows, max_bytes]."""
        name, inputs = self._names
        fed = np.full((self._max_bytes, tokens.shape[1]), _LIKELIEST, np.int64)
        fed[0] = tokens
        feeds = {name: fed, **self._following, **dict(zip(inputs, states, strict=True))}
        likeliest, *after = self._session.run([self._likeliest, *self._follow["states"]], feeds)
        return [state[0] for state in after], np.ascontiguousarray(likeliest[:, :, 0].T, np.uint8)

    def _decode_by_steps(self, tokens: Any, states: list[Any]) -> tuple[list[Any], Any]:
        """The same, a call for each byte."""
        kept, likeliest = self._run(tokens, states)
        suggestions = np.empty((likeliest.shape[1], self._max_bytes), np.uint8)
        suggestions[:, 0], states = likeliest[0], kept
        for at in range(1, self._max_bytes):
            states, likeliest = self._run(likeliest, states, states_too=at < self._max_bytes - 1)
            suggestions[:, at] = likeliest[0]
        return kept, suggestions

    def _run(self, tokens: Any, states: list[Any], *, states_too: bool = True) -> tuple[list[Any], Any]:
        """One step of every row: the states after it, and the likeliest tokens, int64 [1, rows]."""
        name, inputs = self._names
        feeds = {name: tokens, **self._first, **dict(zip(inputs, states, strict=True))}
        outputs = self._session.run([self._likeliest, *(self._after if states_too else ())], feeds)
        return outputs[1:], np.ascontiguousarray(outputs[0][:, :, 0])

    def _slot(self, request: Any) -> int:
        """The row of a sequence; one that begins gets a free row, and the state after the start token."""
        sequence = request.correlation_id()
        if request.flags() & triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
            if sequence not in self._slots:
                self._slots[sequence] = self._free.pop()
            initial = [np.full((1, width), value, dtype) for dtype, width, value in self._initial]
            states, _ = self._run(np.array([[self._start_token]], np.int64), initial)
            for kept, state in zip(self._states, states, strict=True):
                kept[self._slots[sequence]] = state[0]
        return self._slots[sequence]


def _open_session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
