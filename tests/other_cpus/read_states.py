"""Reads tokens with a graph and writes all that it gives: what runs on each CPU, with NumPy and onnxruntime alone.

Run as `python read_states.py GRAPH INPUTS.npz OUTPUTS.npz`. The inputs are `tokens` [time, rows] and the states by
name; half of the tokens are fed one by one, the rest as one chunk.
"""

import sys

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
half = len(tokens) // 2
for chunk in [*np.split(tokens[:half], half), tokens[half:]]:
    positions = np.array([len(chunk) - 1], np.int64)
    found = dict(zip(names, session.run(None, {"tokens": chunk, "positions": positions, **states}), strict=True))
    states = {name: found[f"{name}_out"] for name in states}
np.savez(outputs, **found)
