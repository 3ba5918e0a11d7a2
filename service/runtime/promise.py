"""The one promise, checked on any StepModel: a row's bits depend on its own tokens and start alone.

Rows are read alone, one token at a time, and every state and distribution on the way is kept. Then the same rows are
read together, in batches that change with every step and in chunks of every length, beside rows whose states are as
extreme as they can be; and after each batch everything is compared, bit for bit. One piece of code serves the check
at load, `carousel doctor` and the tests: only the effort differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import ModelError, States, StateShape, StepModel, StepResult

STEPS = 24  # a difference in c can hide from the probabilities for some steps: h is rounded
MAX_ROWS = 70
SIZES = (0.1, 1.0, 30.0, 1e30)  # of the values in a float state that is not the initial one
_NAMES_OF_THE_HEAD = ("log-probabilities", "top log-probabilities", "top tokens")


@dataclass(frozen=True, slots=True)
class Texts:
    """Rows to read: tokens int64 [steps, rows], and the states that they start from, one array [rows, width] each."""

    tokens: NDArray[np.int64]
    states: States


@dataclass(frozen=True, slots=True)
class Alone:
    """What each row gave by itself: `values` by name, each [steps, rows, ...]; at step t, after token t."""

    texts: Texts
    values: dict[str, NDArray[np.generic]]

    def fingerprint(self) -> bytes:
        """A hash of every bit: equal on two machines exactly if they compute the same."""
        found = hashlib.sha256()
        for name, value in self.values.items():
            found.update(f"{name} {value.dtype} {value.shape}\n".encode())
            found.update(np.ascontiguousarray(value).tobytes())
        return found.digest()

    def fingerprint_of_states(self) -> bytes:
        """The same of the states alone, which int8 computes alike on every CPU."""
        return Alone(self.texts, {name: self.values[name] for name in _state_names(self)}).fingerprint()


@dataclass(frozen=True, slots=True)
class Difference:
    """The first batch in which a row was not itself. `largest` is by how much log-probabilities ever moved then."""

    output: str
    rows: int
    chunk: int
    step: int
    on_neighbours: bool
    on_chunking: bool
    largest: float

    def __str__(self) -> str:
        causes = [cause for cause, found in self._causes().items() if found] or ["the batches that it went through"]
        return (
            f"output {self.output!r} depends on {' and '.join(causes)}: in a batch of {self.rows} rows and chunks of "
            f"{self.chunk} it differs from the row alone at step {self.step}; "
            f"log-probabilities move by up to {self.largest:.2g}"
        )

    def _causes(self) -> dict[str, bool]:
        return {"the batch": self.on_neighbours, "the chunking": self.on_chunking}


@dataclass(frozen=True, slots=True)
class PromiseResult:
    """What was compared, and the difference that was found, if one was. `rows` counts each row in each batch."""

    batches: int
    rows: int
    difference: Difference | None

    def __add__(self, other: PromiseResult) -> PromiseResult:
        """Both; the first difference stands."""
        return PromiseResult(self.batches + other.batches, self.rows + other.rows, self.difference or other.difference)


NOTHING_COMPARED = PromiseResult(0, 0, None)


def draw_texts(model: StepModel, rows: int, generator: np.random.Generator, *, steps: int = STEPS) -> Texts:
    """Random tokens for `rows` rows; every second row starts as a session does, the others from random, huge states."""
    tokens = generator.integers(0, model.vocabulary_size, (steps, rows))
    tokens[0, ::2] = model.start_token
    return Texts(tokens, _starts(model, rows, generator))


def _starts(model: StepModel, rows: int, generator: np.random.Generator) -> list[NDArray[np.generic]]:
    states: list[NDArray[np.generic]] = []
    for shape in model.shapes:
        start = np.full((rows, shape.width), shape.initial, shape.dtype)
        others = len(start[1::2])
        if np.issubdtype(shape.dtype, np.floating):
            sizes = generator.choice(SIZES, (others, 1))
            start[1::2] = generator.standard_normal((others, shape.width)) * sizes
        else:
            low, high = _limits(shape.dtype)
            drawn = generator.integers(low, high + 1, (others, shape.width))
            edges = generator.choice([low, high], (others, shape.width))
            start[1::2] = np.where(generator.random((others, 1)) < 0.5, drawn, edges)
        states.append(start)
    return states


def read_alone(model: StepModel, texts: Texts, names: Sequence[str] = ()) -> Alone:
    """Read every row by itself, one token at a time. `names`: of the states, for messages. Raises ModelError."""
    steps, rows = texts.tokens.shape
    values: dict[str, NDArray[np.generic]] = {}
    for row in range(rows):
        states: States = [state[row : row + 1] for state in texts.states]
        for step in range(steps):
            result = model.step(texts.tokens[step : step + 1, row : row + 1], states, all_probabilities=True)
            states = result.states
            for name, value in _parts(result, names).items():
                if name not in values:
                    values[name] = np.empty((steps, rows, *value.shape[1:]), value.dtype)
                values[name][step, row] = value[0]
    return Alone(texts, values)


def compare_in_batches(
    model: StepModel, alone: Alone, generator: np.random.Generator, *, max_rows: int = MAX_ROWS
) -> PromiseResult:
    """Read the same rows together, once, in batches and chunks drawn at random, as a server's sessions come and go.

    Every row ends at the last token; rows of one batch stand at different tokens. Raises ModelError.
    """
    tokens = alone.texts.tokens
    steps, rows = tokens.shape
    states = [np.array(state) for state in alone.texts.states]
    names = [name for name in alone.values if name not in _NAMES_OF_THE_HEAD]
    at = np.zeros(rows, np.int64)
    batches = compared = 0
    first: tuple[str, int, int, int] | None = None
    largest = 0.0
    while (left := steps - at).any():
        chunk = 1 if generator.random() < 0.5 else int(generator.integers(1, left.max() + 1))
        able = generator.permutation(np.flatnonzero(left >= chunk))
        chosen = able[: int(generator.integers(1, max_rows + 1))]
        fed = tokens[at[chosen] + np.arange(chunk)[:, None], chosen]
        result = model.step(fed, [state[chosen] for state in states], all_probabilities=True)
        at[chosen] += chunk
        for state, after in zip(states, result.states, strict=True):
            state[chosen] = after
        batches, compared = batches + 1, compared + len(chosen)
        for name, found in _parts(result, names).items():
            expected = alone.values[name][at[chosen] - 1, chosen]
            if not same_bits(found, expected):
                differing = np.flatnonzero([not same_bits(a, b) for a, b in zip(found, expected, strict=True)])
                first = first or (name, len(chosen), chunk, int(at[chosen[differing[0]]]))
                if name == _NAMES_OF_THE_HEAD[0]:
                    largest = max(largest, float(np.abs(found.astype(np.float64) - expected).max()))
    if first is None:
        return PromiseResult(batches, compared, None)
    name, batch_rows, chunk, step = first
    causes = _depends_on_neighbours(model, alone), _depends_on_chunking(model, alone)
    return PromiseResult(batches, compared, Difference(name, batch_rows, chunk, step, *causes, largest))


def _depends_on_neighbours(model: StepModel, alone: Alone) -> bool:
    """Whether all rows together, token by token, end elsewhere than each alone."""
    states = alone.texts.states
    for step in range(len(alone.texts.tokens)):
        result = model.step(alone.texts.tokens[step : step + 1], states, all_probabilities=True)
        states = result.states
        if not all(same_bits(v, alone.values[n][step]) for n, v in _parts(result, _state_names(alone)).items()):
            return True
    return False


def _depends_on_chunking(model: StepModel, alone: Alone) -> bool:
    """Whether a row by itself, its tokens in one chunk, ends elsewhere than token by token."""
    for row in range(alone.texts.tokens.shape[1]):
        start = [state[row : row + 1] for state in alone.texts.states]
        result = model.step(alone.texts.tokens[:, row : row + 1], start, all_probabilities=True)
        for name, value in _parts(result, _state_names(alone)).items():
            if not same_bits(value[0], alone.values[name][-1, row]):
                return True
    return False


def check_promise(
    model: StepModel, *, rounds: int, names: Sequence[str] = (), seed: int = 0, rounds_a_text: int = 10
) -> PromiseResult:
    """Read 70 rows in batches `rounds` times, with new texts every so often; stops at a difference.

    Raises ModelError if the model refuses a batch or gives something that is not finite.
    """
    generator = np.random.default_rng(seed)
    total = NOTHING_COMPARED
    for number in range(rounds):
        if number % rounds_a_text == 0:
            alone = read_alone(model, draw_texts(model, MAX_ROWS, generator), names)
        total += compare_in_batches(model, alone, generator)
        if total.difference is not None:
            break
    return total


def feed_extremes(model: StepModel) -> dict[str, str]:
    """Step from states of 1e30, the largest floats, infinities and NaN, and integers at their ends, for STEPS steps.

    Returns by case `harmless` (finite probabilities all the way) or `refused`; `NaN` would be a broken model.
    """
    return {name: _fed(model, value) for name, value in _EXTREMES.items()}


_EXTREMES = {
    "1e30": 1e30,
    "-1e30": -1e30,
    "largest": float(np.finfo(np.float32).max),
    "infinity": np.inf,
    "-infinity": -np.inf,
    "NaN": np.nan,
}


def _fed(model: StepModel, value: float) -> str:
    states: States = [_filled(shape, value) for shape in model.shapes]
    for step in range(STEPS):
        token = np.array([[step % model.vocabulary_size]], np.int64)
        try:
            result = model.step(token, states, all_probabilities=True)
        except ModelError:
            return "refused"
        if not np.isfinite(result.log_probabilities if result.log_probabilities is not None else np.nan).all():
            return "NaN"
        states = result.states
    return "harmless"


def _filled(shape: StateShape, value: float) -> NDArray[np.generic]:
    if np.issubdtype(shape.dtype, np.floating):
        return np.full((1, shape.width), value).astype(shape.dtype)
    low, high = _limits(shape.dtype)
    return np.full((1, shape.width), high if value > 0 else low).astype(shape.dtype)


def _limits(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """The least and the largest value of an integer dtype."""
    bits = 8 * dtype.itemsize
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.kind == "i" else (0, 2**bits - 1)


def same_bits(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits: 0.0 is not -0.0, and NaN is itself."""
    return one.tobytes() == other.tobytes()


def _parts(result: StepResult, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Everything that a step gives, by name, each [rows, ...]."""
    head = (result.log_probabilities, result.top_log_probabilities, result.top_tokens)
    parts: dict[str, NDArray[np.generic]] = {}
    for index, state in enumerate(result.states):
        parts[names[index] if names else f"state {index}"] = state
    parts.update((name, value) for name, value in zip(_NAMES_OF_THE_HEAD, head, strict=True) if value is not None)
    return parts


def _state_names(alone: Alone) -> list[str]:
    return [name for name in alone.values if name not in _NAMES_OF_THE_HEAD]
