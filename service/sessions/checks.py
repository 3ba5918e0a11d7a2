"""What can be said against a request before any session is looked at; every message names the field and the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from service.engine.requests import SamplingSpec, SuggestSpec
from service.errors import InvalidArgument
from service.sessions.commands import (
    Accept,
    CompleteText,
    CreateSession,
    EditSession,
    ForkSession,
    ImportSession,
    Insert,
    ListSessions,
    Prompt,
    Replace,
    ScoreAhead,
    ScoreText,
    SetText,
    SuggestText,
    UndoTo,
    Units,
)
from service.sessions.limits import Limits
from service.sessions.units import check_text

_SESSION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_MAX_EDIT_ID = 128
_MAX_LISTED = 1000
_MAX_SEED = 2**64 - 1
_BYTES = 256


def check_create(command: CreateSession, limits: Limits) -> None:
    """Raises InvalidArgument for `id`, `text`, or what `check_suggest` raises."""
    check_id(command)
    _check_whole_text(command.text, limits)
    check_suggest(command.suggest, limits)


def check_id(command: CreateSession | ForkSession | ImportSession) -> None:
    """Raises InvalidArgument for an `id` that was chosen and cannot be one."""
    if command.id is not None and _SESSION_ID.fullmatch(command.id) is None:
        raise InvalidArgument("id", "must be 1 to 128 of A-Z a-z 0-9 . _ -; leave it out to be given one")


def check_set_text(command: SetText, limits: Limits) -> None:
    """Raises InvalidArgument for `text`, `edit_id`, or what `check_suggest` raises."""
    _check_edit_id(command.edit_id)
    _check_whole_text(command.text, limits)
    check_suggest(command.suggest, limits)


def _check_whole_text(text: str, limits: Limits) -> None:
    size = check_text(text, "text")
    if size > limits.max_text_bytes:
        raise InvalidArgument("text", f"{size} bytes; a session holds at most {limits.max_text_bytes}: send its end")


def _check_edit_id(edit_id: str | None) -> None:
    if edit_id is not None:
        if not 1 <= len(edit_id) <= _MAX_EDIT_ID:
            raise InvalidArgument("edit_id", f"must be 1 to {_MAX_EDIT_ID} characters; leave it out to be given one")
        check_text(edit_id, "edit_id")


def check_list(command: ListSessions) -> None:
    """Raises InvalidArgument for `limit` or `after`."""
    _check_range("limit", command.limit, 1, _MAX_LISTED)
    if command.after is not None:
        check_text(command.after, "after")


def check_edit(command: EditSession, limits: Limits) -> None:
    """Raises InvalidArgument for `edit_id`, `edits`, an edit's text or place, or what `check_suggest` raises."""
    _check_edit_id(command.edit_id)
    if len(command.edits) > limits.max_edits:
        raise InvalidArgument(
            "edits", f"{len(command.edits)} edits; a request holds at most {limits.max_edits}: send several requests"
        )
    inserted_bytes = 0
    undone = False
    for index, edit in enumerate(command.edits):
        match edit:
            case Insert(text):
                inserted_bytes = _add_inserted(inserted_bytes, text, f"edits[{index}].insert", limits)
            case Replace(_, _, text):
                inserted_bytes = _add_inserted(inserted_bytes, text, f"edits[{index}].replace.text", limits)
            case Accept() if index > 0:
                raise InvalidArgument(
                    f"edits[{index}].accept", "must be the first edit: a suggestion continues the text as it was"
                )
            case UndoTo() if undone:
                raise InvalidArgument(f"edits[{index}].undo_to", "only one to a request: the later one decides alone")
            case UndoTo():
                undone = True
            case _:
                pass
    check_suggest(command.suggest, limits)


def check_complete(command: CompleteText, limits: Limits) -> None:
    """Raises InvalidArgument for `prompt`, `max_bytes`, `count`, `stop`, `seed`, or a field of the sampling."""
    if isinstance(command.source, Prompt):
        _check_prompt(command.source, limits)
    if command.top is not None:
        _check_range("top", command.top, 0, limits.max_alternatives)
    _check_range("max_bytes", command.max_bytes, 1, limits.max_completion_bytes)
    _check_range("count", command.count, 1, limits.max_completions)
    _check_range("seed", command.seed or 0, 0, _MAX_SEED)
    _check_stops("stop", [check_text(stop, f"stop[{index}]") for index, stop in enumerate(command.stop)], limits)
    _check_sampling(command.sampling)


def check_score(command: ScoreText, limits: Limits) -> None:
    """Raises InvalidArgument for `text`, `units`, `top` or `surprises`."""
    if isinstance(command.source, Prompt):
        _check_prompt(command.source, limits, "text", whole=False)
        if isinstance(command.source.text, bytes) and command.units is not Units.UTF8:
            raise InvalidArgument("units", f"{command.units} cannot be counted in bytes; leave it out")
    _check_range("top", command.top, 0, limits.max_alternatives)
    _check_range("surprises", command.surprises, 0, limits.max_surprises)


def check_score_ahead(command: ScoreAhead, limits: Limits) -> None:
    """Raises InvalidArgument for `appended` or `start`."""
    size = len(command.appended)
    if size > limits.max_scored_values:
        raise InvalidArgument("appended", f"{size} bytes, at most {limits.max_scored_values} are scored at a time")
    _check_range("start", command.start, 0, size)


def check_suggest_text(command: SuggestText, limits: Limits) -> None:
    """Raises InvalidArgument for `prompt` or what `check_suggest` raises."""
    _check_prompt(command.prompt, limits)
    check_suggest(command.suggest, limits)


def _check_prompt(prompt: Prompt, limits: Limits, field: str = "prompt", *, whole: bool = True) -> None:
    """Raises InvalidArgument for a prompt that is too large or, if that is wanted, not of whole characters."""
    text = prompt.text
    size = check_text(text, field) if isinstance(text, str) else len(text)
    if size > limits.max_text_bytes:
        raise InvalidArgument(field, f"{size} bytes, at most {limits.max_text_bytes} are taken: send its end")
    if whole and isinstance(text, bytes):
        try:
            text.decode()
        except UnicodeDecodeError as error:
            fault = f"no valid UTF-8 at byte {error.start}: only whole characters are gone on from"
            raise InvalidArgument(field, fault) from None


def _check_stops(field: str, sizes: Sequence[int], limits: Limits) -> None:
    """`sizes` are the bytes of each string."""
    if len(sizes) > limits.max_stops:
        raise InvalidArgument(field, f"{len(sizes)} strings, at most {limits.max_stops} are looked for")
    for index, size in enumerate(sizes):
        if not 1 <= size <= limits.max_stop_bytes:
            raise InvalidArgument(f"{field}[{index}]", f"{size} bytes are outside of 1..{limits.max_stop_bytes}")


def _check_sampling(sampling: SamplingSpec) -> None:
    _check_range("temperature", sampling.temperature, 0, 5)
    _check_range("top_k", sampling.top_k, 0, 256)
    if not 0 < sampling.top_p <= 1:
        raise InvalidArgument("top_p", f"{sampling.top_p} is not above 0 and at most 1; 1 keeps every token")
    _check_range("min_p", sampling.min_p, 0, 1)
    _check_range("repetition_penalty", sampling.repetition_penalty, 1, 10)
    _check_range("presence_penalty", sampling.presence_penalty, -2, 2)
    _check_range("frequency_penalty", sampling.frequency_penalty, -2, 2)
    for token, added in sampling.logit_bias:
        if not 0 <= token < _BYTES:
            raise InvalidArgument(f"logit_bias.{token}", f"is no byte: 0..{_BYTES - 1}, of which 255 ends the text")
        _check_range(f"logit_bias.{token}", added, -100, 100)


def _check_range(field: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:  # also what is no number
        raise InvalidArgument(field, f"{value} is outside of {least}..{most}")


def check_suggest(spec: SuggestSpec | None, limits: Limits) -> None:
    """Raises InvalidArgument for `suggest.count`, `suggest.max_bytes` or `suggest.stop_strings`."""
    if spec is None:
        return
    if not 1 <= spec.count <= limits.max_suggestions:
        raise InvalidArgument("suggest.count", f"{spec.count} is outside of 1..{limits.max_suggestions}")
    if not 1 <= spec.max_bytes <= limits.max_suggestion_bytes:
        raise InvalidArgument("suggest.max_bytes", f"{spec.max_bytes} is outside of 1..{limits.max_suggestion_bytes}")
    if spec.stop_strings:
        _check_stops("suggest.stop_strings", list(map(len, spec.stop_strings)), limits)
        for index, string in enumerate(spec.stop_strings):
            try:
                string.decode()
            except UnicodeDecodeError as error:
                fault = f"no valid UTF-8 at byte {error.start}: no suggestion could hold it"
                raise InvalidArgument(f"suggest.stop_strings[{index}]", fault) from None


def _add_inserted(so_far: int, text: str, field: str, limits: Limits) -> int:
    total = so_far + check_text(text, field)
    if total > limits.max_inserted_bytes:
        raise InvalidArgument(
            field,
            f"brings the inserted text to {total} bytes; a request inserts at most {limits.max_inserted_bytes}: "
            "send it in several requests",
        )
    return total
