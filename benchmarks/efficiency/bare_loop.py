"""The loop that serving is held against: onnxruntime and nothing else. A worker; see benchmarks.workers.

`python -m benchmarks.efficiency.bare_loop FOLDER PRECISION ROWS THREADS` steps all rows with the session that the
server would step them with, feeds back the states and each row's likeliest byte, and fetches states and head as the
server does. Nothing is checked, stored or sent.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.texts import held_out_text
from benchmarks.workers import answer_questions
from service.model.manifest import Precision, read_graph, read_manifest

# The options are the server's own, so these are taken from where it opens its sessions, private or not.
from service.runtime.onnx_model import open_sessions

_READ_FIRST = 64  # bytes of text, another for each row, before it goes on by itself


class BareLoop:
    """Rows of one graph, ready to be stepped."""

    def __init__(self, folder: Path, precision: Precision, rows: int, threads: int) -> None:
        """Load the graph and let every row read some text. Raises ModelFolderError."""
        graph = read_manifest(folder).graphs[precision]
        sessions = open_sessions(folder / graph.file, graph, read_graph(folder, graph), threads)
        self._session = sessions.single or sessions.several
        self._wanted = [graph.top_tokens, graph.top_log_probabilities, *(s.output for s in graph.states)]
        self._tokens, self._inputs = graph.tokens, [s.input for s in graph.states]
        self._last = {graph.positions: np.zeros(1, np.int64)}
        self._states = [np.full((rows, s.width), s.initial, s.dtype) for s in graph.states]
        self._rows = rows
        text = np.frombuffer(held_out_text(rows * _READ_FIRST).encode(), np.uint8).astype(np.int64)
        for bytes_of_rows in np.ascontiguousarray(text.reshape(rows, _READ_FIRST).T):
            self._step(bytes_of_rows[None])

    def answer(self, seconds: float) -> dict[str, float]:
        """Step for so long: a worker's answer."""
        tokens, steps = self._step(np.full((1, self._rows), ord("\n"), np.int64)), 0
        cpu_began_s, began_s = time.process_time(), time.perf_counter()
        while (now_s := time.perf_counter()) - began_s < seconds:
            tokens = self._step(tokens)
            steps += 1
        cpu_share = (time.process_time() - cpu_began_s) / (now_s - began_s)
        return {"bytes_per_s": steps * self._rows / (now_s - began_s), "cpu_share": cpu_share}

    def _step(self, tokens: Any) -> Any:
        """One byte for every row; the likeliest next ones, int64 [1, rows]."""
        feeds = {self._tokens: tokens, **self._last, **dict(zip(self._inputs, self._states, strict=True))}
        top_tokens, _, *self._states = self._session.run(self._wanted, feeds)
        return np.ascontiguousarray(top_tokens[:, :, 0])


def main() -> None:
    """Do what is asked until there are no more questions."""
    folder, precision, rows, threads = sys.argv[1:]
    answer_questions(BareLoop(Path(folder), cast(Precision, precision), int(rows), int(threads)).answer)


if __name__ == "__main__":
    main()
