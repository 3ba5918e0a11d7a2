"""Held-out figures through onnxruntime: the same definition as in training, and only of text that is unseen."""

from __future__ import annotations

import numpy as np
import pytest

from model_export import evaluation, state_dicts
from model_export.corpora import Document
from model_export.errors import ExportError
from model_export.evaluation import Unseen, check_unseen, evaluate
from model_export.folder import built_graph
from model_export.graph_session import GraphSession
from model_export.graphs import fp32
from model_export.language_model import LanguageModel
from model_export.training.loop import bits_per_byte
from service.model.manifest import Manifest, Training
from tests.unit.model_export import tiny


def _session(model: LanguageModel) -> tuple[GraphSession, Manifest]:
    weights = state_dicts.find(model.state_dict()).weights()
    built = built_graph("fp32", fp32.build(weights), fp32.states(weights))
    return GraphSession(built.model, built.entry), Manifest(name="m", top_k=16, graphs={"fp32": built.entry})


@pytest.mark.parametrize("limit", [None, 100])
def test_bits_per_byte_are_those_of_the_training_loop(limit: int | None) -> None:
    config = tiny.training()
    model = LanguageModel(config.model)
    documents = [*tiny.corpus(documents=5).train, Document("tiny", "short", b"x")]
    session, manifest = _session(model)
    figures = evaluate(session, manifest, documents, limit=limit)
    assert figures.bits_per_byte == pytest.approx(bits_per_byte(model, documents, config, limit=limit), rel=1e-5)
    assert figures.documents == len(documents)


def test_figures_agree_with_reading_each_document_alone_a_byte_at_a_time() -> None:
    session, manifest = _session(LanguageModel(tiny.training().model))
    documents = tiny.corpus(documents=4, words=20).train
    nats, first, among_three, count = 0.0, 0, 0, 0
    for document in documents:
        states, before = session.initial_states(1), manifest.start_token
        for byte in document.text:
            outcome = session.run(np.array([[before]]), states, [0])
            states, before = outcome.states, byte
            nats -= float(outcome.log_probabilities[0, 0, byte])
            best = outcome.top_tokens[0, 0].tolist()
            first, among_three, count = first + (best[0] == byte), among_three + (byte in best[:3]), count + 1
    figures = evaluate(session, manifest, documents)
    assert figures.bytes == count
    assert figures.bits_per_byte == pytest.approx(nats / count / np.log(2), rel=1e-6)
    assert figures.top1_accuracy == pytest.approx(first / count)
    assert figures.top3_accuracy == pytest.approx(among_three / count)


def test_more_documents_than_rows_are_read_in_several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    session, manifest = _session(LanguageModel(tiny.training().model))
    documents = tiny.corpus(documents=6).train
    together = evaluate(session, manifest, documents)
    monkeypatch.setattr(evaluation, "ROWS", 2)
    assert evaluate(session, manifest, documents).bits_per_byte == pytest.approx(together.bits_per_byte, rel=1e-12)


def test_nothing_to_read_is_an_error() -> None:
    session, manifest = _session(LanguageModel(tiny.training().model))
    with pytest.raises(ExportError, match="--corpus"):
        evaluate(session, manifest, [])


def _training(monkeypatch: pytest.MonkeyPatch, *, sha256: str | None = None) -> Training:
    corpus = tiny.corpus()
    monkeypatch.setattr("model_export.corpora.resolve", lambda name: name)
    monkeypatch.setattr("model_export.corpora.load", lambda specs: corpus)
    return Training.model_validate(
        {
            "command": "carousel train",
            "bytes_seen": 1,
            "seconds": 1.0,
            "corpora": [statistics.as_dict() for statistics in corpus.statistics],
            "corpus_sha256": sha256 or corpus.digest(),
        }
    )


def test_documents_that_were_trained_on_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    training = _training(monkeypatch)
    assert check_unseen(training, tiny.corpus().held_out) is Unseen.CHECKED
    with pytest.raises(ExportError, match="1 of the documents were in the training text"):
        check_unseen(training, tiny.corpus().train[:1])


def test_without_the_training_text_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_unseen(None, tiny.corpus().held_out) is Unseen.UNKNOWN
    assert check_unseen(_training(monkeypatch, sha256="0" * 64), tiny.corpus().train) is Unseen.UNKNOWN
