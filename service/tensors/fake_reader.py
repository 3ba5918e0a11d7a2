"""A tiny exact reader of numbers for tests of everything above the runtime: no onnxruntime, microseconds a chunk.

Its state is a hash of all that it was fed, so a wrong sequence, row or order shows in the very next answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import States
from service.engine.requests import ModelIdentity
from service.tensors.ports import Inputs, Numbers, TensorModel

_ODD, _SHOWN = np.uint64(0x9E3779B97F4A7C15), np.uint64(44)


class FakeReader:
    """See `ports.Reader`. `chunks` records how many steps and rows every call read."""

    def __init__(self, name: str = "series", width: int = 1) -> None:
        self.identity = ModelIdentity(name, "1" * 64, "numbers")
        self.width = self.numbers_a_step = width
        self.chunks: list[tuple[int, int]] = []

    def initial_states(self, rows: int) -> States:
        """One number a row."""
        return [np.full((rows, 1), 7, np.uint64)]

    def read_chunk(self, inputs: Inputs, states: States) -> tuple[NDArray[np.float32], States]:
        """What is said is a whole number below 2^20, the same in each place of a step."""
        self.chunks.append((inputs.shape[0], inputs.shape[1]))
        hashes: NDArray[np.uint64] = states[0].astype(np.uint64)
        said = np.empty((*inputs.shape[:2], self.width), np.float32)
        for step, values in enumerate(np.ascontiguousarray(inputs, np.float32)):
            for bits in values.view(np.uint32).astype(np.uint64).T:
                hashes = (hashes ^ bits[:, None]) * _ODD
            said[step] = (hashes >> _SHOWN).astype(np.float32)
        return said, [hashes]


def fake_series(name: str = "series", width: int = 1) -> TensorModel:
    """A model of numbers that reads with a FakeReader."""
    return TensorModel(FakeReader(name, width), Numbers(width))
