"""What a task may wish for: a node expanded by tokens, and perhaps some of the model's own choice after them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeVar

from service.engine.state_tree import Node

T = TypeVar("T")


class Wish(NamedTuple):
    """Feed `tokens` at `node`. The wish is granted with the node after them.

    With `ahead`, one token is fed and then up to so many more, each the likeliest after the one before, if they come
    cheap; the nodes on that way are made, too. With `end_only` just the last of them need be kept: the wish is then
    granted with that one, and `Task.followed` says what was fed.

    With `read`, `Task.reading` tells the whole distribution after every token. Without tokens, the node stays held
    until the next tick, which is all.
    """

    node: Node
    tokens: bytes
    ahead: int = 0
    end_only: bool = False
    read: bool = False


Walk = Generator[Sequence[Wish], Sequence[Node], T]
"""A search that yields what it wishes for, is sent the nodes, and returns what it found."""
