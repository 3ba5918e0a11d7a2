"""A session as a document: all that another server needs to go on with it, and the checks of what somebody sends.

JSON in UTF-8. Version 1: `text`, `cursor` (in code points) and `revision`; the `history` that undo reaches, oldest
first, each with the edit that made it; `known_edits` that are older than that, and `known_in_history`, how many of the
newest of the history are still known; `creation`, the digest of what it was created from; and a `digest` of all that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, Final

from service.engine.requests import ModelIdentity
from service.errors import InvalidArgument
from service.sessions.commands import SessionId
from service.sessions.history import memory_of
from service.sessions.limits import Limits
from service.sessions.records import Checkpoint, EditRecord, KnownEdit, Splice, known_apart, known_in_history, utf8_size
from service.sessions.text import Text
from service.sessions.units import check_text

VERSION: Final = 1
_MOST: Final = 2**63 - 1  # of a revision, as stores keep it
_DIGEST_BYTES: Final = 16
_MAX_EDIT_ID: Final = 128


@dataclass(frozen=True, slots=True)
class Document:
    """What was read. The checkpoint's incarnation is 0: a session that is begun has its own."""

    id: SessionId
    checkpoint: Checkpoint


def write_document(id_: SessionId, model: ModelIdentity, checkpoint: Checkpoint) -> bytes:
    """The document of a session, the same bytes for the same session."""
    content = {
        "carousel_session": VERSION,
        "id": id_,
        "model": {"name": model.name, "digest": model.digest},
        "revision": checkpoint.revision,
        "cursor": checkpoint.cursor,
        "store_text": checkpoint.store_text,
        "creation": checkpoint.creation.hex(),
        "text": checkpoint.text,
        "known_edits": [_known_as_json(known) for known in known_apart(checkpoint)],
        "known_in_history": known_in_history(checkpoint),
        "history": [
            {"edit": _known_as_json(record.known), "splices": [list(splice) for splice in record.splices]}
            for record in checkpoint.history
        ],
    }
    return _dump(content | {"digest": _digest(content)})


def _known_as_json(known: KnownEdit) -> list[Any]:
    return [known.edit_id, known.digest.hex(), known.revision, known.length, known.cursor]


def _dump(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: dict[str, Any]) -> str:
    return sha256(_dump(content)).hexdigest()


def read_document(data: bytes, limits: Limits) -> tuple[Document, str]:
    """What a document says, and the name of its model. Raises InvalidArgument that names the place in the document.

    Everything is checked: the types, the sizes, the digest, and that the history leads to the text.
    """
    if len(data) > limits.max_document_bytes:
        raise InvalidArgument("document", f"{len(data)} bytes, at most {limits.max_document_bytes} are taken")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("document", f"is not JSON in UTF-8: {error}") from None
    root = _Object("document", content)
    version = root.integer("carousel_session", 0, _MOST)
    if version != VERSION:
        raise InvalidArgument(
            "document.carousel_session", f"version {version} is not known here, only {VERSION}: use a newer server"
        )
    model = _Object("document.model", root.take("model"))
    name, _ = model.text("name"), model.text("digest")
    model.end()
    history = [_record(path, one) for path, one in root.items("history")]
    apart = [_known(path, one) for path, one in root.items("known_edits")]
    shared = root.integer("known_in_history", 0, len(history))
    known = [*apart, *(record.known for record in history[len(history) - shared :])]
    checkpoint = Checkpoint(
        incarnation=0,
        revision=root.integer("revision", 1, _MOST),
        model=name,
        creation=root.digest("creation"),
        text=root.text("text"),
        cursor=root.integer("cursor", 0, _MOST),
        known_edits=tuple(known),
        history=tuple(history),
        store_text=root.boolean("store_text"),
    )
    document = Document(SessionId(root.text("id")), checkpoint)
    digest = root.text("digest")
    root.end()
    _check(checkpoint, limits)
    if digest != _digest({name: value for name, value in content.items() if name != "digest"}):
        raise InvalidArgument("document.digest", "is another: the document was changed or damaged; export it again")
    return Document(document.id, _bounded(checkpoint, limits)), name


def _known(path: str, value: object) -> KnownEdit:
    fields = _list(path, value)
    if len(fields) != 5:
        raise InvalidArgument(path, f"has {len(fields)} parts; an edit id, digest, revision, length and cursor make 5")
    edit_id = _text(f"{path}[0]", fields[0])
    if not 1 <= len(edit_id) <= _MAX_EDIT_ID:
        raise InvalidArgument(f"{path}[0]", f"must be 1 to {_MAX_EDIT_ID} characters")
    numbers = [_integer(f"{path}[{index}]", fields[index], 0, _MOST) for index in (2, 3, 4)]
    return KnownEdit(edit_id, _bytes(f"{path}[1]", fields[1]), *numbers)


def _record(path: str, value: object) -> EditRecord:
    record = _Object(path, value)
    known = _known(f"{path}.edit", record.take("edit"))
    splices = tuple(_splice(where, one) for where, one in record.items("splices"))
    record.end()
    if not splices:
        raise InvalidArgument(f"{path}.splices", "is empty; an edit changes something")
    return EditRecord(known, splices)


def _splice(path: str, value: object) -> Splice:
    fields = _list(path, value)
    if len(fields) != 5:
        raise InvalidArgument(path, f"has {len(fields)} parts; a start, two texts and two cursors make 5")
    start, before, after = (_integer(f"{path}[{index}]", fields[index], 0, _MOST) for index in (0, 3, 4))
    return Splice(start, _text(f"{path}[1]", fields[1]), _text(f"{path}[2]", fields[2]), before, after)


def _check(checkpoint: Checkpoint, limits: Limits) -> None:
    size = utf8_size(checkpoint.text)
    if size > limits.max_text_bytes:
        raise InvalidArgument("document.text", f"{size} bytes; a session holds at most {limits.max_text_bytes}")
    if checkpoint.cursor > len(checkpoint.text):
        raise InvalidArgument("document.cursor", f"{checkpoint.cursor} is outside of 0..{len(checkpoint.text)}")
    newest = [record.revision for record in checkpoint.history]
    if (
        newest != list(range(checkpoint.revision - len(newest) + 1, checkpoint.revision + 1))
        or min(newest, default=2) < 2
    ):
        raise InvalidArgument("document.history", f"its revisions do not lead to {checkpoint.revision} one by one")
    known = [edit.revision for edit in checkpoint.known_edits]
    rising = all(one < other for one, other in pairwise(known))
    if not rising or not all(1 < revision <= checkpoint.revision for revision in known):
        raise InvalidArgument(
            "document.known_edits", f"their revisions do not rise from above 1 to {checkpoint.revision}"
        )
    if len({edit.edit_id for edit in checkpoint.known_edits}) < len(known):
        raise InvalidArgument("document.known_edits", "an edit id stands there twice")


def _bounded(checkpoint: Checkpoint, limits: Limits) -> Checkpoint:
    """With as much of the past as a session here keeps, and that is checked: going back, it leads from text to text."""
    history: list[EditRecord] = []
    taken = 0
    text = Text.of(checkpoint.text, checkpoint.cursor)
    for record in reversed(checkpoint.history):
        taken += memory_of(record)
        if history and (len(history) >= limits.history_revisions or taken > limits.history_bytes):
            break
        if len(record.splices) > limits.max_edits:
            raise InvalidArgument(
                "document.history", f"revision {record.revision} has more than {limits.max_edits} edits"
            )
        for splice in reversed(record.splices):
            text = _before(text, splice, f"document.history, revision {record.revision}", limits)
        history.append(record)
    return Checkpoint(
        checkpoint.incarnation,
        checkpoint.revision,
        checkpoint.model,
        checkpoint.creation,
        checkpoint.text,
        checkpoint.cursor,
        checkpoint.known_edits[-limits.known_edits :],
        tuple(reversed(history)),
        checkpoint.store_text,
    )


def _before(text: Text, splice: Splice, path: str, limits: Limits) -> Text:
    """The text before `splice`, which made `text`. Raises InvalidArgument if it cannot have."""
    end = splice.start + len(splice.inserted)
    if text.cursor != splice.cursor_after or text.slice(splice.start, end) != splice.inserted:
        raise InvalidArgument(path, "does not lead to the text")
    length = text.extent.codepoints - len(splice.inserted) + len(splice.removed)
    if end > text.extent.codepoints or splice.cursor_before > length:
        raise InvalidArgument(path, "lies outside of the text")
    before = text.after(Splice(splice.start, splice.inserted, splice.removed, text.cursor, splice.cursor_before))
    if before.extent.utf8 > limits.max_text_bytes:
        raise InvalidArgument(path, f"comes from a text above {limits.max_text_bytes} bytes")
    return before


class _Object:
    """A JSON object whose members are taken one by one. Every method raises InvalidArgument that names the member."""

    def __init__(self, path: str, value: object) -> None:
        if not isinstance(value, dict):
            raise InvalidArgument(path, "must be a JSON object; export writes it")
        self._path, self._left = path, dict(value)

    def take(self, name: str) -> Any:
        if name not in self._left:
            raise InvalidArgument(f"{self._path}.{name}", "is missing; export writes it")
        return self._left.pop(name)

    def text(self, name: str) -> str:
        return _text(f"{self._path}.{name}", self.take(name))

    def integer(self, name: str, least: int, most: int) -> int:
        return _integer(f"{self._path}.{name}", self.take(name), least, most)

    def boolean(self, name: str) -> bool:
        value = self.take(name)
        if not isinstance(value, bool):
            raise InvalidArgument(f"{self._path}.{name}", "must be true or false")
        return value

    def digest(self, name: str) -> bytes:
        return _bytes(f"{self._path}.{name}", self.take(name))

    def items(self, name: str) -> Iterable[tuple[str, object]]:
        path = f"{self._path}.{name}"
        return [(f"{path}[{index}]", one) for index, one in enumerate(_list(path, self.take(name)))]

    def end(self) -> None:
        """Nothing else may stand in it."""
        for name in self._left:
            raise InvalidArgument(f"{self._path}.{name}", "is not known here: use a newer server")


def _list(path: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidArgument(path, "must be a JSON array")
    return value


def _text(path: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(path, "must be a string")
    check_text(value, path)
    return value


def _integer(path: str, value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidArgument(path, f"must be a whole number of {least}..{most}")
    return value


def _bytes(path: str, value: object) -> bytes:
    try:
        data = bytes.fromhex(_text(path, value))
    except ValueError:
        data = b""
    if len(data) != _DIGEST_BYTES:
        raise InvalidArgument(path, f"must be {2 * _DIGEST_BYTES} hexadecimal digits")
    return data
