"""A corpus: which files are read, how they are split, and what is said of the rest."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_export import corpora
from model_export.corpora import Corpus, Document, cap_per_document
from model_export.errors import CorpusError
from tests.unit.model_export.tiny import text, write_files


def _load(root: Path, *, field: str | None = None, include: tuple[str, ...] = ()) -> Corpus:
    return corpora.load([corpora.resolve(str(root), include=include, field=field)])


def _paths(corpus: Corpus) -> set[str]:
    return {document.path.removesuffix("#tail") for document in (*corpus.train, *corpus.held_out)}


def test_gitignore_is_honoured_at_every_level_and_the_inner_one_decides(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            ".gitignore": "*.log\nbuild/\n",
            "a.txt": "kept a",
            "a.log": "dropped a",
            "build/b.txt": "dropped b",
            "sub/.gitignore": "!keep.log\n/c.txt\n",
            "sub/keep.log": "kept log",
            "sub/c.txt": "dropped c",
            "sub/deep/c.txt": "kept c",
        },
    )
    assert _paths(_load(tmp_path)) == {".gitignore", "a.txt", "sub/.gitignore", "sub/keep.log", "sub/deep/c.txt"}


def test_gitignore_of_the_repository_around_a_folder_is_honoured(tmp_path: Path) -> None:
    write_files(tmp_path, {".git/HEAD": "x", ".gitignore": "secret.txt\n", "src/a.txt": "a", "src/secret.txt": "s"})
    assert _paths(_load(tmp_path / "src")) == {"a.txt"}


def test_include_chooses_files_by_glob(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.py": "a = 1", "b/c.py": "c = 1", "b/c.md": "text"})
    assert _paths(_load(tmp_path, include=("*.py",))) == {"a.py", "b/c.py"}


def test_unusable_files_are_counted_and_skipped(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "good.txt": text(50, seed=1),
            "again.txt": text(50, seed=1),
            "binary.dat": b"\x00\x01\x02",
            "latin.txt": "caf\xe9".encode("latin-1"),
            "blank.txt": " \n",
            "huge.txt": b"x" * (1 << 20) + b"x",
        },
    )
    (tmp_path / "gone.txt").symlink_to(tmp_path / "loop.txt")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "gone.txt")
    skipped = _load(tmp_path).statistics[0].skipped
    assert skipped == {"binary": 1, "not UTF-8": 1, "empty": 1, "too large": 1, "duplicate": 1, "unreadable": 2}


def test_files_that_cannot_be_read_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"a.txt": text(50, seed=1), "b.txt": text(50, seed=2)})
    read = Path.read_bytes

    def refuse_b(path: Path) -> bytes:
        if path.name == "b.txt":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse_b)  # root may read everything, so no mode makes a file unreadable
    corpus = _load(tmp_path)
    assert corpus.statistics[0].skipped == {"unreadable": 1}
    assert _paths(corpus) == {"a.txt"}


def test_jsonl_gives_a_document_per_line(tmp_path: Path) -> None:
    lines = [{"body": f"text number {n}", "other": 1} for n in range(3)] + [{"body": "\ud800"}, {"body": " "}]
    write_files(tmp_path, {"data.jsonl": "\n".join(map(json.dumps, lines)) + "\n\n"})
    corpus = _load(tmp_path / "data.jsonl", field="body")
    assert b"".join(d.text for d in (*corpus.train, *corpus.held_out)) == b"text number 0text number 1text number 2"
    assert corpus.statistics[0].skipped == {"not UTF-8": 1, "empty": 1}


@pytest.mark.parametrize("line", ['{"text": 5}', '{"other": "x"}', "not json", "[1]"])
def test_a_bad_line_of_jsonl_is_named(tmp_path: Path, line: str) -> None:
    write_files(tmp_path, {"data.jsonl": f'{{"text": "fine"}}\n{line}\n'})
    with pytest.raises(CorpusError, match=r"data\.jsonl, line 2: .*field|'text'"):
        _load(tmp_path)


@given(st.lists(st.text(min_size=1, max_size=60).filter(str.strip), min_size=1, max_size=19, unique=True))
def test_few_documents_hold_out_the_last_tenth_of_the_bytes(texts: list[str]) -> None:
    documents = [Document("c", f"{n}.txt", body.encode()) for n, body in enumerate(texts)]
    train, held_out = corpora._split(documents)
    assert b"".join(d.text for d in (*train, *held_out)) == b"".join(d.text for d in documents)
    held = sum(len(d.text) for d in held_out)
    wanted = int(sum(len(d.text) for d in documents) * corpora.TAIL_SHARE)
    assert wanted <= held <= wanted + 3
    for document in (*train, *held_out):
        document.text.decode("utf-8")


def test_many_documents_are_split_by_the_hash_of_their_path(tmp_path: Path) -> None:
    write_files(tmp_path, {f"{n}.txt": text(40, seed=n) for n in range(200)})
    corpus = _load(tmp_path)
    assert {d.path for d in corpus.held_out} == {f"{n}.txt" for n in range(200) if corpora.is_held_out(f"{n}.txt")}
    assert 2 <= len(corpus.held_out) <= 30
    assert corpus.digest() == _load(tmp_path).digest()


def test_training_documents_that_copy_a_held_out_one_are_removed(tmp_path: Path) -> None:
    original = "".join(f"this_is_a_telling_line_number_{n} = compute({n})\n" for n in range(40))
    held_out = next(f"{n}.py" for n in range(1000) if corpora.is_held_out(f"{n}.py"))
    others = [f"{n}.py" for n in range(1000, 1100) if not corpora.is_held_out(f"{n}.py")]
    files: dict[str, bytes | str] = {name: text(60, seed=i) for i, name in enumerate(others[:40])}
    files |= {held_out: original, others[40]: "# vendored\n" + original, others[41]: original[: len(original) // 2]}
    write_files(tmp_path, files)
    corpus = _load(tmp_path)
    assert corpus.statistics[0].skipped == {"copy of a held-out document": 2}
    assert {d.path for d in corpus.train} == set(others[:40])


def test_a_licence_that_stands_in_every_file_makes_none_of_them_a_copy(tmp_path: Path) -> None:
    licence = b"".join(b"// Paragraph %d of a licence that nobody reads\n" % n for n in range(12))
    write_files(tmp_path, {f"{n}.py": licence + text(40, seed=n) for n in range(60)})
    corpus = _load(tmp_path)
    assert corpus.statistics[0].skipped == {}
    assert len(corpus.train) + len(corpus.held_out) == 60


def test_an_empty_corpus_says_what_was_searched(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.bin": b"\x00", "b.bin": b"\x00\x00"})
    with pytest.raises(CorpusError, match=f"(?s)Searched:.*{tmp_path} for every file: 2 binary"):
        _load(tmp_path)


def test_a_place_that_does_not_exist_is_an_error_that_says_what_may_be_given() -> None:
    with pytest.raises(CorpusError, match="`stdlib` or `package:NAME`"):
        corpora.resolve("no/such/place")
    with pytest.raises(CorpusError, match="no package named 'no_such_package'"):
        corpora.resolve("package:no_such_package")


def test_two_corpora_of_one_name_are_told_apart(tmp_path: Path) -> None:
    write_files(tmp_path, {"one/src/a.txt": text(60, seed=1), "two/src/a.txt": text(60, seed=2)})
    corpus = corpora.load([corpora.resolve(str(tmp_path / name / "src")) for name in ("one", "two")])
    assert [(s.name, s.train_documents) for s in corpus.statistics] == [("src", 1), ("src-2", 1)]


def test_the_yardstick_of_this_python_is_found_and_never_trained_on() -> None:
    root = Path(sysconfig.get_paths()["stdlib"])
    corpus = corpora.load([corpora.resolve("stdlib")])
    assert corpus.held_out
    assert all(corpora.is_held_out(d.path) and (root / d.path).read_bytes() == d.text for d in corpus.held_out)
    assert not any("test" in Path(d.path).parts[:-1] or "site-packages" in d.path for d in corpus.held_out)
    assert not any(corpora.is_held_out(d.path) for d in corpus.train)
    assert not {d.text for d in corpus.held_out} & {d.text for d in corpus.train}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 200))
def test_documents_are_cut_at_one_length_and_only_if_they_have_to_be(lengths: list[int], limit: int) -> None:
    documents = [Document("c", str(number), b"x" * length) for number, length in enumerate(lengths)]
    cap = cap_per_document(documents, limit)
    if cap is None:
        assert sum(lengths) <= limit
    else:
        assert sum(lengths) > limit
        read = sum(min(length, cap) for length in lengths)
        assert read <= limit or cap == 1
        assert sum(min(length, cap + 1) for length in lengths) > limit
