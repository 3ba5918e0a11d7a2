"""Reads tokens with a graph and writes all that it gives: what runs on each CPU, with NumPy and onnxruntime alone.

Run as `python read_states.py GRAPH INPUTS.npz OUTPUTS.npz`. The inputs are `tokens` [time, rows] and the states by
name. A third of the tokens is read as single steps, a third by following, every other token being the graph's own
choice, and the rest as one chunk; the states after each are written.
"""

import sys
from typing import Any

import numpy as np
import onnxruntime as ort

graph, inputs, outputs = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.log_severity_level = 3
session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
given = dict(np.load(inputs))
tokens = given.pop("tokens")
states = given
names = [output.name for output in session.get_outputs()]
third = len(tokens) // 3
kept: dict[str, Any] = {}


def read(piece: Any, **flags: bool) -> dict[str, Any]:
    """All outputs by name; the states go on from where they were."""
    positions = np.array([len(piece) - 1], np.int64)
    set_flags = {name: np.array([value]) for name, value in flags.items()}
    found = session.run(None, {"tokens": piece, "positions": positions, **states, **set_flags})
    by_name = dict(zip(names, found, strict=True))
    states.update({name: by_name[f"{name}_out"] for name in states})
    return by_name


for token in tokens[:third]:
    found = read(token[None], single_step=True)
kept["logits_of_steps"] = found["logits"]
free = tokens[third : 2 * third].copy()
free[1::2] = -1
found = read(free, follow=True)
kept.update({name: value for name, value in found.items() if name.endswith("_steps") or name == "top_tokens"})
found = read(tokens[2 * third :])
kept.update({name: value for name, value in found.items() if name.endswith("_out") or name == "logits"})
np.savez(outputs, **kept)
