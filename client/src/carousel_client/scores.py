"""How likely a text is, byte by byte: what is asked, and what is answered."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass

from carousel_client.answers import Alternatives, Model
from carousel_client.edits import Units
from carousel_client.errors import InvalidArgument
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.messages import Call, alternatives_of, model_of, number, text_field, units_field


@dataclass(frozen=True, slots=True)
class Surprise:
    """A place where the model expected something else; `offset` and `length` in the units of the request.

    text: what stands there, to the end of the word.  surprisal_bits: of its first character.  expected: how the model
    would have gone on, to the end of a word; empty if it expected the text to end.  probability: of exactly that.
    """

    offset: int
    length: int
    text: str
    surprisal_bits: float
    expected: str
    probability: float


@dataclass(frozen=True, slots=True)
class Score:
    """A scored text: one value for each byte of its UTF-8, from byte `start` on.

    log_probabilities: natural log, of each byte after those before it.  surprisal_bits: the same as bits, what the byte
    would take to be told.  alternatives: the likeliest bytes at each place, if asked for.  surprises: the greatest
    first.  revision: of the session, None for a text without one.
    """

    model: Model
    revision: int | None
    start: int
    log_probabilities: array[float]
    surprisal_bits: array[float]
    bits_per_byte: float
    surprises: tuple[Surprise, ...]
    alternatives: tuple[Alternatives, ...]


def score_call(
    source: str | bytes,
    *,
    start: int,
    top: int,
    surprises: int | None,
    units: Units,
    model: str | None,
) -> Call[Score]:
    """Score a text, or bytes that need not be whole characters. Raises InvalidArgument for what cannot be sent."""
    request = _request(start, top, surprises, units)
    request.model = text_field(model or "", "model")
    if isinstance(source, bytes):
        if units is Units.UTF16:
            raise InvalidArgument("units: bytes are counted in bytes", field="units")
        request.text_bytes, request.units = source, pb.UNITS_UTF8
    else:
        request.text = text_field(source, "text")
    return Call("Score", request, _score)


def score_session_call(session_id: str, *, start: int, top: int, surprises: int | None, units: Units) -> Call[Score]:
    """Score all of a session's text."""
    request = _request(start, top, surprises, units)
    request.session_id = text_field(session_id, "session_id")
    return Call("Score", request, _score, session_id)


def _request(start: int, top: int, surprises: int | None, units: Units) -> pb.ScoreRequest:
    request = pb.ScoreRequest(start=number(start, "start"), top=number(top, "top", 2**32 - 1), units=units_field(units))
    if surprises is not None:
        request.surprises = number(surprises, "surprises", 2**32 - 1)
    return request


def _score(response: pb.ScoreResponse) -> Score:
    return Score(
        model=model_of(response.model),
        revision=response.revision if response.HasField("revision") else None,
        start=response.start,
        log_probabilities=array("f", response.log_probabilities),
        surprisal_bits=array("f", response.surprisal_bits),
        bits_per_byte=response.bits_per_byte,
        surprises=tuple(_surprises(response.surprises)),
        alternatives=alternatives_of(response.alternatives),
    )


def _surprises(told: Iterable[pb.Surprise]) -> Iterable[Surprise]:
    for one in told:
        yield Surprise(one.offset, one.length, one.text, one.surprisal_bits, one.expected, one.probability)
