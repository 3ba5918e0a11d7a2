"""The quick way to one suggestion is the beam search of width one, to the last bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.fake_model import FakeModel
from service.engine.requests import Continuation, Stop, SuggestSpec
from service.engine.state_tree import Node, StateTree, TreeConfig
from service.engine.stopping import Cut
from service.engine.suggesting import Expansion, beam, suggest


class OneAtATime:
    """A tree whose nodes are made one by one, as a search wants them."""

    def __init__(self) -> None:
        self.model = FakeModel()
        self.tree = StateTree(self.model.shapes, self.model.top_k, TreeConfig(1 << 20))
        states = [np.full((1, s.width), s.initial, s.dtype) for s in self.model.shapes]
        self.root = self.tree.root("scope", self.model.step(np.array([[self.model.start_token]]), states))

    def child(self, node: Node, token: int) -> Node:
        held = self.tree.child(node, token)
        if held is not None:
            return held
        parents = np.array([node], np.int32)
        result = self.model.step(np.array([[token]]), self.tree.gather(parents))
        (made,) = self.tree.add_near(parents, np.array([token], np.uint8), result, np.arange(1)).tolist()
        return Node(made)

    def after(self, text: bytes) -> Node:
        node = self.root
        for token in text:
            node = self.child(node, token)
        return node

    def result(self, search: Expansion) -> tuple[Continuation, ...]:
        try:
            wishes = next(search)
            while True:
                wishes = search.send([self.child(wish.node, wish.tokens[0]) for wish in wishes])
        except StopIteration as done:
            found: tuple[Continuation, ...] = done.value
            return found


stop_strings = st.lists(st.text("ab \n", min_size=1, max_size=3).map(str.encode), max_size=2).map(tuple)
specs = st.builds(SuggestSpec, st.just(1), st.integers(1, 12), st.sampled_from(list(Stop)), stop_strings)


@given(text=st.binary(max_size=6), spec=specs)
@settings(max_examples=300, deadline=None)
def test_greedy_is_the_beam_of_width_one(text: bytes, spec: SuggestSpec) -> None:
    searched = OneAtATime()
    start, separator = searched.after(text), searched.model.separator_token
    greedy = searched.result(suggest(searched.tree, start, spec, separator, text))
    assert greedy == searched.result(beam(searched.tree, start, spec, separator, 1, Cut.of(spec, text)))
    again = searched.result(suggest(searched.tree, start, spec, separator, text))  # over what is held now
    assert greedy == again
