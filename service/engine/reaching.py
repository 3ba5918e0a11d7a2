"""Prefill as a walk: to the node of a text, over what is held and then a chunk at a time."""

from __future__ import annotations

from service.engine.state_tree import Node, StateTree
from service.engine.wishes import Walk, Wish


def reach(tree: StateTree, node: Node, text: bytes, chunk: int) -> Walk[Node]:
    """The node of `text`, from a node of one of its prefixes."""
    node = tree.descend(node, text[tree.depth(node) :])
    while (at := tree.depth(node)) < len(text):
        (node,) = yield (Wish(node, text[at : at + chunk]),)
    return node
