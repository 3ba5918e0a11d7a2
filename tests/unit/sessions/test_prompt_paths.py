"""Paths of prompts that stay open: where they stand is always true, and none is left behind."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.sessions.differences import common_prefix
from service.sessions.fake_suggester import FakeSuggester
from service.sessions.prompt_paths import LEAST_BYTES, Place, PromptPaths

LONG = b"x" * LEAST_BYTES


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_the_common_length_is_that_of_the_longest_common_beginning(same: bytes, one: bytes, other: bytes) -> None:
    common = common_prefix(same + one, same + other)
    assert (same + one)[:common] == (same + other)[:common]
    assert common == min(len(same + one), len(same + other)) or (same + one)[common] != (same + other)[common]


class Paths(RuleBasedStateMachine):
    """Requests begin and end in any order; `stands` is the text that each path was taken to, by those that arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.suggester = FakeSuggester()
        self.paths = PromptPaths(most_paths=3, most_bytes=4 * LEAST_BYTES)
        self.under_way: list[tuple[Place, bytes]] = []
        self.stands: dict[int, bytes] = {}

    @rule(end=st.text("ab", max_size=5), scope=st.sampled_from("tu"), moves=st.booleans(), long=st.booleans())
    def begin(self, end: str, scope: str, moves: bool, long: bool) -> None:
        text = (LONG if long else b"") + scope.encode() + end.encode()
        ask = self.paths.to_move if moves else self.paths.to_read
        place = ask(self.suggester, scope, text)
        assert self.suggester.scopes[place.path] == scope
        assert place.kept <= len(text)
        assert self.stands.get(place.path, b"")[: place.kept] == text[: place.kept]
        others = {other for taken, other in self.under_way if taken.path == place.path and (taken.moves or place.moves)}
        assert others <= {text}, "what moves a path has it alone, or with those who go the same way"
        self.under_way.append((place, text))

    @rule(which=st.integers(0, 50), arrived=st.booleans())
    def end(self, which: int, arrived: bool) -> None:
        if self.under_way:
            place, text = self.under_way.pop(which % len(self.under_way))
            if arrived and place.moves:
                self.stands[place.path] = text
            place.leave(arrived=arrived)
            place.leave(arrived=arrived)

    @invariant()
    def whoever_is_under_way_has_an_open_path_and_few_others_are_open(self) -> None:
        used = {place.path for place, _ in self.under_way}
        assert used <= self.suggester.paths.keys()
        assert len(self.suggester.paths.keys() - used) <= 3

    def teardown(self) -> None:
        for place, _ in self.under_way:
            place.leave(arrived=False)
        self.paths.close()
        assert not self.suggester.paths


TestPaths = Paths.TestCase
TestPaths.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_prompt_that_goes_on_begins_where_it_was() -> None:
    suggester, paths = FakeSuggester(), PromptPaths()
    first = paths.to_move(suggester, "t", LONG)
    first.leave(arrived=True)
    again = paths.to_move(suggester, "t", LONG + b"y")
    assert (again.path, again.kept, again.moves) == (first.path, len(LONG), True)
    again.leave(arrived=True)
    back = paths.to_read(suggester, "t", LONG + b"z")
    assert (back.path, back.kept, back.moves) == (first.path, len(LONG), False)


def test_another_text_does_not_take_a_path_away() -> None:
    suggester, paths = FakeSuggester(), PromptPaths()
    mine = paths.to_move(suggester, "t", LONG)
    mine.leave(arrived=True)
    other = paths.to_move(suggester, "t", b"o" * LEAST_BYTES)
    assert (other.path == mine.path, other.kept) == (False, 0)
    assert paths.to_move(suggester, "u", LONG).path != mine.path
