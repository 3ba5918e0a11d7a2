"""The one promise, checked on any StepModel: a row's bits depend on its own tokens and start alone.

Rows are read alone, one token at a time, and every state and distribution on the way is kept. Then the same rows are
read together, in batches that change with every step: step by step, in chunks of every length, of which the end or
every token is told, and following the model's own choice, beside rows whose states are as extreme as they can be; and
after each batch everything is compared, bit for bit. One piece of code serves the check at load, `carousel doctor` and
the tests: only the effort differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import LIKELIEST, FollowResult, ReadResult, States, StepModel, StepResult
from service.runtime.extremes import limits

STEPS = 24  # a difference in c can hide from the probabilities for some steps: h is rounded
MAX_ROWS = 70
FREE = 0.5  # the share of the tokens that are the model's own choice
SIZES = (0.1, 1.0, 30.0, 1e30)  # of the values in a float state that is not the initial one
_Way = Literal["step", "chunk", "follow", "read"]
_WAYS: tuple[_Way, ...] = ("step", "step", "chunk", "follow", "read")
_FIRST: tuple[tuple[_Way, int], ...] = (("chunk", 3), ("follow", 4), ("read", 3))  # the shortest check has them all
_NAMES_OF_THE_HEAD = ("log-probabilities", "top log-probabilities", "top tokens")


class Texts(NamedTuple):
    """Rows to read: tokens int64 [steps, rows], and the states that they start from, one array [rows, width] each.

    free: bool [steps, rows]; there the token is the likeliest after the step before, found when the row is read alone.
    """

    tokens: NDArray[np.int64]
    states: States
    free: NDArray[np.bool_]


class Alone(NamedTuple):
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


class Difference(NamedTuple):
    """The first batch in which a row was not itself. `largest` is by how much log-probabilities ever moved then."""

    output: str
    rows: int
    chunk: int
    step: int
    on_neighbours: bool
    on_chunking: bool
    on_following: bool
    largest: float

    def __str__(self) -> str:
        causes = [cause for cause, found in self._causes().items() if found] or ["the batches that it went through"]
        return (
            f"output {self.output!r} depends on {' and '.join(causes)}: in a batch of {self.rows} rows and chunks of "
            f"{self.chunk} it differs from the row alone at step {self.step}; "
            f"log-probabilities move by up to {self.largest:.2g}"
        )

    def _causes(self) -> dict[str, bool]:
        return {
            "the batch": self.on_neighbours,
            "the chunking": self.on_chunking,
            "whose choice it is fed": self.on_following,
        }


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
    """Random tokens for `rows` rows, half of them left to the model.

    Every second row starts as a session does, the others from random, huge states.
    """
    tokens = generator.integers(0, model.vocabulary_size, (steps, rows))
    tokens[0, ::2] = model.start_token
    free = generator.random((steps, rows)) < FREE
    free[0] = False
    return Texts(tokens, _starts(model, rows, generator), free)


def _starts(model: StepModel, rows: int, generator: np.random.Generator) -> list[NDArray[np.generic]]:
    states: list[NDArray[np.generic]] = []
    for shape in model.shapes:
        start = np.full((rows, shape.width), shape.initial, shape.dtype)
        others = len(start[1::2])
        if np.issubdtype(shape.dtype, np.floating):
            sizes = generator.choice(SIZES, (others, 1))
            start[1::2] = generator.standard_normal((others, shape.width)) * sizes
        else:
            low, high = limits(shape.dtype)
            drawn = generator.integers(low, high + 1, (others, shape.width))
            edges = generator.choice([low, high], (others, shape.width))
            start[1::2] = np.where(generator.random((others, 1)) < 0.5, drawn, edges)
        states.append(start)
    return states


def read_alone(model: StepModel, texts: Texts, names: Sequence[str] = ()) -> Alone:
    """Read every row by itself, one token at a time. `names`: of the states, for messages. Raises ModelError."""
    steps, rows = texts.tokens.shape
    values: dict[str, NDArray[np.generic]] = {}
    tokens = texts.tokens.copy()
    for row in range(rows):
        states: States = [state[row : row + 1] for state in texts.states]
        likeliest = LIKELIEST
        for step in range(steps):
            if texts.free[step, row]:
                tokens[step, row] = likeliest
            result = model.step(tokens[step : step + 1, row : row + 1], states, all_probabilities=True)
            states, likeliest = result.states, int(result.top_tokens[0, 0])
            for name, value in _parts(result, names).items():
                if name not in values:
                    values[name] = np.empty((steps, rows, *value.shape[1:]), value.dtype)
                values[name][step, row] = value[0]
    return Alone(Texts(tokens, texts.states, texts.free), values)


def compare_in_batches(
    model: StepModel, alone: Alone, generator: np.random.Generator, *, max_rows: int = MAX_ROWS
) -> PromiseResult:
    """Read the same rows together, once, in batches and chunks drawn at random, as a server's sessions come and go.

    The first batch is a chunk, the second follows the model's choice where it is free, and of the third every token is
    read; of those after them two fifths are single steps, a fifth each are chunks, follow and are read. The texts have
    at least 10 steps. Every row ends at the last token; rows of one batch stand at different tokens. Raises ModelError.
    """
    texts = alone.texts
    steps, rows = texts.tokens.shape
    states = [np.array(state) for state in texts.states]
    at = np.zeros(rows, np.int64)
    batches = compared = 0
    first: tuple[str, int, int, int] | None = None
    largest = 0.0
    while (left := steps - at).any():
        way, length = _FIRST[batches] if batches < len(_FIRST) else _drawn_way(int(left.max()), generator)
        able = generator.permutation(np.flatnonzero(left >= length))
        chosen = able[: int(generator.integers(1, max_rows + 1))]
        places = at[chosen] + np.arange(length)[:, None]
        given = [state[chosen] for state in states]
        if way == "follow":
            read = _follow(model, alone, places, chosen, given)
        elif way == "read":
            read = _read(model, alone, places, chosen, given)
        else:
            read = _step(model, alone, places, chosen, given, all_probabilities=way == "chunk")
        at[chosen] += length
        for state, after in zip(states, read.after, strict=True):
            state[chosen] = after
        batches, compared = batches + 1, compared + len(chosen)
        for name, found in read.values.items():
            expected = alone.values[name][read.places, chosen]
            if not same_bits(found, expected):
                differing = next(zip(*np.nonzero(_differing(found, expected)), strict=True))
                first = first or (name, len(chosen), length, int(read.places[differing[:2]]) + 1)
                if found.dtype == np.float32 and name in _NAMES_OF_THE_HEAD:
                    largest = max(largest, float(np.abs(found.astype(np.float64) - expected).max()))
    if first is None:
        return PromiseResult(batches, compared, None)
    causes = (
        _depends_on_neighbours(model, alone),
        _depends_on_chunking(model, alone),
        _depends_on_following(model, alone),
    )
    return PromiseResult(batches, compared, Difference(*first, *causes, largest))


def _drawn_way(left: int, generator: np.random.Generator) -> tuple[_Way, int]:
    """How the next batch is read, and how many tokens of each row; a chunk may be of one token, too."""
    way = _WAYS[int(generator.integers(len(_WAYS)))]
    return way, 1 if way == "step" else int(generator.integers(1, left + 1))


class _Read(NamedTuple):
    """What a batch gave: by name [steps, rows, ...], after the tokens at `places`, [steps, rows]; its last states."""

    values: dict[str, NDArray[np.generic]]
    places: NDArray[np.int64]
    after: States


def _step(
    model: StepModel,
    alone: Alone,
    places: NDArray[np.int64],
    chosen: NDArray[np.int64],
    states: States,
    *,
    all_probabilities: bool,
) -> _Read:
    result = model.step(alone.texts.tokens[places, chosen], states, all_probabilities=all_probabilities)
    values = {name: value[None] for name, value in _parts(result, _state_names(alone)).items()}
    return _Read(values, places[-1:], result.states)


def _follow(
    model: StepModel, alone: Alone, places: NDArray[np.int64], chosen: NDArray[np.int64], states: States
) -> _Read:
    tokens = np.where(alone.texts.free[places, chosen], LIKELIEST, alone.texts.tokens[places, chosen])
    tokens[0] = alone.texts.tokens[places[0], chosen]
    result = model.follow(tokens, states)
    return _Read(_parts(result, _state_names(alone)), places, [state[-1] for state in result.states])


def _read(
    model: StepModel, alone: Alone, places: NDArray[np.int64], chosen: NDArray[np.int64], states: States
) -> _Read:
    result = model.read(alone.texts.tokens[places, chosen], states)
    return _Read(_parts_of_all(result), places, result.states)


def _differing(found: NDArray[np.generic], expected: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Where the bits differ, bool, of the arrays' shape."""
    bits = np.dtype(f"u{found.dtype.itemsize}")
    return np.asarray(np.ascontiguousarray(found).view(bits) != np.ascontiguousarray(expected).view(bits))


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
        read = model.read(alone.texts.tokens[:, row : row + 1], start)
        for name, value in _parts_of_all(read).items():
            if not same_bits(value[:, 0], alone.values[name][:, row]):
                return True
    return False


def _depends_on_following(model: StepModel, alone: Alone) -> bool:
    """Whether a row by itself that follows the model's choice goes another way than token by token."""
    steps, rows = alone.texts.tokens.shape
    for row in range(rows):
        start = [state[row : row + 1] for state in alone.texts.states]
        read = _follow(model, alone, np.arange(steps)[:, None], np.array([row]), start)
        if not all(same_bits(value[:, 0], alone.values[name][:, row]) for name, value in read.values.items()):
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


def same_bits(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits: 0.0 is not -0.0, and NaN is itself."""
    return one.tobytes() == other.tobytes()


def _parts(result: StepResult | FollowResult, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Everything that a step gives, by name, each [rows, ...], or that following gives, [steps, rows, ...]."""
    everything = result.log_probabilities if isinstance(result, StepResult) else None
    head = (everything, result.top_log_probabilities, result.top_tokens)
    parts: dict[str, NDArray[np.generic]] = {}
    for index, state in enumerate(result.states):
        parts[names[index] if names else f"state {index}"] = state
    parts.update((name, value) for name, value in zip(_NAMES_OF_THE_HEAD, head, strict=True) if value is not None)
    return parts


def _parts_of_all(result: ReadResult) -> dict[str, NDArray[np.generic]]:
    """What reading gives of every token, by name, each [steps, rows, ...]; the states are those after the last."""
    heads = (result.log_probabilities, result.top_log_probabilities, result.top_tokens)
    return dict(zip(_NAMES_OF_THE_HEAD, heads, strict=True))


def _state_names(alone: Alone) -> list[str]:
    return [name for name in alone.values if name not in _NAMES_OF_THE_HEAD]
