"""Posts: what is found in them, and the grammar that makes them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_export.lab.post_maker import make_posts
from model_export.lab.reading import posts

_POST = 'Maybe Ada Holm will not be late, NOW. "We met," said @ada_holm7. See https://x.example/a1 #BigCity #art'


def _marked(flags: np.ndarray, text: str = _POST) -> list[str]:
    """The runs of characters that are flagged."""
    shown = "".join(letter if flag else "\0" for letter, flag in zip(text, flags.tolist(), strict=True))
    return [run for run in shown.split("\0") if run]


def test_hashtags_links_and_mentions_are_found_with_the_place_in_each() -> None:
    assert _marked(posts.inside("hashtag")(_POST)) == ["#BigCity", "#art"]
    assert _marked(posts.inside("link")(_POST)) == ["https://x.example/a1"]
    assert _marked(posts.inside("mention")(_POST)) == ["@ada_holm7"]
    position = posts.position_in("hashtag")(_POST)
    assert position[_POST.index("#Big") :].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 1, 2, 3]
    assert not position[: _POST.index("#Big")].any()


@pytest.mark.parametrize("text", ["a@b.example", "https://x.example/#top", "no tags here", "x/@y", "C# and # alone"])
def test_what_only_looks_like_a_tag_or_a_mention_is_none(text: str) -> None:
    assert not posts.inside("hashtag")(text).any()
    assert not posts.inside("mention")(text).any()


def test_auxiliaries_attributions_and_capitals_are_found() -> None:
    assert _marked(posts.auxiliary_and_be(_POST)) == ["will not be"]
    other = "It has been said. He can see. She is being told."
    assert _marked(posts.auxiliary_and_be(other), other) == ["has been", "is being"]
    assert [run.lstrip('" ') for run in _marked(posts.attribution(_POST))] == ["said @ada_holm7"]
    assert not posts.attribution('He said "no". Then it said more.').any()
    assert _marked(posts.capitals(_POST)) == ["NOW"]


def test_a_name_is_told_from_a_word_that_begins_a_sentence() -> None:
    nouns = posts.proper_nouns([_POST, "The art of Lisbon. Then we saw Lisbon! Maybe. maybe"])
    assert nouns == {"Ada", "Holm", "Lisbon"}
    text = "Ada saw Maybe Holm"
    assert _marked(posts.named(nouns)(text), text) == ["Ada", "Holm"]
    assert _marked(posts.capitalized(text), text) == ["da", "aybe", "olm"]


def test_hashtags_that_were_never_read_are_counted_once_each() -> None:
    share = posts.unseen(["#new #art", "#new #old"], ["#art is #old"])
    assert (share.right, share.of) == (1, 3)


def test_a_hashtag_of_words_that_nobody_wrote_is_told_from_words_put_together_anew() -> None:
    read = ["The big river in May #BigCity #MusicNow", "see a1.example #river #bigcityriver @ada"]
    words = posts.words_of(read)
    assert {"river", "city", "music", "now", "see"} <= words
    assert not {"bigcityriver", "example", "ada"} & words, "what no person would call a word of the texts"
    for tag in ("#river", "#CityRiver", "#nowmusic27", "#MUSIC", "#riverRiver"):
        assert posts.made_of(tag, words), tag
    for tag in ("#Rivermusi", "#ada", "#xriver", "#concertriver"):
        assert not posts.made_of(tag, words), tag
    share = posts.of_new_words(["#CityRiver #rivver", "#rivver #2027"], read)
    assert (share.right, share.of) == (1, 3)


def test_the_grammar_itself_makes_hashtags_that_were_not_read_but_no_words() -> None:
    made = list(dict.fromkeys(make_posts(6_000, 5)))
    assert posts.unseen(made[:400], made[400:]).value > 0.3
    assert posts.of_new_words(made[:400], made[400:]).right == 0


def test_broken_links_and_open_quotes_are_told() -> None:
    share = posts.links(["https://x.example/a https://nodot http://a.example.", "see https://b.example/%zz|"])
    assert (share.right, share.of) == (2, 4)
    share = posts.quotes(['"a" b', '"a b', "none"])
    assert (share.right, share.of) == (1, 2)


def test_the_grammar_makes_everything_that_is_looked_for() -> None:
    made = make_posts(400, 3)
    assert made == make_posts(400, 3) != make_posts(400, 4)
    assert all(post.isascii() and "\n" not in post for post in made)
    for label in (posts.auxiliary_and_be, posts.attribution, posts.capitals):
        assert any(label(post).any() for post in made)
    for kind in ("hashtag", "link", "mention"):
        assert any(posts.inside(kind)(post).any() for post in made)
    assert posts.links(made).value == 1.0 and posts.quotes(made).value == 1.0
    nouns = posts.proper_nouns(made)
    assert "Ada" in nouns and not {"The", "Maybe", "Tonight"} & nouns
    assert posts.unseen(made[:200], made[200:]).value > 0.3


@given(st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_every_label_has_one_value_for_each_character(text: str) -> None:
    for kind in ("hashtag", "link", "mention"):
        assert len(posts.inside(kind)(text)) == len(posts.position_in(kind)(text)) == len(text)
    labels = (posts.auxiliary_and_be, posts.attribution, posts.capitals, posts.capitalized, posts.named(frozenset("A")))
    assert all(len(label(text)) == len(text) for label in labels)
