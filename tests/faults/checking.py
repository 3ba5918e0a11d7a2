"""What must be true of a history, whatever was killed, frozen, cut or torn meanwhile.

Sessions begin empty at revision 1, and every edit appends a text that no other one appends. So a text that is read
tells which edits were made, in which order and how often; `faults_of` compares it with what their clients were told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tests.faults.history import Answered, History, Invoked, Operation, Seen, typed

FIRST_REVISION = 1
_TYPED = re.compile(r"<(\d+)[^<>\d]?>")
_END = ">"


class Suggested(NamedTuple):
    """A suggestion, with every bit of its probability."""

    text: str
    probability: float
    finish: str


def check(histories: Iterable[History]) -> int:
    """How many were checked. Raises AssertionError that names session and fault."""
    checked = 0
    for history in histories:
        found = list(faults_of(history))
        assert not found, (history.session, found)
        assert any(isinstance(event, Seen) for event in history.events), f"{history.session} was never read"
        checked += 1
    return checked


def faults_of(history: History) -> Iterator[str]:
    """Sentences about what is wrong; none if every acknowledged edit is there, in order, once."""
    yield from _faults_of_answers(history)
    seen = [event for event in history.events if isinstance(event, Seen)]
    if not seen:
        return
    yield from _faults_of_reads(history)
    # Of the others it is enough that they are how the longest one begins.
    for one in dict.fromkeys((max(seen, key=lambda one: len(one.text)), seen[-1])):
        made = _edits_in(one.text)
        if made is None:
            yield f"reordered within edits, or typed by nobody: {one.text!r}"
        else:
            yield from _faults_of_text(history, one, made)


def check_same_bits(recovered: Sequence[Suggested], fresh: Sequence[Suggested]) -> None:
    """What a session suggests after a recovery, and one that was made with its text at once. Raises AssertionError."""
    assert fresh, "nothing was suggested"
    assert [_bits(one) for one in recovered] == [_bits(one) for one in fresh], "other bits than a fresh session's"


def _bits(one: Suggested) -> tuple[str, str, str]:
    return one.text, one.probability.hex(), one.finish  # equal floats may differ in their bits, by a sign


def _edits_in(text: str) -> list[int] | None:
    """The numbers of the edits that made the text; None if no edits make it."""
    numbers = [int(found[1]) for found in _TYPED.finditer(text)]
    return numbers if "".join(map(typed, numbers)) == text else None


def _faults_of_answers(history: History) -> Iterator[str]:
    """Of revisions: one for an edit, each one's own, later edits later ones."""
    revisions: dict[int, int] = {}  # by number of the edit
    owner: dict[int, int] = {}
    newest = FIRST_REVISION
    floor: dict[int, int] = {}  # the newest revision that was acknowledged before an edit was first asked for
    for event in history.events:
        if isinstance(event, Invoked):
            floor.setdefault(event.operation.number, newest)
        elif isinstance(event, Answered) and event.revision is not None:
            number, revision = event.operation.number, event.revision
            if revision != event.operation.base + 1:
                yield f"edit {number} of revision {event.operation.base} made revision {revision}"
            if revisions.setdefault(number, revision) != revision:
                yield f"edit {number} made revision {revisions[number]}, then it made {revision}"
            if owner.setdefault(revision, number) != number:
                yield f"revision {revision} was made by edit {owner[revision]} and by edit {number}"
            if revision <= floor.get(number, revision):
                yield f"edit {number} made revision {revision} after {floor[number]} had been acknowledged"
            newest = max(newest, revision)


def _faults_of_reads(history: History) -> Iterator[str]:
    """Of all texts that were read: one grows, and what was known when it was asked for is in it."""
    longest = max((event.text for event in history.events if isinstance(event, Seen)), key=len)
    newest = [FIRST_REVISION]  # that was known before the first event, the second, and so on
    for event in history.events:
        known = event.revision if isinstance(event, Seen | Answered) else None
        newest.append(max(newest[-1], known or FIRST_REVISION))
        if not isinstance(event, Seen):
            continue
        edits = event.text.count(_END)
        if event.revision != FIRST_REVISION + edits:
            yield f"revision {event.revision} with {edits} edits"
        if not longest.startswith(event.text):
            yield f"of two texts that were read none is how the other begins: {event.text!r}, {longest!r}"
        if event.revision < newest[event.known]:
            yield f"revision {newest[event.known]} was known, and then {event.revision} was read"


def _faults_of_text(history: History, seen: Seen, made: Sequence[int]) -> Iterator[str]:
    """Of one text that was read: which edits are in it, and where."""
    for number, times in Counter(made).items():
        if times > 1:
            yield f"edit {number} was made {times} times"
        if number >= len(history.operations):
            yield f"edit {number} was asked for by nobody"
    place = {number: index for index, number in enumerate(made)}
    for event in history.events[: seen.known]:
        if isinstance(event, Answered) and event.revision is not None:
            yield from _faults_of_kept(event.operation, event.revision, place)
    for operation in history.operations:
        if operation.refused and operation.number in place:
            yield f"edit {operation.number} was refused, and was made"


def _faults_of_kept(operation: Operation, revision: int, place: dict[int, int]) -> Iterator[str]:
    found = place.get(operation.number)
    if found is None:
        yield f"edit {operation.number} was acknowledged, and is lost"
    elif found != revision - FIRST_REVISION - 1:
        yield f"edit {operation.number} was acknowledged as revision {revision}, and is at {found + FIRST_REVISION + 1}"
