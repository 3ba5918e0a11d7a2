"""Prefix keys: one token at a time, one text at once and many rows at once all give the same key."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.engine import prefix_key


@given(st.binary(max_size=40), st.integers(0, 40))
def test_a_key_does_not_depend_on_how_the_text_was_cut(text: bytes, cut: int) -> None:
    root = prefix_key.root_key("tenant")
    assert prefix_key.extend(prefix_key.extend(root, text[:cut]), text[cut:]) == prefix_key.extend(root, text)


@given(st.lists(st.tuples(st.binary(max_size=8), st.integers(0, 255)), min_size=1, max_size=20))
def test_many_rows_at_once_give_the_keys_of_each_alone(rows: list[tuple[bytes, int]]) -> None:
    root = prefix_key.root_key("tenant")
    keys = np.array([prefix_key.extend(root, text) for text, _ in rows], np.uint64)
    tokens = np.array([token for _, token in rows], np.uint8)
    together = prefix_key.extend_rows(keys, tokens)
    assert [tuple(row) for row in together.tolist()] == [
        prefix_key.extend(root, text + bytes((token,))) for text, token in rows
    ]


@given(st.lists(st.binary(max_size=6), unique=True, max_size=50))
def test_different_texts_have_different_keys(texts: list[bytes]) -> None:
    root = prefix_key.root_key("tenant")
    assert len({prefix_key.extend(root, text) for text in texts}) == len(texts)


def test_scopes_share_no_key_and_a_process_has_a_secret_of_its_own() -> None:
    assert prefix_key.root_key("a") != prefix_key.root_key("b")
    assert prefix_key.root_key("a", secret=b"1") != prefix_key.root_key("a", secret=b"2")
