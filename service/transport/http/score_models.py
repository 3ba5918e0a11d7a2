"""The JSON of scores: what is asked, and what every byte of a text was worth."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from service.errors import InvalidArgument
from service.sessions.commands import Prompt, ScoredText, ScoreText, SessionId, Units
from service.transport.http.models import UNITS_DOC, Body, Count, ModelAnswer, UnitsName, model_answer

_SURPRISES = 10


class ScoreBody(Body):
    """What is to be scored: a text, or all that a session holds. Exactly one of `text` and `session`."""

    text: str | None = Field(default=None, description="A text without a session.")
    session: str | None = Field(default=None, description="A session's id; it is not changed.")
    model: str | None = Field(default=None, description="For a text; the default model if left out.")
    start: Count = Field(default=0, description="Where scoring begins, in `units`; what is before it is only read.")
    top: Count = Field(default=0, description="So many of the likeliest bytes at every place, 0 to 16.")
    surprises: Count = Field(
        default=_SURPRISES, description="So many of the places that surprised the model most, 0 to 64."
    )
    units: UnitsName = Field(default="codepoint", description=UNITS_DOC)

    def command(self) -> ScoreText:
        """The domain's request. Raises InvalidArgument for no source or two, and for a session with a model."""
        return ScoreText(self._source(), self.start, self.top, self.surprises, Units(self.units))

    def _source(self) -> Prompt | SessionId:
        if self.text is not None and self.session is None:
            return Prompt(self.text, self.model)
        if self.session is None or self.text is not None:
            raise InvalidArgument("text", "exactly one of text and session is needed")
        if self.model is not None:
            raise InvalidArgument("model", "a session has its model; leave it out")
        return SessionId(self.session)


class AlternativesAnswer(BaseModel):
    """The likeliest bytes at one place, best first; byte 255 is the end of the text."""

    tokens: list[int]
    log_probabilities: list[float] = Field(description="Natural logarithms.")


class SurpriseAnswer(BaseModel):
    """A place where the model expected something else."""

    offset: int
    length: int
    text: str = Field(description="What stands there, to the end of the word.")
    surprisal_bits: float = Field(description="Of the character at `offset`.")
    expected: str = Field(description="How the model would have gone on; empty if it expected the text to end.")
    probability: float = Field(description="Of exactly what was expected.")


class ScoreAnswer(BaseModel):
    """One number for each byte of UTF-8 from `start` on."""

    model: ModelAnswer
    revision: int | SkipJsonSchema[None] = Field(default=None, description="Of the session.")
    start: int = Field(description="The first byte that was scored.")
    bits_per_byte: float
    log_probabilities: list[float] = Field(description="Natural logarithms, of each byte after those before it.")
    surprisal_bits: list[float] = Field(description="The same as bits.")
    alternatives: list[AlternativesAnswer] | SkipJsonSchema[None] = Field(
        default=None, description="At each byte, if `top` is above 0."
    )
    surprises: list[SurpriseAnswer] = Field(description="The greatest first.")


def score_json(scored: ScoredText) -> bytes:
    """The answer, encoded: of a long text that takes a while, and may be done on another thread."""
    answer = ScoreAnswer.model_construct(
        model=model_answer(scored.model),
        revision=scored.revision,
        start=scored.start,
        bits_per_byte=scored.bits_per_byte,
        log_probabilities=scored.log_probabilities.tolist(),
        surprisal_bits=scored.surprisal_bits.tolist(),
        alternatives=alternatives_answer(scored.top_tokens.tolist(), scored.top_log_probabilities.tolist()),
        surprises=[
            SurpriseAnswer.model_construct(
                offset=one.offset,
                length=one.length,
                text=one.text,
                surprisal_bits=one.surprisal_bits,
                expected=one.expected,
                probability=one.probability,
            )
            for one in scored.surprises
        ],
    )
    return answer.model_dump_json(exclude_none=True).encode()


def alternatives_answer(
    tokens: list[list[int]], log_probabilities: list[list[float]]
) -> list[AlternativesAnswer] | None:
    """One for each byte; None if no alternatives were asked for."""
    if not tokens or not tokens[0]:
        return None
    return [
        AlternativesAnswer.model_construct(tokens=some, log_probabilities=likely)
        for some, likely in zip(tokens, log_probabilities, strict=True)
    ]
