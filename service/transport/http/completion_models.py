"""The JSON of completions: what is asked, the whole answer, and one piece of a stream."""

from __future__ import annotations

from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema

from service.engine.requests import FinishReason, SamplingSpec
from service.errors import InvalidArgument
from service.sessions.commands import CompletedPiece, CompleteText, Prompt, SessionId
from service.sessions.completions import Completion
from service.transport.http.models import Body, Count, ModelAnswer, model_answer
from service.transport.http.score_models import AlternativesAnswer, alternatives_answer

_DEFAULT = CompleteText(Prompt(""))
_GREEDY = SamplingSpec()
_BYTES = {str(byte): byte for byte in range(256)}


class CompleteBody(Body):
    """Goes on from the session's cursor; the session is not changed."""

    max_bytes: int = Field(default=_DEFAULT.max_bytes, description="Bytes of UTF-8 of one completion, 1 to 4096.")
    count: int = Field(default=_DEFAULT.count, description="How many completions, 1 to 16.")
    stop: list[str] = Field(
        default_factory=list,
        description="At most 4 strings of 1 to 64 bytes; a completion ends before the first of them.",
    )
    temperature: float = Field(default=_GREEDY.temperature, description="0 to 5; 0 takes the likeliest byte.")
    top_k: int = Field(default=_GREEDY.top_k, description="Choose among so many of the likeliest bytes; 0 is all.")
    top_p: float = Field(
        default=_GREEDY.top_p, description="Choose among the likeliest bytes of so much probability, above 0 to 1."
    )
    min_p: float = Field(
        default=_GREEDY.min_p, description="Choose among bytes of at least this share of the likeliest's probability."
    )
    repetition_penalty: float = Field(
        default=_GREEDY.repetition_penalty, description="1 to 10, on bytes that are among the last 64."
    )
    logit_bias: dict[str, float] = Field(
        default_factory=dict, description="Per byte from 0 to 255, -100 to 100; byte 255 is the end of the text."
    )
    seed: int | None = Field(
        default=None, description="The same seed gives the same text; made by the server if left out."
    )
    top: Count | None = Field(
        default=None,
        description="Tell how likely every byte was, and so many of the likeliest bytes at its place, 0 to 16: under "
        "the model's own distribution, before penalties, biases and temperature.",
    )

    def command(self, session: str) -> CompleteText:
        """The domain's request. Raises InvalidArgument for a bias of what is no number."""
        return self._command(SessionId(session))

    def _command(self, source: SessionId | Prompt) -> CompleteText:
        return CompleteText(
            source=source,
            max_bytes=self.max_bytes,
            count=self.count,
            stop=tuple(self.stop),
            sampling=SamplingSpec(
                temperature=self.temperature,
                top_k=self.top_k,
                top_p=self.top_p,
                min_p=self.min_p,
                repetition_penalty=self.repetition_penalty,
                logit_bias=tuple((_byte(name), added) for name, added in self.logit_bias.items()),
            ),
            seed=self.seed,
            top=self.top,
        )


class CompletePromptBody(CompleteBody):
    """Goes on from a text without a session."""

    prompt: str
    model: str | None = Field(default=None, description="The default model if left out.")

    def prompt_command(self) -> CompleteText:
        """The domain's request. Raises InvalidArgument for a bias of what is no number."""
        return self._command(Prompt(self.prompt, self.model))


def _byte(name: str) -> int:
    if name not in _BYTES:
        raise InvalidArgument(f"logit_bias.{name}", "is no byte: 0..255, of which 255 ends the text")
    return _BYTES[name]


class CompletionAbout(BaseModel):
    """What the same text takes once more, beside the request."""

    model: ModelAnswer
    seed: int
    revision: int | SkipJsonSchema[None] = None


class ToldText(BaseModel):
    """How likely each byte of its UTF-8 was, if `top` was given."""

    log_probabilities: list[float] | SkipJsonSchema[None] = Field(default=None, description="Natural logarithms.")
    alternatives: list[AlternativesAnswer] | SkipJsonSchema[None] = Field(
        default=None, description="At each byte, if `top` is above 0."
    )


class CompletionText(ToldText):
    """One completion; `superseded` says that a newer edit of the session ended it."""

    index: int
    text: str
    finish_reason: FinishReason


class CompletionAnswer(CompletionAbout):
    """Every completion, whole."""

    completions: list[CompletionText]


class CompletionEvent(ToldText):
    """The data of one event of a stream: the next characters of completion `index`, to be joined."""

    index: int
    text: str
    finish_reason: FinishReason | SkipJsonSchema[None] = Field(default=None, description="On its last piece.")
    completion: CompletionAbout | SkipJsonSchema[None] = Field(default=None, description="On the first event alone.")


def about(completion: Completion) -> CompletionAbout:
    """What a completion depends on beside its request."""
    return CompletionAbout(model=model_answer(completion.model), seed=completion.seed, revision=completion.revision)


async def completion_answer(completion: Completion) -> CompletionAnswer:
    """Everything that is said, once it is said. Raises CarouselErrors."""
    pieces: dict[int, list[CompletedPiece]] = {}
    async for piece in completion:
        pieces.setdefault(piece.index, []).append(piece)
    return CompletionAnswer(
        model=model_answer(completion.model),
        seed=completion.seed,
        revision=completion.revision,
        completions=[_whole(pieces[index]) for index in sorted(pieces)],
    )


def _whole(pieces: list[CompletedPiece]) -> CompletionText:
    told, finish = [_told(piece) for piece in pieces], pieces[-1].finish_reason
    assert finish is not None, "it stands on the last piece"
    return CompletionText.model_construct(
        index=pieces[0].index,
        text="".join(piece.text for piece in pieces),
        finish_reason=finish,
        log_probabilities=None if told[0][0] is None else [one for likely, _ in told for one in likely or ()],
        alternatives=[one for _, others in told for one in others or ()] or None,
    )


def _told(piece: CompletedPiece) -> tuple[list[float] | None, list[AlternativesAnswer] | None]:
    if piece.log_probabilities is None or piece.top_tokens is None or piece.top_log_probabilities is None:
        return None, None
    others = alternatives_answer(piece.top_tokens.tolist(), piece.top_log_probabilities.tolist())
    return piece.log_probabilities.tolist(), others


def completion_event(piece: CompletedPiece, told: CompletionAbout | None) -> CompletionEvent:
    """The JSON of a piece."""
    likely, others = _told(piece)
    return CompletionEvent.model_construct(
        index=piece.index,
        text=piece.text,
        finish_reason=piece.finish_reason,
        completion=told,
        log_probabilities=likely,
        alternatives=others,
    )
