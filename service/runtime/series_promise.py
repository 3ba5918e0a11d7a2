"""The one promise, for models that read numbers: a row's bits depend on its own numbers alone.

Rows are read alone, a step at a time; then the same rows together, in batches and chunks drawn at random, as requests
of many sequences come. Everything is compared, bit for bit: what is expected after every step, and the states.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import States

STEPS = 24  # a difference in c can hide from what is expected for some steps
MAX_ROWS = 70
SIZES = (0.0, 1.0, 100.0, 1e6)  # of the numbers: what a series may hold, in whatever unit
_PROBE_SEED = 2000
_PROBE_ROWS = 3


class NumberReader(Protocol):
    """What is checked."""

    width: int

    def initial_states(self, rows: int) -> States:
        """Before the first step."""

    def read_chunk(
        self, inputs: NDArray[np.int64] | NDArray[np.float32], states: States
    ) -> tuple[NDArray[np.float32], States]:
        """See `tensors.ports.Reader`."""


@dataclass(frozen=True, slots=True)
class SeriesDifference:
    """The first chunk in which a row was not itself."""

    output: str
    rows: int
    chunk: int
    step: int

    def __str__(self) -> str:
        return (
            f"{self.output} depends on the batch or the chunking: in a batch of {self.rows} rows and chunks of "
            f"{self.chunk} it differs from the row alone at step {self.step}"
        )


def draw_series(model: NumberReader, rows: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Numbers of every size, float32 [STEPS, rows, width]; of one size in each row."""
    sizes = generator.choice(SIZES, (1, rows, 1))
    drawn: NDArray[np.float32] = (generator.standard_normal((STEPS, rows, model.width)) * sizes).astype(np.float32)
    return drawn


def read_alone(
    model: NumberReader, series: NDArray[np.float32]
) -> tuple[NDArray[np.float32], Sequence[NDArray[np.generic]]]:
    """Every row by itself, a step at a time: what is expected, [STEPS, rows, width], and each state, [STEPS, rows, n].

    Raises ModelError.
    """
    said = np.empty_like(series)
    kept = [np.empty((len(series), *state.shape), state.dtype) for state in model.initial_states(series.shape[1])]
    for row in range(series.shape[1]):
        states = model.initial_states(1)
        for step in range(len(series)):
            outputs, states = model.read_chunk(np.ascontiguousarray(series[step : step + 1, row : row + 1]), states)
            said[step, row] = outputs[0, 0]
            for place, state in zip(kept, states, strict=True):
                place[step, row] = state[0]
    return said, kept


def check_series_promise(model: NumberReader, *, rounds: int, seed: int = 0) -> SeriesDifference | None:
    """Read 70 rows in random batches and chunks, `rounds` times; the first difference. Raises ModelError."""
    generator = np.random.default_rng(seed)
    for _ in range(rounds):
        series = draw_series(model, MAX_ROWS, generator)
        said, kept = read_alone(model, series)
        at, states = np.zeros(MAX_ROWS, np.int64), [np.array(one) for one in model.initial_states(MAX_ROWS)]
        while (left := len(series) - at).any():
            length = int(generator.integers(1, left.max() + 1))
            able = generator.permutation(np.flatnonzero(left >= length))
            chosen = able[: int(generator.integers(1, MAX_ROWS + 1))]
            places = at[chosen] + np.arange(length)[:, None]
            outputs, after = model.read_chunk(series[places, chosen], [state[chosen] for state in states])
            at[chosen] += length
            pairs = [("what is expected", outputs, said[places, chosen])]
            for number, (state, new) in enumerate(zip(states, after, strict=True)):
                state[chosen] = new
                pairs.append((f"state {number}", new[None], kept[number][places[-1:], chosen]))  # type: ignore[arg-type]  # of any dtype
            for name, found, expected in pairs:
                if found.tobytes() != expected.tobytes():
                    step = int(np.argwhere(found != expected)[0][0]) if (found != expected).any() else 0
                    return SeriesDifference(name, len(chosen), length, step + 1)
    return None


def fingerprint(model: NumberReader) -> bytes:
    """A hash of what a few fixed rows give: equal on two machines exactly if they compute the same."""
    generator = np.random.default_rng(_PROBE_SEED)
    said, kept = read_alone(model, draw_series(model, _PROBE_ROWS, generator))
    found = hashlib.sha256(said.tobytes())
    for state in kept:
        found.update(np.ascontiguousarray(state).tobytes())
    return found.digest()
