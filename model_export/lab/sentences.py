"""Sentences of a small grammar (who eats what where), and what is so at each of their words.

In a country some people do something, perhaps another does not, and it is said how many there were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from model_export.lab.words import Words

FOODS: Mapping[str, tuple[str, ...]] = {
    "France": ("croissant", "baguette", "quiche"),
    "Italy": ("pizza", "pasta", "risotto"),
    "Japan": ("sushi", "ramen", "tempura"),
}
DRINKS: Mapping[str, tuple[str, ...]] = {
    "France": ("wine", "cider"),
    "Italy": ("wine", "espresso"),
    "Japan": ("sake", "tea"),
}
WOMEN, MEN = ("Mary", "Anna", "Julia"), ("Frank", "John", "Peter")
PEOPLE = (*WOMEN, *MEN)
WHEN = ("", "today", "at noon", "in the evening", "on the way home with some friends")  # so that words tell few people
NUMBERS = ("one", "two", "three")
_SAMPLE = 2_000  # sentences in which every word occurs


def draw_text(generator: np.random.Generator) -> str:
    """One sentence and how many people were in it."""

    def one(choices: Sequence[str]) -> str:
        return str(generator.choice(list(choices)))

    country = one(list(FOODS))
    count = int(generator.integers(1, len(NUMBERS) + 1))
    people = [str(name) for name in generator.permutation(PEOPLE)[:count]]
    parts = [f"In {country}, {_did(one, country, people[0])}"]
    for name in people[1:]:
        if generator.random() < 0.5:
            parts.append(f"and {_did(one, country, name)}")
        else:
            thing = one((*FOODS[country], *DRINKS[country]))
            parts.append(f"but {name} did not like the {thing}")
    return " ".join(parts) + f". {NUMBERS[count - 1]}"


def _did(one: Callable[[Sequence[str]], str], country: str, name: str) -> str:
    whose = "her" if name in WOMEN else "his"
    verb, things = ("ate", FOODS) if one(("eat", "drink")) == "eat" else ("drank", DRINKS)
    when = one(WHEN)
    return f"{name} {verb} {whose} {one(things[country])}" + (f" {when}" if when else "")


def vocabulary() -> Words:
    """All words of the grammar."""
    generator = np.random.default_rng(0)
    return Words.of([draw_text(generator) for _ in range(_SAMPLE)])


def people_so_far(words: Sequence[str]) -> NDArray[np.float64]:
    """At each word, how many people have been named."""
    return np.cumsum([word in PEOPLE for word in words]).astype(np.float64)


def in_france(words: Sequence[str]) -> NDArray[np.bool_]:
    """At each word, whether France has been named."""
    return np.cumsum([word == "France" for word in words]) > 0


def of_a_woman(words: Sequence[str]) -> NDArray[np.bool_]:
    """At each word, whether the last person was a woman."""
    return _since(words, WOMEN, MEN)


def after_but(words: Sequence[str]) -> NDArray[np.bool_]:
    """At each word, whether it belongs to what stands after a but."""
    return _since(words, ("but",), ("and", "."))


def _since(words: Sequence[str], begin: Sequence[str], end: Sequence[str]) -> NDArray[np.bool_]:
    """Whether what begins it came later than what ends it."""
    last = [n if word in begin else -1 for n, word in enumerate(words)]
    over = [n if word in end else -1 for n, word in enumerate(words)]
    return np.asarray(np.maximum.accumulate(last) > np.maximum.accumulate(over))


def country_known(words: Sequence[str]) -> NDArray[np.bool_]:
    """At each word, whether a country has been named."""
    return np.cumsum([word in FOODS for word in words]) > 0


def pronoun_due(words: Sequence[str]) -> NDArray[np.bool_]:
    """At each word, whether her or his is still to come: at a name and what was done; behind a but nothing was."""
    before = ("", *words)
    named = [word in PEOPLE and last != "but" for word, last in zip(words, before, strict=False)]
    return np.array([name or word in ("ate", "drank") for name, word in zip(named, words, strict=True)])


def joined(words: Sequence[str]) -> NDArray[np.bool_]:
    """At each word, whether it decides what is said of the next person: at and or but, and at the name behind it."""
    return np.array([bool({"and", "but"} & set(words[max(n - 1, 0) : n + 1])) for n in range(len(words))])


def everywhere(words: Sequence[str]) -> NDArray[np.bool_]:
    """Yes, at each word."""
    return np.ones(len(words), np.bool_)


def kinds() -> dict[str, str]:
    """The kind of each word whose kind is plain."""
    groups: dict[str, tuple[str, ...]] = {"woman": WOMEN, "man": MEN}
    groups["food"] = tuple(food for foods in FOODS.values() for food in foods)
    groups["drink"] = tuple(dict.fromkeys(drink for drinks in DRINKS.values() for drink in drinks))
    return {word: kind for kind, members in groups.items() for word in members}


def countries_of(word: str) -> frozenset[str]:
    """Where a food or a drink is had."""
    return frozenset(country for country in FOODS if word in (*FOODS[country], *DRINKS[country]))
