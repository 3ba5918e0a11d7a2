"""Posts: two layers of characters on short posts with hashtags, links, mentions and quotes (after Chen 2017).

The posts are those of a small grammar (`post_maker.py`), or of any text file, a line a post. What a unit stands for is
asked on posts that no training saw; what is written is held against what was read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from matplotlib.figure import Figure

from model_export.corpora import Corpus, Document, Statistics, is_held_out
from model_export.errors import TrainingError
from model_export.lab import pictures, sampling
from model_export.lab.bench import Bench
from model_export.lab.character_units import CAPTION, Found, Property, Reading, draw_text
from model_export.lab.claims import Claim, Verdict
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.post_maker import make_posts
from model_export.lab.reading import posts
from model_export.lab.reading.lexed import Share
from model_export.lab.training_on_text import TextRecipe, config_for, read_corpus, train_on
from service.model.checked import Between, Checked

NAME = "posts"
_LAYERS, _ROWS = 2, 16
_MADE = 40_000  # posts that the grammar gives to train on
_ASKED, _LONGEST = 300, 280  # posts that the units are asked about, and how many characters of each
_SAMPLES_SEED = 1_000
_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """megabytes: how much is read in training.  samples: posts that the network writes."""

    units: Annotated[int, Between(4, 256)] = 96
    embedding: Annotated[int, Between(1, 128)] = 24
    megabytes: Annotated[float, Between(0.001, 10_000)] = 12.0
    samples: Annotated[int, Between(2, 10_000)] = 400
    temperature: Annotated[float, Between(0.1, 2.0)] = 0.9


def _position(kind: str, bar: float) -> Claim:
    return Claim(
        f"{kind}_position",
        f"There is a unit for how far into a {kind} one is.",
        f"R^2 of a straight line from a unit's h or c to the characters since its first, within each {kind}, on posts "
        "that it was not fitted to",
        bar,
    )


def _tells(key: str, says: str, figure: str, bar: float) -> Claim:
    return Claim(key, says, f"balanced accuracy of a unit's h or c {figure}, on posts that it was not fitted to", bar)


UNSEEN = Claim(
    "unseen_hashtags",
    "It makes up hashtags: some that it writes it never read.",
    "share of the different hashtags in what it writes that stand nowhere in what it was trained on",
    0.1,
    percent=True,
)
NEW_WORDS = Claim(
    "hashtags_of_new_words",
    "Even the words in them are made up now and then.",
    "share of the different hashtags in what it writes with a part that is no word in what it was trained on",
    0.05,
    percent=True,
)
LINKS = Claim(
    "links",
    "Its links are links.",
    "share of its links with a host, a dot in it, and nothing that no link has",
    0.9,
    percent=True,
)
QUOTES = Claim(
    "quotes",
    "The quotes that it opens it closes.",
    "share of its posts with quotation marks in which their number is even",
    0.9,
    percent=True,
)
HASHTAG, LINK, MENTION = (_position(kind, 0.5) for kind in ("hashtag", "link", "mention"))
PROPER = _tells(
    "proper_nouns",
    "There is a unit that tells a name from a word that merely begins a sentence.",
    "within capitalized words, behind the capital",
    0.75,
)
BE = _tells("auxiliary_be", "There is a unit for an auxiliary and be: will be, has not been.", "in all of a post", 0.85)
ATTRIBUTION = _tells(
    "attribution", "There is a unit that says: now it is told who said that.", "in all of a post", 0.85
)
CAPITALS = _tells("capitals", "There is a unit for words of capitals.", "in all of a post", 0.9)
CHANCE = Claim(
    "beyond_chance",
    "None of these units is an accident.",
    "the least of their leads over the best of all units on rotated labels",
    0.1,
)
USED = Claim(
    "used",
    "They are used: held still, they are missed more than others.",
    "how many of the seven cost more bits where they tell something than each of five other units of their layer",
    4,
    digits=0,
)
_BARS: Mapping[str, Claim] = {
    "hashtag": HASHTAG,
    "link": LINK,
    "mention": MENTION,
    "proper noun": PROPER,
    "auxiliary and be": BE,
    "attribution": ATTRIBUTION,
    "capitals": CAPITALS,
}


def made_corpus(seed: int) -> Corpus:
    """Posts of the grammar, divided by what they say, so that a post which is made twice lies on one side."""
    documents = [Document("posts", text, text.encode()) for text in dict.fromkeys(make_posts(_MADE, seed))]
    train = tuple(one for one in documents if not is_held_out(one.path))
    held_out = tuple(one for one in documents if is_held_out(one.path))
    statistics = Statistics("posts", "the grammar", skipped=Counter())
    statistics.count(train, held_out)
    return Corpus(train, held_out, (statistics,))


def properties(nouns: frozenset[str]) -> tuple[Property, ...]:
    """What is looked for in the units, by the names of `_BARS`."""
    return (
        Property("hashtag", posts.position_in("hashtag"), posts.inside("hashtag")),
        Property("link", posts.position_in("link"), posts.inside("link")),
        Property("mention", posts.position_in("mention"), posts.inside("mention")),
        Property("proper noun", posts.named(nouns), posts.capitalized),
        Property("auxiliary and be", posts.auxiliary_and_be),
        Property("attribution", posts.attribution),
        Property("capitals", posts.capitals),
    )


def run(bench: Bench, settings: Settings) -> Finding:
    """Let it write, compare with what it read, and ask its units about posts that it never read."""
    given = None if bench.corpus is None else read_corpus(bench.corpus, by_line=True)
    corpus = made_corpus(bench.seed) if given is None else given
    shape = TextRecipe(_LAYERS, settings.units, settings.embedding, settings.megabytes, rows=_ROWS)
    anew = replace(bench, full=bench.full or given is not None)
    network = anew.network(NAME, config_for(corpus, shape), partial(train_on, corpus, shape, bench, NAME))
    read, held_out = ([one.text.decode() for one in part] for part in (corpus.train, corpus.held_out))
    written = sampling.write(
        network, settings.samples, _LONGEST, temperature=settings.temperature, seed=_SAMPLES_SEED + bench.seed
    )
    # A character is a byte where all is ASCII; labels are of characters.
    asked = [text for text in held_out if text.isascii()][:_ASKED]
    wanted = properties(posts.proper_nouns(read))
    reading = Reading(network, asked, length=_LONGEST) if asked else None
    found = {} if reading is None else _find(reading, wanted, bench.seed)
    as_many = held_out[: len(written)]
    unseen, new_words = posts.unseen(written, read), posts.of_new_words(written, read)
    links, quotes = posts.links(written), posts.quotes(written)
    verdicts = (
        UNSEEN.verdict(unseen.value, f"{unseen}; {_usual(UNSEEN, posts.unseen(as_many, read))}"),
        NEW_WORDS.verdict(new_words.value, f"{new_words}; {_usual(NEW_WORDS, posts.of_new_words(as_many, read))}"),
        LINKS.verdict(links.value, str(links)),
        QUOTES.verdict(quotes.value, str(quotes)),
        *measure_units(found),
    )
    drawn = () if reading is None else (Picture("units", draw_units(reading, found), _CAPTION),)
    words = posts.words_of(read)
    made_up = sorted(posts.hashtags(written) - posts.hashtags(read))
    of_new_words = [tag for tag in made_up if not posts.made_of(tag, words)]
    details = {
        "samples": written[:_SHOWN],
        "made_up": made_up[:_SHOWN],
        "of_new_words": of_new_words[:_SHOWN],
        "units": {name: one.as_document() for name, one in found.items()},
    }
    told = (
        "\n".join(written[:_SHOWN]),
        f"Made up: {', '.join(made_up[:_SHOWN])}. Of words that nobody wrote: {', '.join(of_new_words[:_SHOWN])}.",
    )
    return Finding(verdicts, drawn, (*_STORY, *told), details)


def _usual(claim: Claim, share: Share) -> str:
    """What the same measure gives of as many posts that people, or the grammar, wrote and no training saw."""
    return f"of as many posts that were held out {claim.show(share.value)}"


def _find(reading: Reading, wanted: Sequence[Property], seed: int) -> dict[str, Found]:
    found = {}
    for one in wanted:
        try:
            found[one.name] = reading.find(one, seed=seed)
        except TrainingError:  # the posts have no such thing
            continue
    return found


def measure_units(found: Mapping[str, Found]) -> list[Verdict]:
    """What is claimed of the units; found: those for each property that the posts have."""
    verdicts = [
        claim.verdict(found[name].best.score, str(found[name].best.place)) if name in found else claim.verdict(math.nan)
        for name, claim in _BARS.items()
    ]
    least = min(found, key=lambda name: found[name].lead, default=None)
    used = [name for name, one in found.items() if one.used]
    return [
        *verdicts,
        CHANCE.verdict(math.nan if least is None else found[least].lead, least or ""),
        USED.verdict(len(used), ", ".join(used)),
    ]


_STORY = (
    "A network of two layers reads posts of a line, character by character, and guesses the next character. Then it "
    "writes some by itself, and its units are asked, on posts that it never read, what they stand for.",
)
_CAPTION = f"A post for each property. {CAPTION}"


def draw_units(reading: Reading, found: Mapping[str, Found]) -> Figure:
    """For each property a post that has it, in the colours of its unit."""
    figure, axes = pictures.new_figure(max(len(found), 1), 1, width=11, height=0.85 * max(len(found), 1))
    for place, (name, one) in zip(axes, found.items(), strict=False):
        number = _telling(reading, one.asked)
        draw_text(place, reading, one, number, slice(0, reading.stretches[number].length))
        place.set_title(f"{name}: {one.best.place}, score {one.best.score:.2f}", fontsize=9, loc="left")
    return figure


def _telling(reading: Reading, asked: Property) -> int:
    """The first post, of a length to be drawn, in which the property is not the same everywhere."""
    for number, one in enumerate(reading.stretches):
        values = asked.label(one.text)[asked.where(one.text)]
        if 60 <= one.length <= 110 and len(set(values.tolist())) > 1:
            return number
    return 0


EXPERIMENT = Experiment(
    name="posts",
    title="Posts: hashtags, links, names",
    question="What do the units of a network stand for that has read nothing but short posts?",
    source="After Edwin Chen, Exploring LSTMs (2017).",
    settings=Settings(),
    claims=(UNSEEN, NEW_WORDS, LINKS, QUOTES, HASHTAG, LINK, MENTION, PROPER, BE, ATTRIBUTION, CAPITALS, CHANCE, USED),
    run=run,
    looked=Looked(NAME, "Ada Holm will be late. #BigCity", lambda settings: (settings.units,) * _LAYERS),
    serves=(Served(NAME, "Maybe Ada Sto", "it goes on with the name, and perhaps a link"),),
    looks=frozenset({"samples", "temperature"}),
    corpus="may",
)
