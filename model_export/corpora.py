"""Corpora: files on disk -> documents, split into training and held-out, with the statistics of what was read.

A corpus is named by `stdlib` (the running Python's standard library without its tests), `package:NAME` (an installed
package without its tests) or a path to a file or folder. A document is one file, or one line's field of a JSONL file.
The split is by document: held out if sha256(relative path) is divisible by 20, so that it is the same on every machine
and in every run. Training documents that copy a held-out one, whole or for the most part, are removed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from model_export.corpus_files import find_files
from model_export.errors import CorpusError

HELD_OUT_ONE_IN = 20
MIN_FILES_FOR_SPLIT = 20
TAIL_SHARE = 0.1  # of the bytes, when there are too few files to split by file
SEPARATOR = 0xFF  # never occurs in UTF-8 (RFC 3629, section 1), so it can mark where documents begin and end
MIN_LINE_FOR_COPY = 24  # shorter lines ("return None") say nothing about copying
MIN_LINES_FOR_COPY = 8
COPY_SHARE = 0.8
COMMON_SHARE = 0.25  # a line of more documents than this, such as a licence's, belongs to no single one of them


class Skip(StrEnum):
    """Why a file that matched was not read into the corpus."""

    BINARY = "binary"
    NOT_UTF8 = "not UTF-8"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    TOO_LARGE = "too large"
    DUPLICATE = "duplicate"
    COPIES_HELD_OUT = "copy of a held-out document"


@dataclass(frozen=True, slots=True)
class CorpusSpec:
    """One `--corpus` argument, resolved: where it lies and how its files are chosen.

    `outer_rules` honours .gitignore files above `root` too; not for installed packages, which environments often hide.
    """

    name: str
    root: Path
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    field: str | None = None
    max_file_bytes: int = 1 << 20
    outer_rules: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """A text with the corpus it came from and its path there; `text` is valid UTF-8."""

    corpus: str
    path: str
    text: bytes


@dataclass(slots=True)
class Statistics:
    """What one corpus gave: counts of documents and bytes, and how many files were skipped for which reason."""

    name: str
    root: str
    train_documents: int = 0
    train_bytes: int = 0
    held_out_documents: int = 0
    held_out_bytes: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def count(self, train: Iterable[Document], held_out: Iterable[Document]) -> None:
        """Count this corpus's documents among all of them."""
        kept = [len(document.text) for document in train if document.corpus == self.name]
        out = [len(document.text) for document in held_out if document.corpus == self.name]
        self.train_documents, self.train_bytes = len(kept), sum(kept)
        self.held_out_documents, self.held_out_bytes = len(out), sum(out)

    def as_dict(self) -> dict[str, object]:
        """The figures as JSON-ready values, without the root: it is a path of one machine."""
        return {
            "name": self.name,
            "train_documents": self.train_documents,
            "train_bytes": self.train_bytes,
            "held_out_documents": self.held_out_documents,
            "held_out_bytes": self.held_out_bytes,
            "skipped": {str(why): count for why, count in sorted(self.skipped.items())},
        }


@dataclass(frozen=True, slots=True)
class Corpus:
    """Everything that training needs to know of its text: documents of the first corpus come first in `statistics`."""

    train: tuple[Document, ...]
    held_out: tuple[Document, ...]
    statistics: tuple[Statistics, ...]

    def digest(self) -> str:
        """sha256 over every document's name and text: two runs with one digest saw the same data."""
        total = hashlib.sha256()
        for part in (self.train, self.held_out):
            for document in part:
                total.update(f"{document.corpus}/{document.path}:{len(document.text)}\n".encode())
                total.update(document.text)
        return total.hexdigest()


def resolve(
    argument: str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    field: str | None = None,
    max_file_bytes: int = 1 << 20,
) -> CorpusSpec:
    """Turn one `--corpus` argument into where its files lie. Raises CorpusError if there is no such place."""
    tests = ("test*/", "idle_test/", "site-packages/")
    if argument == "stdlib":
        root = Path(sysconfig.get_paths()["stdlib"])
        return CorpusSpec(argument, root, tuple(include) or ("*.py",), (*tests, *exclude), field, max_file_bytes)
    if argument.startswith("package:"):
        name = argument.removeprefix("package:")
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise CorpusError(f"corpus {argument!r}: no package named {name!r} is installed beside this Python")
        root = Path(next(iter(spec.submodule_search_locations)))
        return CorpusSpec(argument, root, tuple(include) or ("*.py",), (*tests, *exclude), field, max_file_bytes)
    root = Path(argument).expanduser()
    if not root.exists():
        raise CorpusError(f"corpus {argument!r}: no such file or folder; give a path, `stdlib` or `package:NAME`")
    name = root.resolve().name or str(root)
    return CorpusSpec(name, root, tuple(include), tuple(exclude), field, max_file_bytes, outer_rules=True)


def load(specs: Sequence[CorpusSpec]) -> Corpus:
    """Read every corpus, remove duplicates and copies of held-out text, and split. Raises CorpusError if empty."""
    seen: set[bytes] = set()
    train: list[Document] = []
    held_out: list[Document] = []
    statistics = [Statistics(name, str(spec.root)) for name, spec in zip(_names(specs), specs, strict=True)]
    for spec, stats in zip(specs, statistics, strict=True):
        kept, out = _split(list(_unique(_read(spec, stats), seen, stats)))
        train += kept
        held_out += out
    if not train:
        raise CorpusError(_nothing_found(specs, statistics))
    train = _without_copies(train, held_out, {stats.name: stats for stats in statistics})
    for stats in statistics:
        stats.count(train, held_out)
    return Corpus(tuple(train), tuple(held_out), tuple(statistics))


def _names(specs: Sequence[CorpusSpec]) -> list[str]:
    """The corpora's names, told apart by a number where two are equal."""
    names: list[str] = []
    for spec in specs:
        same = sum(other.name == spec.name for other in specs[: len(names)])
        names.append(spec.name if same == 0 else f"{spec.name}-{same + 1}")
    return names


def _nothing_found(specs: Sequence[CorpusSpec], statistics: Sequence[Statistics]) -> str:
    lines = ["no text to train on. Searched:"]
    for spec, stats in zip(specs, statistics, strict=True):
        wanted = ", ".join(spec.include) or "every file"
        skipped = ", ".join(f"{n} {why}" for why, n in stats.skipped.items()) or "nothing matched"
        lines.append(f"  {spec.root} for {wanted}: {skipped}")
    return "\n".join(lines)


def _read(spec: CorpusSpec, stats: Statistics) -> Iterator[Document]:
    root = spec.root if spec.root.is_dir() else spec.root.parent
    for path in find_files(spec.root, spec.include, spec.exclude, outer_rules=spec.outer_rules):
        relative = path.relative_to(root).as_posix()
        try:
            if path.stat().st_size > spec.max_file_bytes and path.suffix != ".jsonl":
                stats.skipped[Skip.TOO_LARGE] += 1
                continue
            data = path.read_bytes()
        except OSError:
            stats.skipped[Skip.UNREADABLE] += 1
            continue
        why = _unusable(data)
        if why is not None:
            stats.skipped[why] += 1
        elif path.suffix == ".jsonl":
            yield from _jsonl(spec, relative, data, stats)
        else:
            yield Document(stats.name, relative, data)


def _unusable(data: bytes) -> Skip | None:
    if not data.strip():
        return Skip.EMPTY
    if b"\x00" in data:
        return Skip.BINARY
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return Skip.NOT_UTF8
    return None


def _jsonl(spec: CorpusSpec, relative: str, data: bytes, stats: Statistics) -> Iterator[Document]:
    name = spec.field or "text"
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            text = record[name]
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                f"{relative}, line {number}: no JSON object with a field {name!r} ({error}); name it with --field"
            ) from error
        if not isinstance(text, str):
            raise CorpusError(f"{relative}, line {number}: field {name!r} holds {type(text).__name__}, not a string")
        try:
            encoded = text.encode("utf-8")
        except UnicodeEncodeError:  # a lone surrogate, written as an escape
            stats.skipped[Skip.NOT_UTF8] += 1
            continue
        if encoded.strip():
            yield Document(stats.name, f"{relative}#{number}", encoded)
        else:
            stats.skipped[Skip.EMPTY] += 1


def _unique(documents: Iterable[Document], seen: set[bytes], stats: Statistics) -> Iterator[Document]:
    for document in documents:
        digest = hashlib.sha256(document.text).digest()
        if digest in seen:
            stats.skipped[Skip.DUPLICATE] += 1
        else:
            seen.add(digest)
            yield document


def is_held_out(path: str) -> bool:
    """The split's rule: the same document is held out on every machine."""
    return int(hashlib.sha256(path.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0


def _split(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    if len(documents) >= MIN_FILES_FOR_SPLIT:
        out = [d for d in documents if is_held_out(d.path)]
        if out:
            return [d for d in documents if not is_held_out(d.path)], out
    return _split_tail(documents)


def _split_tail(documents: list[Document]) -> tuple[list[Document], list[Document]]:
    """Hold out the last tenth of the bytes: whole documents from the end, and the end of the one that is left over."""
    left = int(sum(len(d.text) for d in documents) * TAIL_SHARE)
    train, held_out = list(documents), []
    while train and left > 0:
        last = train.pop()
        if len(last.text) <= left:
            held_out.append(last)
            left -= len(last.text)
            continue
        cut = len(last.text) - left
        while cut > 0 and last.text[cut] & 0xC0 == 0x80:  # never inside a code point
            cut -= 1
        train.append(Document(last.corpus, last.path, last.text[:cut]))
        held_out.append(Document(last.corpus, last.path + "#tail", last.text[cut:]))
        left = 0
    return train, held_out[::-1]


def cap_per_document(documents: Sequence[Document], limit: int | None) -> int | None:
    """The largest number of bytes to read of each document so that all together stay within `limit`; None: all of it.

    Short documents leave their share to the long ones, so nothing is cut while there is room.
    """
    left = limit
    if left is None or sum(len(d.text) for d in documents) <= left:
        return None
    lengths = sorted(len(d.text) for d in documents)
    for index, length in enumerate(lengths):
        cap = left // (len(lengths) - index)
        if length > cap:
            return max(1, cap)
        left -= length
    return None


def _telling_lines(text: bytes) -> set[bytes]:
    return {line for line in (raw.strip() for raw in text.split(b"\n")) if len(line) >= MIN_LINE_FOR_COPY}


def _common_lines(documents: Sequence[Document]) -> set[bytes]:
    """Lines that stand in more than a quarter of the documents, where those are many enough to tell."""
    if len(documents) < MIN_FILES_FOR_SPLIT:
        return set()
    counts = Counter(line for document in documents for line in _telling_lines(document.text))
    return {line for line, count in counts.items() if count > COMMON_SHARE * len(documents)}


def _without_copies(
    train: list[Document], held_out: list[Document], statistics: dict[str, Statistics]
) -> list[Document]:
    """Remove training documents that hold most of the telling lines of a held-out document, or are mostly made of one.

    An older version of a held-out file, or one vendored under another name, is a copy too. What stands in every file,
    such as a licence, makes none a copy.
    """
    common = _common_lines([*train, *held_out])
    owners: dict[bytes, list[int]] = {}
    totals: list[int] = []
    for index, document in enumerate(held_out):
        lines = _telling_lines(document.text) - common
        totals.append(len(lines))
        for line in lines:
            owners.setdefault(line, []).append(index)
    kept = []
    for document in train:
        lines = _telling_lines(document.text) - common
        shared = Counter(index for line in lines for index in owners.get(line, ()))
        copied = any(
            n >= MIN_LINES_FOR_COPY and n >= COPY_SHARE * min(totals[index], len(lines)) for index, n in shared.items()
        )
        if copied:
            statistics[document.corpus].skipped[Skip.COPIES_HELD_OUT] += 1
        else:
            kept.append(document)
    return kept
