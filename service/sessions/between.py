"""Between two texts: where a candidate may end so that what comes after it follows, and which candidate is best.

The model reads from left to right, so it cannot be told what comes after the cursor. But it can say how likely that is
after each of several candidates. A candidate that was sampled from what comes before, weighted by the likelihood of
what comes after, is one of both (sampling with importance resampling, Rubin 1988); the best weight is taken here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

CANDIDATES: Final = 4
"""How many are made where a request does not say."""

_MOST_CANDIDATES: Final = 16

DRAWN_AT: Final = 0.8
"""The temperature of the other candidates where a request wants the likeliest bytes: there is but one of that."""

_WEIGHED_BYTES: Final = 64  # of what comes after; every byte is a step, and the first ones tell the most
_MOST_CUTS: Final = 8  # of one candidate, each of which is weighed


def candidates_for(wanted: int) -> int:
    """How many to make where `wanted` of them are told: twice as many, because some come to the same text."""
    return max(CANDIDATES, min(2 * wanted, _MOST_CANDIDATES))


def weighed(suffix: str) -> str:
    """The beginning of what comes after, by whose likelihood candidates are weighed; whole characters."""
    return suffix.encode()[:_WEIGHED_BYTES].decode(errors="ignore")


def cuts(candidate: str, suffix: str) -> tuple[str, ...]:
    """The candidate and its beginnings that `suffix` may follow, longest first; never the empty text.

    They end where the candidate has run into the suffix's own first line, or before a line break. A candidate that is
    empty is its only cut.
    """
    line = suffix.split("\n", 1)[0].strip() or "\n"
    places = _places(candidate, line)[: _MOST_CUTS // 2]
    places += [place for place in _places(candidate, "\n") if place not in places]
    kept = sorted(places[: _MOST_CUTS - 1], reverse=True)
    return (candidate, *(candidate[:place] for place in kept))


def _places(text: str, what: str) -> list[int]:
    """Where `what` begins in `text`, but at its very beginning."""
    places: list[int] = []
    at = text.find(what, 1)
    while at > 0 and len(places) < _MOST_CUTS:
        places.append(at)
        at = text.find(what, at + 1)
    return places


def best_cut(likelihoods: Sequence[float]) -> int:
    """The index of the likeliest of a candidate's cuts; of equals the first, which is the longest."""
    return max(range(len(likelihoods)), key=likelihoods.__getitem__)


def best_first(likelihoods: Sequence[float], texts: Sequence[str]) -> list[int]:
    """The candidates in the order of their likelihoods, of equals in their own; those that say the same again last."""
    order = sorted(range(len(likelihoods)), key=lambda index: -likelihoods[index])
    best = {texts[index]: index for index in reversed(order)}
    return sorted(order, key=lambda index: best[texts[index]] != index)
