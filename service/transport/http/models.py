"""The JSON bodies, strict: a wrong type or an unknown field is refused, never guessed or ignored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from service.engine.requests import FinishReason, ModelIdentity, Stop, SuggestSpec
from service.sessions.commands import (
    Accept,
    CreateSession,
    Delete,
    Edit,
    EditSession,
    ForkSession,
    Insert,
    MoveCursor,
    Replace,
    SessionId,
    SessionView,
    SetText,
    Suggestion,
    UndoTo,
    Units,
)
from service.sessions.records import SessionPage

UnitsName = Literal["codepoint", "utf16", "utf8"]
StopName = Literal["word", "line", "block", "none"]
Count = Annotated[int, Field(ge=0)]

UNITS_DOC = "What offsets, counts and lengths count: code points, UTF-16 code units or bytes of UTF-8."


class Body(BaseModel):
    """Base of what is read: strict types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SuggestBody(Body):
    """Asks for suggestions; left out, none are computed."""

    count: int = Field(default=SuggestSpec().count, description="1 to 16.")
    max_bytes: int = Field(default=SuggestSpec().max_bytes, description="Bytes of UTF-8 of one suggestion, 1 to 512.")
    stop: StopName = Field(
        default="line",
        description="Where a suggestion ends, beside `max_bytes`. `block`: the suggestion may span lines and ends "
        "before the first line that leaves the block, that is, before the first line that is not blank and is indented "
        "less than the block; the block's indentation is that of the first line after the cursor's that is not blank, "
        "if that is deeper than the cursor's line, else that of the cursor's line.",
    )
    stop_strings: list[str] = Field(
        default_factory=list,
        description="At most 4 strings of 1 to 64 bytes; a suggestion ends before the first of them at the latest.",
    )

    def spec(self) -> SuggestSpec:
        """The domain's value."""
        # Whether it is valid UTF-8 is checked with everything else; JSON can say surrogates, which are not.
        stop_strings = tuple(string.encode("utf-8", "surrogatepass") for string in self.stop_strings)
        return SuggestSpec(self.count, self.max_bytes, Stop(self.stop), stop_strings)


class CreateBody(Body):
    """A new session, empty or with a text; the cursor is at its end."""

    text: str = ""
    id: str | None = Field(default=None, description="Choose one to make a retry safe; else the server makes one.")
    model: str | None = Field(default=None, description="The default model if left out.")
    suggest: SuggestBody | None = None
    units: UnitsName = Field(default="codepoint", description=UNITS_DOC)
    store_text: bool = Field(
        default=True,
        description="False writes nothing of the session anywhere: it is in the process's memory, and lost with it.",
    )

    def command(self) -> CreateSession:
        """The domain's request."""
        return CreateSession(
            text=self.text,
            id=None if self.id is None else SessionId(self.id),
            model=self.model,
            suggest=None if self.suggest is None else self.suggest.spec(),
            units=Units(self.units),
            store_text=self.store_text,
        )


class ReplaceBody(Body):
    """Put text in place of [start, end); the cursor lands after it."""

    start: Count
    end: Count
    text: str


class AcceptBody(Body):
    """Insert a suggestion, whole or its first `length` units."""

    suggestion: str
    length: Count | None = None


def _one_key(schema: dict[str, Any]) -> None:
    """Say in the document what the validator checks: one key, and none of them null."""
    schema["minProperties"] = schema["maxProperties"] = 1
    for declared in schema["properties"].values():
        for choice in declared.pop("anyOf", ()):
            if choice != {"type": "null"}:
                declared.update(choice)
        declared.pop("default", None)


class EditBody(Body):
    """One edit: exactly one of these keys. Offsets refer to the text before it."""

    model_config = ConfigDict(json_schema_extra=_one_key)

    insert: str | None = Field(default=None, description="Text to put at the cursor.")
    delete: Count | None = Field(default=None, description="Units to remove before the cursor.")
    replace: ReplaceBody | None = None
    cursor: Count | None = Field(default=None, description="Move the cursor to this offset.")
    undo_to: Count | None = Field(default=None, description="Make an earlier revision the newest.")
    accept: AcceptBody | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> EditBody:
        given = [name for name in self.model_fields_set if getattr(self, name) is not None]
        if len(given) != 1 or len(self.model_fields_set) != 1:
            raise ValueError("needs exactly one of insert, delete, replace, cursor, undo_to, accept")
        return self

    def edit(self) -> Edit:
        """The domain's edit."""
        if self.insert is not None:
            return Insert(self.insert)
        if self.delete is not None:
            return Delete(self.delete)
        if self.replace is not None:
            return Replace(self.replace.start, self.replace.end, self.replace.text)
        if self.cursor is not None:
            return MoveCursor(self.cursor)
        if self.undo_to is not None:
            return UndoTo(self.undo_to)
        assert self.accept is not None, "one key is set, and it is none of the others"
        return Accept(self.accept.suggestion, self.accept.length)


class EditsBody(Body):
    """Edits that apply in order, all or none, to the session at `revision`; `edits` may be empty."""

    revision: Count = Field(description="The revision that the edits are based on.")
    edit_id: str | None = Field(default=None, description="Any unique string; with it, a retry is safe.")
    edits: list[EditBody]
    suggest: SuggestBody | None = None
    units: UnitsName = Field(default="codepoint", description=UNITS_DOC)

    def command(self, session: str) -> EditSession:
        """The domain's request."""
        return EditSession(
            session=SessionId(session),
            revision=self.revision,
            edits=tuple(edit.edit() for edit in self.edits),
            edit_id=self.edit_id,
            units=Units(self.units),
            suggest=None if self.suggest is None else self.suggest.spec(),
        )


class TextBody(Body):
    """The whole text of a session: the server finds what differs and replaces that, as one edit."""

    revision: Count = Field(description="The revision that the text is based on.")
    text: str
    cursor: Count | None = Field(default=None, description="After what has changed if left out.")
    edit_id: str | None = Field(default=None, description="Any unique string; with it, a retry is safe.")
    suggest: SuggestBody | None = None
    units: UnitsName = Field(default="codepoint", description=UNITS_DOC)

    def command(self, session: str) -> SetText:
        """The domain's request."""
        return SetText(
            session=SessionId(session),
            revision=self.revision,
            text=self.text,
            cursor=self.cursor,
            edit_id=self.edit_id,
            units=Units(self.units),
            suggest=None if self.suggest is None else self.suggest.spec(),
        )


class ForkBody(Body):
    """A second session from this one; everything may be left out."""

    id: str | None = Field(default=None, description="Choose one to make a retry safe; else the server makes one.")
    revision: Count | None = Field(
        default=None, description="An earlier revision, that can be undone to; the newest if left out."
    )
    units: UnitsName = Field(default="codepoint", description=UNITS_DOC)

    def command(self, session: str) -> ForkSession:
        """The domain's request."""
        chosen = None if self.id is None else SessionId(self.id)
        return ForkSession(SessionId(session), chosen, self.revision, Units(self.units))


class ModelAnswer(BaseModel):
    """What an answer depends on beside the text."""

    name: str
    digest: str
    numerics_id: str


class SuggestionAnswer(BaseModel):
    """A likely continuation; those of one answer are distinct and none is a prefix of another."""

    id: str = Field(description="Names it in `accept`.")
    text: str
    probability: float = Field(description="Of exactly this text.")
    finish_reason: FinishReason


class SessionAnswer(BaseModel):
    """A session; `text` and `suggestions` only if they were asked for."""

    id: str
    revision: int
    length: int
    cursor: int
    text: str | SkipJsonSchema[None] = None
    suggestions: list[SuggestionAnswer] | SkipJsonSchema[None] = None
    finish_reason: FinishReason | SkipJsonSchema[None] = Field(
        default=None, description="Why there are no suggestions although they were asked for."
    )
    stored: bool | SkipJsonSchema[None] = Field(
        default=None, description="Whether it outlives the process; of a session that was begun or read."
    )
    model: ModelAnswer


def suggestion_answers(suggestions: Sequence[Suggestion]) -> list[SuggestionAnswer]:
    """The JSON of suggestions. Built without validation: the domain's values are right already."""
    return [
        SuggestionAnswer.model_construct(
            id=suggestion.id,
            text=suggestion.text,
            probability=suggestion.probability,
            finish_reason=suggestion.finish_reason,
        )
        for suggestion in suggestions
    ]


def session_answer(view: SessionView) -> SessionAnswer:
    """The JSON of a view. Built without validation, as that of suggestions."""
    return SessionAnswer.model_construct(
        id=view.id,
        revision=view.revision,
        length=view.length,
        cursor=view.cursor,
        text=view.text,
        suggestions=None if view.suggestions is None else suggestion_answers(view.suggestions),
        finish_reason=view.finish_reason,
        stored=view.stored,
        model=model_answer(view.model),
    )


def model_answer(model: ModelIdentity) -> ModelAnswer:
    """The JSON of a model's identity."""
    return ModelAnswer.model_construct(name=model.name, digest=model.digest, numerics_id=model.numerics_id)


class SummaryAnswer(BaseModel):
    """What a list tells of a session."""

    id: str
    revision: int
    model: str
    text_bytes: int = Field(description="Of UTF-8.")
    written_s: int = Field(description="Its last write, seconds since 1970.")


class ListAnswer(BaseModel):
    """A part of the caller's sessions, by id."""

    sessions: list[SummaryAnswer]
    after: str | SkipJsonSchema[None] = Field(
        default=None, description="Asks for the next part; left out if this is the last."
    )


def list_answer(page: SessionPage) -> ListAnswer:
    """The JSON of a part of the list."""
    sessions = [
        SummaryAnswer.model_construct(
            id=one.id, revision=one.revision, model=one.model, text_bytes=one.text_bytes, written_s=one.written_s
        )
        for one in page.sessions
    ]
    return ListAnswer.model_construct(sessions=sessions, after=page.after)


class Problem(BaseModel):
    """An error (RFC 9457); `code` is stable, `detail` is for people."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    field: str | SkipJsonSchema[None] = Field(default=None, description="The field at fault, as the caller wrote it.")
    revision: int | SkipJsonSchema[None] = Field(default=None, description="The session's current revision.")
    retry_after_s: float | SkipJsonSchema[None] = Field(default=None, description="When a retry makes sense.")
