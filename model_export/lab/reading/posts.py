"""Posts: where hashtags, links, mentions, quotes and their attributions are, and which capitals mean a name.

What a text uses is enough for all of it: a name is what it writes with a capital within sentences and never small.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model_export.lab.reading.lexed import Flags, Share

Kind = Literal["hashtag", "link", "mention"]

LINK = re.compile(r"https?://\S*")
_WELL_FORMED = re.compile(r"https?://[\w-]+(?:\.[\w-]+)+(?:/[\w./?=&%-]*)?")
HASHTAG = re.compile(r"(?<![\w/&])#\w+")
MENTION = re.compile(r"(?<![\w/.])@\w+")
_PATTERNS: dict[Kind, re.Pattern[str]] = {"hashtag": HASHTAG, "link": LINK, "mention": MENTION}
_AUXILIARY_AND_BE = re.compile(
    r"\b(?:will|would|can|could|shall|should|may|might|must|to|has|have|had|is|are|was|were)"
    r"(?:\s+not)?\s+(?:be|been|being)\b"
)
_ATTRIBUTION = re.compile(
    r"[\"\u201d]\s+(?:\w+\s+)?(?:said|says|wrote|writes|asked|asks|told|tweeted|added)\b[^.!?#\"]*"
)
_CAPITALS = re.compile(r"\b[A-Z]{2,}\b")
_CAPITALIZED = re.compile(r"(?<![#@\w/.])[A-Z][a-z]+\b")
_WORD = re.compile(r"(?<![#@\w/.])[A-Za-z]+\b")
_ALONE = re.compile(r"(?<![#@\w/.:-])[A-Za-z]{2,}\b")
_CAPITALIZED_PART = re.compile(r"[A-Z][a-z]+")
_BEFORE_A_START = re.compile(r"(?:^|[.!?:\"\u201c\n])\s*$")


def spans(text: str, pattern: re.Pattern[str]) -> Flags:
    """Whether each character is inside of something that the pattern finds."""
    found = np.zeros(len(text), np.bool_)
    for one in pattern.finditer(text):
        found[one.start() : one.end()] = True
    return found


def inside(kind: Kind) -> Callable[[str], Flags]:
    """Whether each character is part of a hashtag, a link or a mention."""
    return lambda text: spans(text, _PATTERNS[kind])


def position_in(kind: Kind) -> Callable[[str], NDArray[np.int64]]:
    """How far into the hashtag, link or mention each character is, 0 at its first and outside."""

    def label(text: str) -> NDArray[np.int64]:
        found = np.zeros(len(text), np.int64)
        for one in _PATTERNS[kind].finditer(text):
            found[one.start() : one.end()] = np.arange(one.end() - one.start())
        return found

    return label


def auxiliary_and_be(text: str) -> Flags:
    """Whether each character is part of an auxiliary and a form of be: `will be`, `has not been`."""
    return spans(text, _AUXILIARY_AND_BE)


def attribution(text: str) -> Flags:
    """Whether each character says whose a quote was: `" said Ada Holm`."""
    return spans(text, _ATTRIBUTION)


def capitals(text: str) -> Flags:
    """Whether each character is in a word of capitals."""
    return spans(text, _CAPITALS)


def capitalized(text: str) -> Flags:
    """Whether each character is behind the capital of a capitalized word: there one may know what the capital means."""
    found = np.zeros(len(text), np.bool_)
    for one in _CAPITALIZED.finditer(text):
        found[one.start() + 1 : one.end()] = True
    return found


def proper_nouns(texts: Iterable[str]) -> frozenset[str]:
    """Words that stand capitalized within a sentence, and never begin with a small letter."""
    within, small = set(), set()
    for text in texts:
        for one in _WORD.finditer(text):
            word = one.group()
            if word[0].islower():
                small.add(word)
            elif _CAPITALIZED.fullmatch(word) and not _BEFORE_A_START.search(text[: one.start()]):
                within.add(word)
    return frozenset(word for word in within if word.lower() not in small)


def named(nouns: frozenset[str]) -> Callable[[str], Flags]:
    """Whether each character is in one of these nouns, whatever place it has in a sentence."""

    def label(text: str) -> Flags:
        found = np.zeros(len(text), np.bool_)
        for one in _CAPITALIZED.finditer(text):
            found[one.start() : one.end()] = one.group() in nouns
        return found

    return label


def hashtags(texts: Iterable[str]) -> frozenset[str]:
    """The hashtags of some texts, each once, in the letters that they have."""
    return frozenset(tag for text in texts for tag in HASHTAG.findall(text))


def unseen(written: Iterable[str], read: Iterable[str]) -> Share:
    """Of the hashtags that were written, each counted once, those that nowhere stood in what was read."""
    made = hashtags(written)
    return Share(len(made - hashtags(read)), len(made))


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """Words of some texts, in small letters: those that stand alone, and those with a capital in hashtags."""
    found = set()
    for text in texts:
        found.update(_ALONE.findall(text))
        found.update(part for tag in HASHTAG.findall(text) for part in _CAPITALIZED_PART.findall(tag))
    return frozenset(word.lower() for word in found)


def made_of(tag: str, words: frozenset[str]) -> bool:
    """Whether a hashtag is nothing but some of these words in a row, and perhaps numbers; its capitals do not count."""
    letters = re.sub(r"[\d_]+", " ", tag.removeprefix("#").lower())
    return all(_cut_up(run, words) for run in letters.split())


def _cut_up(run: str, words: frozenset[str]) -> bool:
    reached = [True] + [False] * len(run)  # whether the first letters, as many as this, are words in a row
    for end in range(1, len(run) + 1):
        reached[end] = any(reached[start] and run[start:end] in words for start in range(end))
    return reached[-1]


def of_new_words(written: Iterable[str], read: Iterable[str]) -> Share:
    """Of the hashtags that were written, each counted once, those with something in them that is no word that was read.

    That is not said too often: a new word that falls into small ones, such as `art` and `in`, is not seen.
    """
    made, words = hashtags(written), words_of(read)
    return Share(sum(not made_of(tag, words) for tag in made), len(made))


def links(texts: Iterable[str]) -> Share:
    """Of the links, those that have a host with a dot, and nothing in them that no link has."""
    found = [link.rstrip('.,!?")') for text in texts for link in LINK.findall(text)]
    return Share(sum(_WELL_FORMED.fullmatch(link) is not None for link in found), len(found))


def quotes(texts: Iterable[str]) -> Share:
    """Of the texts with quotation marks, those in which each that opens is closed."""
    quoted = [text for text in texts if '"' in text]
    return Share(sum(text.count('"') % 2 == 0 for text in quoted), len(quoted))
