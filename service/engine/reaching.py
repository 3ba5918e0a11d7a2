"""Prefill as a walk: to the node of a text, over what is held and then a chunk at a time."""

from __future__ import annotations

from typing import Final

from service.engine.state_tree import Node, StateTree
from service.engine.wishes import Walk, Wish

_LOOKED_AT_ONCE: Final = 2048
"""Bytes of text. A byte takes about a microsecond where its node was never made, so a tick lasts two milliseconds."""


def reach(tree: StateTree, node: Node, text: bytes, chunk: int) -> Walk[Node]:
    """The node of `text`, from a node of one of its prefixes."""
    node = yield from descend(tree, node, text)
    while (at := tree.depth(node)) < len(text):
        (node,) = yield (Wish(node, text[at : at + chunk]),)
    return node


def descend(tree: StateTree, node: Node, text: bytes) -> Walk[Node]:
    """The deepest held node of a prefix of `text`, from another one; a long text is looked at in several ticks."""
    while True:
        at = tree.depth(node)
        node = tree.descend(node, text[at : at + _LOOKED_AT_ONCE])
        if len(text) - at <= _LOOKED_AT_ONCE or tree.depth(node) == at:
            return node
        (node,) = yield (Wish(node, b""),)
