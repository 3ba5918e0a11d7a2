"""A `Suggester` without a model, for tests and for working on a facade: it repeats the last word, and remembers all.

To it every byte is as likely after any text: the letters first, `e` before all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Sequence
from math import log

import numpy as np

from service.engine.held_state import HeldState
from service.engine.requests import (
    Advance,
    AdvanceResult,
    Complete,
    Continuation,
    FinishReason,
    ModelIdentity,
    PathId,
    Piece,
    Score,
    Scored,
)
from service.errors import CarouselError

_BEST_FIRST = np.array([*b"etaoinshrdlu", *(b for b in range(256) if b not in b"etaoinshrdlu")], np.int64)
_WEIGHTS = 1.0 / np.arange(1, 257) ** 2
_RANKED = np.log(_WEIGHTS / _WEIGHTS.sum()).astype(np.float32)  # of the bytes in that order
_DISTRIBUTION = np.empty(256, np.float32)
_DISTRIBUTION[_BEST_FIRST] = _RANKED


class FakeAnswer:
    """What `FakeSuggester.advance` returns: it need not be awaited, and its outcome is there at once."""

    def __init__(self, request: Advance, outcome: AdvanceResult | CarouselError) -> None:
        self.request = request
        self.outcome = outcome

    def __await__(self) -> Generator[None, None, AdvanceResult]:
        yield from ()  # nothing to wait for, but `await` wants a generator
        return self.result()

    def result(self) -> AdvanceResult:
        """As `Answer.result`."""
        if isinstance(self.outcome, CarouselError):
            raise self.outcome
        return self.outcome

    def add_done_callback(self, callback: Callable[[FakeAnswer], object], /) -> None:
        """As `Answer.add_done_callback`: called before it returns."""
        callback(self)

    def cancelled(self) -> bool:
        """It cannot be: its outcome is there at once."""
        return False

    def cancel(self) -> bool:
        """Too late."""
        return False


class FakeScoring:
    """What `FakeSuggester.score` returns: its outcome is there at once. `cancelled` counts the calls of `cancel`."""

    def __init__(self, outcome: Scored | CarouselError) -> None:
        self._outcome = outcome
        self.cancelled = 0

    def __await__(self) -> Generator[None, None, Scored]:
        yield from ()  # nothing to wait for, but `await` wants a generator
        if isinstance(self._outcome, CarouselError):
            raise self._outcome
        return self._outcome

    def cancel(self) -> bool:
        """As `Scoring.cancel`."""
        self.cancelled += 1
        return False


class FakePieces(AsyncIterator[tuple[int, Piece]]):
    """What `FakeSuggester.complete` returns: every piece is there at once. `cancelled` counts the calls of `cancel`."""

    def __init__(self, outcomes: Sequence[tuple[int, Piece] | CarouselError]) -> None:
        self._outcomes = list(outcomes)
        self.cancelled = 0

    async def __anext__(self) -> tuple[int, Piece]:
        if not self._outcomes:
            raise StopAsyncIteration
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, CarouselError):
            raise outcome
        return outcome

    def cancel(self) -> None:
        """As `Pieces.cancel`."""
        self.cancelled += 1


class FakeSuggester:
    """Suggests the text's last word again behind a digit per rank; deterministic, no model, no waiting.

    advances: every Advance taken, oldest first.  paths: the open paths and the text that each was told last.
    scopes: the scope of every path that was ever opened.  scores: every Score taken, oldest first.
    refusal: raised by `advance`, `complete` and `score` while it is set.
    failure: what awaiting an answer raises while it is set.  completes: every Complete taken, oldest first.
    pieces: what the last `complete` returned.  restored: the text of every state that a path was put onto.
    """

    def __init__(self, name: str = "fake", digest: str = "0" * 64, numerics_id: str = "fake") -> None:
        self._identity = ModelIdentity(name, digest, numerics_id)
        self.advances: list[Advance] = []
        self.paths: dict[PathId, bytes] = {}
        self.scopes: dict[PathId, str] = {}
        self.completes: list[Complete] = []
        self.scores: list[Score] = []
        self.restored: list[bytes] = []
        self.pieces = FakePieces(())
        self.refusal: CarouselError | None = None
        self.failure: CarouselError | None = None

    @property
    def identity(self) -> ModelIdentity:
        """As `Suggester.identity`."""
        return self._identity

    def serving(self, path: PathId) -> FakeSuggester:
        """As `Suggester.serving`: there is one version."""
        return self

    def pinned(self, digest: str) -> FakeSuggester | None:
        """As `Suggester.pinned`."""
        return self if self._identity.digest.startswith(digest) else None

    def open_path(self, scope: str) -> PathId:
        """As `Suggester.open_path`."""
        path = PathId(len(self.scopes))
        self.scopes[path] = scope
        self.paths[path] = b""
        return path

    def fork_path(self, path: PathId) -> PathId:
        """As `Suggester.fork_path`."""
        forked = self.open_path(self.scopes[path])
        self.paths[forked] = self.paths[path]
        return forked

    def read_state(self, path: PathId, text: bytes, *, least: int, most: int) -> HeldState | None:
        """As `Suggester.read_state`: every state is held, and is the text itself. Raises ValueError if that is untrue.

        That of a beginning that ends within a character is never asked for.
        """
        if text[:most] != self.paths[path][:most]:
            raise ValueError("that is not what the path was told before")
        whole = text[:most].decode(errors="ignore").encode()
        if len(whole) < least:
            return None
        return fake_state(whole)

    def restore(self, path: PathId, text: bytes, state: HeldState) -> bool:
        """As `Suggester.restore`. Raises ValueError for a path that was moved, or the state of another text."""
        if self.paths[path] or state.states[0].tobytes() != text:
            raise ValueError("a state of another text, or a path that is not new")
        self.paths[path] = text
        self.restored.append(text)
        return True

    def close_path(self, path: PathId) -> None:
        """As `Suggester.close_path`."""
        del self.paths[path]

    def advance(self, request: Advance) -> FakeAnswer:
        """As `Suggester.advance`. Raises ValueError if `kept` is not true, which the engine would have to believe."""
        if self.refusal is not None:
            raise self.refusal
        if request.text[: request.kept] != self.paths[request.path][: request.kept] or request.kept > len(request.text):
            raise ValueError(f"kept={request.kept} is not what the path was told before")
        self.paths[request.path] = request.text
        self.advances.append(request)
        return FakeAnswer(request, self.failure or fake_result(request))

    def complete(self, requests: Sequence[Complete]) -> FakePieces:
        """As `Suggester.complete`: continuation i says the text's last word, i times an exclamation mark, and ends."""
        if self.refusal is not None:
            raise self.refusal
        self.completes += requests
        outcomes: list[tuple[int, Piece] | CarouselError] = []
        for index, request in enumerate(requests):
            word = (request.text.split() or [b""])[-1]
            top = request.spec.top
            outcomes += [(index, fake_piece(word, None, top)), (index, fake_piece(b"!" * index, FinishReason.END, top))]
        self.pieces = FakePieces(outcomes if self.failure is None else [outcomes[0], self.failure])
        return self.pieces

    def score(self, request: Score) -> FakeScoring:
        """As `Suggester.score`: every byte is as likely as ever."""
        if self.refusal is not None:
            raise self.refusal
        self.scores.append(request)
        return FakeScoring(self.failure or fake_scored(request.text[request.start :], request.top))


def fake_state(text: bytes) -> HeldState:
    """The fake's state after `text`."""
    head = _BEST_FIRST[:4].astype(np.uint8), _RANKED[:4]
    return HeldState(len(text), [np.frombuffer(text, np.uint8)], *head)


def fake_scored(text: bytes, top: int) -> Scored:
    """What the fake thinks of `text`, after anything."""
    tokens = np.frombuffer(text, np.uint8)
    alternatives = np.tile(_BEST_FIRST[:top], (len(text), 1))
    return Scored(_DISTRIBUTION[tokens], alternatives, np.tile(_RANKED[:top], (len(text), 1)), _DISTRIBUTION, len(text))


def fake_piece(text: bytes, finish: FinishReason | None, top: int | None) -> Piece:
    """What the fake says, and how likely it thinks it was, if that is wanted."""
    if top is None:
        return Piece(text, finish)
    scored = fake_scored(text, top)
    return Piece(text, finish, 0, scored.log_probabilities, scored.top_tokens, scored.top_log_probabilities)


def fake_result(request: Advance) -> AdvanceResult:
    """What the fake suggests: per rank, that digit and then the text's last word, cut to `max_bytes` on a character."""
    spec = request.suggest
    if spec is None:
        return AdvanceResult()
    words = request.text.decode().split()
    last = words[-1] if words else "é"
    continuations = []
    for rank in range(spec.count):
        text = f"{rank:x}{last}".encode()[: spec.max_bytes].decode(errors="ignore")
        finish = FinishReason.LENGTH if len(text) <= len(last) else FinishReason.STOP
        continuations.append(Continuation(text.encode(), log(0.5 ** (rank + 1)), finish))
    return AdvanceResult(tuple(continuations), steps=len(request.text) - request.kept)
