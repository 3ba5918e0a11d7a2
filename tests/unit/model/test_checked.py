"""Checked values: what fits is taken as it is, what does not is named by its path."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.checked import Between, Checked, Matching, NotAccepted, NotEmpty


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf(Checked):
    width: Annotated[int, Between(1, 9)]
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree(Checked):
    name: Annotated[str, Matching("[a-z]+", most=4)]
    leaves: Annotated[tuple[Leaf, ...], NotEmpty()]
    kind: Literal["oak", "fir"] = "oak"
    facts: dict[str, int | float | bool | str] = field(default_factory=dict)
    inside: Tree | None = None


leaves = st.builds(Leaf, width=st.integers(1, 9), scale=st.floats(allow_nan=False, allow_infinity=False))
facts = st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.booleans(), st.text(max_size=3)), max_size=3)
trees = st.builds(
    Tree,
    name=st.text("abc", min_size=1, max_size=4),
    leaves=st.lists(leaves, min_size=1, max_size=3).map(tuple),
    kind=st.sampled_from(["oak", "fir"]),
    facts=facts,
)


@given(inner=trees, outer=trees)
def test_what_was_written_as_json_is_read_back_equal(inner: Tree, outer: Tree) -> None:
    tree = outer.model_copy(update={"inside": inner})
    assert Tree.model_validate(json.loads(json.dumps(tree.as_document()))) == tree


LEAF = {"width": 3}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "the document: .* is not an object"),
        ({"leaves": [LEAF]}, "name: is missing"),
        ({"name": "a", "leaves": [LEAF], "color": 1}, "color: there is no such field"),
        ({"name": "abcde", "leaves": [LEAF]}, "name: .* is not at most 4"),
        ({"name": 3, "leaves": [LEAF]}, "name: 3 is not of the type str"),
        ({"name": "a", "leaves": []}, "leaves: is empty"),
        ({"name": "a", "leaves": LEAF}, "leaves: .* is not a list"),
        ({"name": "a", "leaves": [LEAF, {"width": 10}]}, r"leaves\.1\.width: 10 is not from 1 to 9"),
        ({"name": "a", "leaves": [{"width": True}]}, r"leaves\.0\.width: True is not of the type int"),
        ({"name": "a", "leaves": [{"width": 1.5}]}, r"leaves\.0\.width: 1\.5 is not of the type int"),
        ({"name": "a", "leaves": [{"width": 1, "scale": "1"}]}, r"leaves\.0\.scale: '1' is not of the type float"),
        ({"name": "a", "leaves": [LEAF], "kind": "elm"}, "kind: 'elm' is not one of 'oak', 'fir'"),
        ({"name": "a", "leaves": [LEAF], "facts": {"x": None}}, r"facts\.x: None is not one of the types"),
        ({"name": "a", "leaves": [LEAF], "inside": {"name": "b"}}, r"inside\.leaves: is missing"),
    ],
)
def test_a_fault_is_named_by_its_path(document: object, said: str) -> None:
    with pytest.raises(NotAccepted, match=said):
        Tree.model_validate(document)


def test_a_value_made_in_code_is_checked_like_one_that_was_read() -> None:
    with pytest.raises(NotAccepted, match="width"):
        Leaf(width=0)


def test_a_whole_number_becomes_a_float_where_one_is_wanted() -> None:
    assert isinstance(Leaf(width=1, scale=2).scale, float)
