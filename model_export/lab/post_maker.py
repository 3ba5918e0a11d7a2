"""Short posts from a small grammar: hashtags, links, mentions, quotes, names, shouting; people and hosts are made up.

What a network can learn from them is known: how hashtags are put together, though not all that it may put together;
that a name is written with a capital wherever it stands, and another word at the beginning of a sentence alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

FIRST = (
    *("Ada", "Bruno", "Clara", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kemal", "Lena"),
    *("Marta", "Nils", "Olga", "Pablo", "Rosa", "Sven", "Tara", "Umar", "Vera", "Wim", "Yara", "Zoe"),
)
LAST = (
    *("Abbott", "Berger", "Costa", "Dahl", "Egan", "Fuchs", "Garcia", "Holm", "Iversen", "Jansen", "Keller", "Lopez"),
    *("Moreau", "Novak", "Okafor", "Petrov", "Quist", "Rossi", "Stone", "Tanaka", "Ueda", "Vogel", "Weber", "Young"),
)
PLACES = ("Lisbon", "Oslo", "Nairobi", "Quito", "Kyoto", "Leeds", "Bergen", "Turin", "Ghent", "Porto", "Izmir", "Cork")
THINGS = (
    *("coffee", "garden", "match", "concert", "train", "bridge", "recipe", "museum", "storm", "market", "novel"),
    *("river", "library", "festival", "kitchen", "race", "radio", "harbour", "school", "theatre", "winter", "summer"),
)
TOPICS = (
    *("music", "food", "travel", "news", "sport", "science", "books", "film", "nature", "city", "art", "history"),
    *("weather", "health", "code", "games", "ocean", "space", "energy", "design"),
)
GOOD = (
    "ready",
    "late",
    "open",
    "closed",
    "wonderful",
    "crowded",
    "quiet",
    "better",
    "over",
    "famous",
    "cheap",
    "early",
)
AUXILIARIES = ("will", "can", "should", "must", "might", "could", "would", "may")
VERBS = ("see", "miss", "find", "love", "visit", "open", "leave", "paint", "show", "watch")
SAID = ("said", "says", "wrote", "asked")
SHOUTS = ("BREAKING", "NEW", "LIVE", "WOW", "UPDATE", "NEVER", "FINALLY", "ALWAYS")
STARTS = ("today", "maybe", "perhaps", "tonight", "nobody knew that", "everyone says", "sometimes", "again")
HOSTS = ("dailypost", "cityguide", "openpress", "weekend", "harbourtimes", "readmore", "shortlink", "fieldnotes")
_LINK_LETTERS = list("abcdefghijklmnopqrstuvwxyz0123456789")


def make_posts(count: int, seed: int) -> list[str]:
    """Posts of one line each, ASCII. The same seed gives the same ones."""
    generator = np.random.default_rng(seed)
    return [_Maker(generator).post() for _ in range(count)]


class _Maker:
    """One post."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def _one(self, choices: Sequence[str]) -> str:
        return choices[int(self._generator.integers(len(choices)))]

    def _chance(self, share: float) -> bool:
        return bool(self._generator.random() < share)

    def post(self) -> str:
        kinds: tuple[Callable[[], str], ...] = (self._sentence, self._quote, self._sentence, self._shouted)
        parts = [kinds[int(self._generator.integers(len(kinds)))]()]
        if self._chance(0.35):
            parts.append(self._sentence())
        if self._chance(0.3):
            parts.append(self._mention())
        if self._chance(0.35):
            parts.append(self._link())
        parts += [self._hashtag() for _ in range(int(self._generator.integers(0, 3)))]
        return " ".join(parts)

    def _name(self) -> str:
        if self._chance(0.3):
            return self._one(PLACES)
        return self._one(FIRST) + (f" {self._one(LAST)}" if self._chance(0.6) else "")

    def _subject(self) -> str:
        return self._name() if self._chance(0.5) else f"the {self._one(THINGS)}"

    def _predicate(self) -> str:
        kind = int(self._generator.integers(5))
        if kind == 0:
            return f"{self._one(AUXILIARIES)} {'not ' * self._chance(0.2)}be {self._one(GOOD)}"
        if kind == 1:
            return f"has been {self._one(GOOD)} since {self._one(('monday', 'may', 'spring', 'noon'))}"
        if kind == 2:
            return f"{self._one(AUXILIARIES)} {self._one(VERBS)} the {self._one(THINGS)}"
        if kind == 3:
            return f"was {self._one(GOOD)} in {self._one(PLACES)}"
        return f"and {self._name()} {self._one(VERBS)} the {self._one(THINGS)}"

    def _clause(self) -> str:
        start = f"{self._one(STARTS)} " if self._chance(0.4) else ""
        return f"{start}{self._subject()} {self._predicate()}"

    def _sentence(self) -> str:
        clause = self._clause()
        return clause[0].upper() + clause[1:] + self._one((".", ".", "!", "?"))

    def _quote(self) -> str:
        clause = self._clause()
        who = self._name() if self._chance(0.8) else self._mention()
        return f'"{clause[0].upper()}{clause[1:]}," {self._one(SAID)} {who}.'

    def _shouted(self) -> str:
        if self._chance(0.6):
            return f"{self._one(SHOUTS)}: {self._sentence()}"
        words = self._sentence().split(" ")
        place = int(self._generator.integers(len(words)))
        words[place] = words[place].upper()
        return " ".join(words)

    def _mention(self) -> str:
        handle = self._one(FIRST).lower() + self._one(("", "_", "")) + self._one(LAST).lower()
        return f"@{handle}{int(self._generator.integers(1, 100)) if self._chance(0.3) else ''}"

    def _hashtag(self) -> str:
        words = [self._one((*TOPICS, *THINGS)) for _ in range(int(self._generator.integers(1, 4)))]
        if self._chance(0.5):
            words = [word.capitalize() for word in words]
        return f"#{''.join(words)}{int(self._generator.integers(20, 30)) if self._chance(0.1) else ''}"

    def _link(self) -> str:
        path = "".join(self._one(_LINK_LETTERS) for _ in range(int(self._generator.integers(5, 9))))
        return f"https://{self._one(HOSTS)}.example/{path}"
