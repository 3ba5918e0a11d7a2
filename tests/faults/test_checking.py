"""The checker finds what it is there to find: every broken history is told from a sound one."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.checking import Suggested, check, check_same_bits, faults_of
from tests.faults.history import History, Operation, counts, typed

SUGGESTED = [Suggested("a", 0.5, "stop"), Suggested("b", 0.0, "length")]


def _typed_and_acknowledged(edits: int) -> History:
    history = History("s")
    for number in range(edits):
        _ask(history, history.begin(1 + number), "ok")
    return history


def _ask(history: History, operation: Operation, *outcomes: str) -> None:
    for outcome in outcomes:
        history.invoked(operation)
        if outcome == "ok":
            history.answered(operation, "ok", operation.base + 1)
        elif outcome == "failed":
            history.answered(operation, "failed")
        elif outcome == "unknown":
            history.answered(operation, "unknown")


def _text(*numbers: int) -> str:
    return "".join(map(typed, numbers))


def _lost(history: History) -> None:
    history.saw(3, _text(0, 1))


def _lost_in_the_middle(history: History) -> None:
    history.saw(3, _text(0, 2))


def _doubled(history: History) -> None:
    history.saw(5, _text(0, 1, 1, 2))


def _reordered(history: History) -> None:
    history.saw(4, _text(0, 2, 1))


def _reordered_within(history: History) -> None:
    history.saw(4, _text(0) + typed(1)[:2] + _text(2) + typed(1)[2:])


def _of_a_stranger(history: History) -> None:
    history.saw(5, _text(0, 1, 2, 7))


def _of_another_revision(history: History) -> None:
    history.saw(9, _text(0, 1, 2))


def _made_though_refused(history: History) -> None:
    _ask(history, history.begin(4), "failed")
    history.saw(5, _text(0, 1, 2, 3))


def _an_unknown_one_twice(history: History) -> None:
    _ask(history, history.begin(4), "unknown")
    history.saw(6, _text(0, 1, 2, 3, 3))


def _read_backwards(history: History) -> None:
    _ask(history, history.begin(4), "unknown")
    history.saw(5, _text(0, 1, 2, 3))
    history.saw(4, _text(0, 1, 2))


def _read_in_two_ways(history: History) -> None:
    for _ in range(2):
        _ask(history, history.begin(4), "unknown")
    history.saw(5, _text(0, 1, 2, 3))
    history.saw(5, _text(0, 1, 2, 4))


def _acknowledged_as_two_revisions(history: History) -> None:
    operation = history.begin(4)
    _ask(history, operation, "ok")
    history.answered(operation, "ok", 6)
    history.saw(5, _text(0, 1, 2, 3))


def _one_revision_for_two(history: History) -> None:
    _ask(history, history.begin(4), "ok")
    _ask(history, history.begin(4), "ok")
    history.saw(5, _text(0, 1, 2, 3))


def _acknowledged_into_the_past(history: History) -> None:
    operation = history.begin(2)
    _ask(history, operation, "ok")
    history.saw(4, _text(0, 1, 2))


BROKEN: dict[Callable[[History], None], str] = {
    _lost: "edit 2 was acknowledged, and is lost",
    _lost_in_the_middle: "edit 1 was acknowledged, and is lost",
    _doubled: "edit 1 was made 2 times",
    _reordered: "edit 1 was acknowledged as revision 3, and is at 4",
    _reordered_within: "reordered within edits",
    _of_a_stranger: "edit 7 was asked for by nobody",
    _of_another_revision: "revision 9 with 3 edits",
    _made_though_refused: "edit 3 was refused, and was made",
    _an_unknown_one_twice: "edit 3 was made 2 times",
    _read_backwards: "revision 5 was known, and then 4 was read",
    _read_in_two_ways: "of two texts that were read none is how the other begins",
    _acknowledged_as_two_revisions: "edit 3 made revision 5, then it made 6",
    _one_revision_for_two: "revision 5 was made by edit 3 and by edit 4",
    _acknowledged_into_the_past: "edit 3 made revision 3 after 4 had been acknowledged",
}


@pytest.mark.parametrize("break_it", BROKEN, ids=lambda break_it: break_it.__name__[1:])
def test_a_broken_history_is_found(break_it: Callable[[History], None]) -> None:
    history = _typed_and_acknowledged(3)
    break_it(history)
    assert any(BROKEN[break_it] in fault for fault in faults_of(history)), list(faults_of(history))
    with pytest.raises(AssertionError):
        check([history])


def test_an_edit_whose_answer_is_unknown_may_be_there_or_not() -> None:
    for there in (False, True):
        history = _typed_and_acknowledged(2)
        _ask(history, history.begin(3), "unknown")
        history.saw(4 if there else 3, _text(*range(3 if there else 2)))
        assert list(faults_of(history)) == []


def test_one_that_was_asked_for_and_never_answered_may_be_there_or_not() -> None:
    for there in (False, True):
        history = _typed_and_acknowledged(2)
        history.invoked(history.begin(3))
        history.saw(4 if there else 3, _text(*range(3 if there else 2)))
        assert list(faults_of(history)) == []


def test_what_was_acknowledged_after_a_reader_had_asked_need_not_be_in_what_is_read() -> None:
    history = _typed_and_acknowledged(2)
    known = len(history.events)
    _ask(history, history.begin(3), "ok")
    history.saw(3, _text(0, 1), known)
    assert list(faults_of(history)) == []
    history.saw(3, _text(0, 1))
    assert any("lost" in fault for fault in faults_of(history))


def test_of_two_who_read_at_the_same_time_the_later_answer_may_be_the_older_one() -> None:
    history = _typed_and_acknowledged(2)
    known = len(history.events)
    _ask(history, history.begin(3), "ok")
    history.saw(4, _text(0, 1, 2))
    history.saw(3, _text(0, 1), known)
    assert list(faults_of(history)) == []


def test_a_history_of_which_nothing_was_read_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="never read"):
        check([_typed_and_acknowledged(2)])


def test_suggestions_of_other_bits_are_found() -> None:
    check_same_bits(SUGGESTED, list(SUGGESTED))
    for other in (
        [SUGGESTED[0]._replace(probability=0.5 + 2**-53), SUGGESTED[1]],
        [SUGGESTED[0], SUGGESTED[1]._replace(probability=-0.0)],
        [SUGGESTED[0], SUGGESTED[1]._replace(text="c")],
        SUGGESTED[:1],
        SUGGESTED[::-1],
    ):
        with pytest.raises(AssertionError, match="other bits"):
            check_same_bits(other, SUGGESTED)
    with pytest.raises(AssertionError, match="nothing was suggested"):
        check_same_bits([], [])


def _served(seed: int, edits: int) -> tuple[History, list[int]]:
    """A history with a naive server that loses answers, is asked again, and refuses what comes too late."""
    chosen, history, made = random.Random(seed), History("s"), list[int]()
    for _ in range(edits):
        operation = history.begin(1 + len(made) - (chosen.random() < 0.1 and len(made) > 0))
        while not operation.acknowledged and not operation.refused:
            history.invoked(operation)
            if operation.number in made:
                answer = "ok"
            elif operation.base != 1 + len(made):
                answer = "failed"
            elif chosen.random() < 0.3:
                answer = "lost before"
            else:
                made.append(operation.number)
                answer = "ok"
            if answer == "lost before" or chosen.random() < 0.3:
                history.answered(operation, "unknown")
                if chosen.random() < 0.3:
                    break  # nobody asks again
            elif answer == "ok":
                history.answered(operation, "ok", operation.base + 1)
            else:
                history.answered(operation, "failed")
                break
        if chosen.random() < 0.2:
            history.saw(1 + len(made), _text(*made))
    history.saw(1 + len(made), _text(*made))
    return history, made


@given(seed=st.integers(0, 2**32), edits=st.integers(0, 20))
def test_a_server_that_keeps_its_promise_is_never_accused(seed: int, edits: int) -> None:
    history, _ = _served(seed, edits)
    assert check([history]) == 1


@given(seed=st.integers(0, 2**32), edits=st.integers(1, 20), at=st.integers(0, 2**16))
def test_one_acknowledged_edit_less_is_found_wherever_it_is(seed: int, edits: int, at: int) -> None:
    history, made = _served(seed, edits)
    kept = [number for number in made if history.operations[number].acknowledged]
    if not kept:
        return
    lost = kept[at % len(kept)]
    rest = [number for number in made if number != lost]
    history.events.pop()
    history.saw(1 + len(rest), _text(*rest))
    assert any(f"edit {lost} was acknowledged, and is lost" in fault for fault in faults_of(history))


def test_requests_and_their_outcomes_are_counted() -> None:
    history = _typed_and_acknowledged(2)
    _ask(history, history.begin(3), "unknown", "unknown", "ok")
    _ask(history, history.begin(4), "failed")
    history.invoked(history.begin(4))
    assert counts([history, history]) == {"invoked": 14, "ok": 6, "failed": 2, "unknown": 4}
