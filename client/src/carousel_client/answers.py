"""What a server answers: frozen values, in the units that the request asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from carousel_client.errors import CarouselError


class FinishReason(StrEnum):
    """Why a suggestion or a completion ended, or why there are no suggestions."""

    STOP = "stop"  # the stop rule, or a stop string
    LENGTH = "length"  # max_bytes
    END = "end"  # the model expects the text to end
    DEADLINE = "deadline"  # the time was up: no suggestions, a completion as far as it came
    SUPERSEDED = "superseded"  # a newer edit came: no suggestions, a completion as far as it came
    SHED = "shed"  # none: dropped under overload


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A likely continuation; `id` names it in Accept, `probability` is that of exactly `text`."""

    id: str
    text: str
    probability: float
    finish_reason: FinishReason | None


@dataclass(frozen=True, slots=True)
class Model:
    """What an answer depends on beside the text."""

    name: str
    digest: str
    numerics_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A session after a request: where it stands, and the suggestions if they were asked for, best first.

    The suggestions of one answer are distinct and none is a prefix of another. `finish_reason` says why there are none.
    `stored` says whether it outlives the server's process, where that is told: when it is created, read or imported.
    """

    session_id: str
    revision: int
    length: int
    cursor: int
    model: Model
    suggestions: tuple[Suggestion, ...] = ()
    finish_reason: FinishReason | None = None
    stored: bool | None = None


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The likeliest bytes at one place, best first, with natural-log probabilities; 255 is the end of the text."""

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """The next characters of completion `index`; `finish_reason` stands on its last piece, which may be empty.

    log_probabilities: natural log, of each byte of `text`, if `top` was asked for.  alternatives: so many at each byte.
    """

    index: int
    text: str
    finish_reason: FinishReason | None = None
    log_probabilities: tuple[float, ...] = ()
    alternatives: tuple[Alternatives, ...] = ()


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Every edit of the stream up to this one is committed or was rejected."""

    edit_id: str
    revision: int
    length: int
    cursor: int


@dataclass(frozen=True, slots=True)
class Suggested:
    """The suggestions for the text at `revision`; `finish_reason` says why there are none."""

    edit_id: str
    revision: int
    suggestions: tuple[Suggestion, ...]
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An edit of the stream was not applied; those that were built on it are rejected too. The stream stays open."""

    edit_id: str
    error: CarouselError


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The stream lost its server, for the reason `error`, and looks for it; edits may be sent meanwhile."""

    error: CarouselError


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The stream has found its server again and goes on, with nothing lost and nothing applied twice.

    `recreated`: the server had forgotten the session; there is a new one of the same id and text, whose revisions
    begin anew.
    """

    recreated: bool = False


Event = Acknowledged | Suggested | Rejected | Disconnected | Reconnected
