"""A Python backend of Triton that types: it takes a byte of a sequence and gives the likeliest bytes that follow.

As an expert would write it for this graph. Triton's sequence batcher (`oldest`) hands over up to 64 sequences at once;
their states lie in one contiguous array a tensor; the byte is fed for all of them in one run, its states are kept, and
the suggestion is decoded greedily for the whole batch, states fed back from run to run without a copy. Only what is
needed leaves the graph: the head's tokens, and no states after the last run. onnxruntime has the options of
`service/runtime/onnx_model.py`: one thread, no spinning.

Runs inside of Triton, in an environment of its own: nothing of Carousel can be imported here but files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as triton  # type: ignore[import-not-found] # a file of Triton's, on its path alone


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
        self._last = {graph["positions"]: np.zeros(1, np.int64)}
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
        states, likeliest = self._run(tokens, [state[slots] for state in self._states])
        for kept, state in zip(self._states, states, strict=True):
            kept[slots] = state
        suggestions = self._suggest(likeliest, states)
        for request in requests:
            if request.flags() & triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END:
                self._free.append(self._slots.pop(request.correlation_id()))
        return [
            triton.InferenceResponse([triton.Tensor("SUGGESTION", suggestions[row : row + 1])])
            for row in range(len(requests))
        ]

    def _suggest(self, likeliest: Any, states: list[Any]) -> Any:
        """The likeliest bytes that follow, one after the other, uint8 [rows, max_bytes]."""
        suggestions = np.empty((likeliest.shape[1], self._max_bytes), np.uint8)
        suggestions[:, 0] = likeliest[0]
        for at in range(1, self._max_bytes):
            states, likeliest = self._run(likeliest, states, states_too=at < self._max_bytes - 1)
            suggestions[:, at] = likeliest[0]
        return suggestions

    def _run(self, tokens: Any, states: list[Any], *, states_too: bool = True) -> tuple[list[Any], Any]:
        """One step of every row: the states after it, and the likeliest tokens, int64 [1, rows]."""
        name, inputs = self._names
        feeds = {name: tokens, **self._last, **dict(zip(inputs, states, strict=True))}
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
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
