"""Documents become chunks without losing, repeating or mixing a byte."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from model_export.corpora import SEPARATOR, Document
from model_export.training.streams import IGNORED, DocumentStreams

_TEXTS = st.lists(st.binary(min_size=1, max_size=30).map(lambda b: bytes(x % 250 for x in b)), min_size=1, max_size=8)


def _documents(texts: list[bytes]) -> list[Document]:
    return [Document("c", str(n), body) for n, body in enumerate(texts)]


def _read_rows(streams: DocumentStreams, rows: int, chunks: int) -> list[list[tuple[int, int, bool]]]:
    """Per row the (input, target, starts a document) of everything that is not padding."""
    read: list[list[tuple[int, int, bool]]] = [[] for _ in range(rows)]
    for _ in range(chunks):
        chunk = streams.chunk(focused=False)
        for row in range(rows):
            pairs = zip(chunk.inputs[:, row].tolist(), chunk.targets[:, row].tolist(), strict=True)
            read[row] += [
                (fed, asked, bool(chunk.fresh[row]) and t == 0)
                for t, (fed, asked) in enumerate(pairs)
                if asked != IGNORED
            ]
    return read


@given(_TEXTS, st.integers(1, 4), st.integers(1, 12))
@settings(max_examples=60)
def test_every_document_is_read_whole_once_per_pass_from_the_start_token_to_the_separator(
    texts: list[bytes], rows: int, time: int
) -> None:
    streams = DocumentStreams(_documents(texts), rows=rows, time=time, seed=3)
    longest = max(len(body) for body in texts) + 1
    passes = 3
    chunks = passes * len(texts) * (longest // time + 1)
    finished: list[bytes] = []
    for row in _read_rows(streams, rows, chunks):
        body: list[int] = []
        for number, (fed, asked, fresh) in enumerate(row):
            assert fresh == (number == 0 or row[number - 1][1] == SEPARATOR)
            assert fed == (SEPARATOR if fresh else body[-1])
            if fresh:
                body = []
            if asked == SEPARATOR:
                finished.append(bytes(body))
            else:
                body.append(asked)
    counts = [finished.count(body) for body in texts]
    assert set(finished) <= set(texts)
    assert min(counts) >= passes - 1  # rows that are in the middle of the last pass have not finished yet


@given(_TEXTS, st.integers(1, 12))
@settings(max_examples=30)
def test_in_order_reads_document_i_in_row_i(texts: list[bytes], time: int) -> None:
    streams = DocumentStreams(_documents(texts), rows=len(texts), time=time, seed=0)
    read: list[list[int]] = [[] for _ in texts]
    for chunk in streams.in_order():
        for row, body in enumerate(read):
            body += [target for target in chunk.targets[:, row].tolist() if target != IGNORED]
    assert [bytes(body) for body in read] == [body + bytes([SEPARATOR]) for body in texts]


@given(_TEXTS, st.integers(0, 6))
@settings(max_examples=30)
def test_a_restored_place_goes_on_as_if_nothing_had_happened(texts: list[bytes], before: int) -> None:
    one, other = (DocumentStreams(_documents(texts), rows=2, time=5, seed=9) for _ in range(2))
    for _ in range(before):
        one.chunk(focused=False)
    other.restore(one.state())
    for _ in range(5):
        a, b = one.chunk(focused=True), other.chunk(focused=True)
        assert (a.inputs == b.inputs).all() and (a.targets == b.targets).all() and (a.fresh == b.fresh).all()


def test_focused_chunks_deal_from_the_first_corpus_alone_as_soon_as_rows_want_a_document() -> None:
    documents = [Document("first", "a", b"aaaa"), *(Document("second", str(n), b"bbbb") for n in range(9))]
    streams = DocumentStreams(documents, rows=2, time=5, seed=0)
    for _ in range(6):
        chunk = streams.chunk(focused=True)
        assert set(chunk.targets.ravel().tolist()) == {ord("a"), SEPARATOR}


def test_tokens_counts_the_targets_without_the_padding() -> None:
    streams = DocumentStreams([Document("c", "a", b"abc")], rows=1, time=10, seed=0)
    assert streams.chunk(focused=False).tokens == 4
