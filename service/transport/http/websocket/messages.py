"""The JSON of a conversation: a request is the body of `POST .../edits`, an event one key that says what happened."""

from __future__ import annotations

from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from service.engine.requests import FinishReason
from service.errors import InvalidArgument
from service.sessions.commands import SessionView, Suggested
from service.transport.http.models import (
    EditsBody,
    Problem,
    SessionAnswer,
    SuggestionAnswer,
    UnitsName,
    session_answer,
    suggestion_answers,
)
from service.transport.http.refusals import invalid_argument
from service.transport.http.strict_json import read_json

_MESSAGE = "message"
_LONGEST_EDIT_ID = 128


class Opened(BaseModel):
    """The first event: the session as it is, so that a caller who comes back knows where to go on."""

    session: SessionAnswer


class Acknowledged(BaseModel):
    """Every edit of this connection up to this one is committed or was rejected."""

    edit_id: str = Field(description="The caller's, or the one that the server made; empty if there were no edits.")
    session: SessionAnswer


class SuggestedFor(BaseModel):
    """Suggestions for the text at `revision`; those that come soon after the commit acknowledge the edit, too."""

    edit_id: str
    revision: int
    suggestions: list[SuggestionAnswer]
    finish_reason: FinishReason | SkipJsonSchema[None] = Field(default=None, description="Why there are none.")
    acknowledged: Acknowledged | SkipJsonSchema[None] = Field(
        default=None, description="Of the same edit, if it has not come before."
    )


class Rejected(BaseModel):
    """A message was not taken and changed nothing; the connection stays open. In order, among the acknowledgements."""

    edit_id: str | SkipJsonSchema[None] = Field(default=None, description="The caller's, as far as it was readable.")
    error: Problem


class Ended(BaseModel):
    """The last event, before the server closes: everything that it read was answered."""

    revision: int = Field(description="Of the session, as this connection knows it: go on from here elsewhere.")
    error: Problem


class TypeEvent(BaseModel):
    """What the server tells: exactly one of these keys."""

    opened: Opened | SkipJsonSchema[None] = None
    acknowledged: Acknowledged | SkipJsonSchema[None] = None
    suggested: SuggestedFor | SkipJsonSchema[None] = None
    rejected: Rejected | SkipJsonSchema[None] = None
    ended: Ended | SkipJsonSchema[None] = None

    def json_text(self) -> str:
        """As it is sent."""
        return self.model_dump_json(exclude_none=True)


def event_schemas() -> dict[str, Any]:
    """What an OpenAPI document has to know of TypeEvent, by name, for it names no events of its own."""
    schema = TypeEvent.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = schema.pop("$defs")
    return {**schemas, TypeEvent.__name__: schema}


def opened(view: SessionView) -> TypeEvent:
    """The connection stands."""
    return TypeEvent.model_construct(opened=Opened.model_construct(session=session_answer(view)))


def acknowledged(edit_id: str, view: SessionView) -> TypeEvent:
    """An edit is committed."""
    told = Acknowledged.model_construct(edit_id=edit_id, session=session_answer(view))
    return TypeEvent.model_construct(acknowledged=told)


def suggested(edit_id: str, found: Suggested, acknowledged: TypeEvent | None) -> TypeEvent:
    """Suggestions, and in one with them the acknowledgement if that was not told before."""
    told = SuggestedFor.model_construct(
        edit_id=edit_id,
        revision=found.revision,
        suggestions=suggestion_answers(found.suggestions),
        finish_reason=found.finish_reason,
        acknowledged=None if acknowledged is None else acknowledged.acknowledged,
    )
    return TypeEvent.model_construct(suggested=told)


def rejected(edit_id: str, problem: Problem) -> TypeEvent:
    """A message was not taken."""
    return TypeEvent.model_construct(rejected=Rejected.model_construct(edit_id=edit_id or None, error=problem))


def ended(revision: int, problem: Problem) -> TypeEvent:
    """The server goes."""
    return TypeEvent.model_construct(ended=Ended.model_construct(revision=revision, error=problem))


class TypeBody(EditsBody):
    """Edits as REST takes them, and what they build on that was not answered when they were sent."""

    after: str | None = Field(default=None, description="The edit id of what these build on, to be rejected with it.")


class Received:
    """A message of the caller; `data` is bytes if it was sent as binary."""

    __slots__ = ("after", "data", "edit_id")

    def __init__(self, data: str | bytes) -> None:
        self.data = data
        self.edit_id = self.after = ""  # until they are read

    def edits(self, max_bytes: int, units: UnitsName | None) -> TypeBody:
        """What it asks; `units` stands for those it leaves out. Raises InvalidArgument that names the field.

        `edit_id` is set as soon as it is known, so that a rejection of what comes behind it can name it.
        """
        text = self.data
        if isinstance(text, bytes):
            raise InvalidArgument(_MESSAGE, "binary messages are not taken; send JSON in text messages")
        size = len(text) if len(text) > max_bytes or text.isascii() else len(text.encode())
        if size > max_bytes:
            raise InvalidArgument(_MESSAGE, f"has {size} bytes, at most {max_bytes} are taken; send several edits")
        value = read_json(text, _MESSAGE)
        if not isinstance(value, dict):
            raise InvalidArgument(_MESSAGE, "must be a JSON object")
        self.edit_id = _readable(value.get("edit_id"))
        if units is not None:
            value.setdefault("units", units)
        try:
            body = TypeBody.model_validate(value)
        except ValidationError as error:
            faults = [{**fault, "loc": (_MESSAGE, *fault["loc"])} for fault in error.errors(include_url=False)]
            raise invalid_argument(RequestValidationError(faults)) from error
        self.after = body.after or ""
        return body


def _readable(edit_id: object) -> str:
    """An edit id that can be told back."""
    if not isinstance(edit_id, str) or len(edit_id) > _LONGEST_EDIT_ID:
        return ""
    return edit_id if edit_id.isascii() or edit_id.encode("utf-8", "replace").decode() == edit_id else ""
