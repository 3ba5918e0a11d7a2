"""What a process needs beside its engines for models that read no text; made only where such a model is served."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from service.model.manifest import Manifest, ModelFolderError
from service.model.series_manifest import SeriesManifest, read_any_manifest
from service.model.words import UnknownWord, Words
from service.runtime.onnx_model import load_model
from service.runtime.series_model import load_series_model
from service.sessions.limits import Limits
from service.sessions.number_logs import NumberLogs
from service.sessions.ports import Store
from service.settings import ModelConfig
from service.tensors.ports import Numbers, TensorModel
from service.tensors.running import Runner
from service.tensors.sequences import Sequences
from service.tensors.words_model import WordReader

if TYPE_CHECKING:
    from service.telemetry.metrics import Metrics
    from service.transport.kserve.tensor_inference import TensorInference


def load_tensor_model(config: ModelConfig) -> TensorModel:
    """The model of a folder that reads numbers or words. Raises ModelFolderError."""
    manifest = read_any_manifest(config.folder)
    if isinstance(manifest, SeriesManifest):
        if config.precision == "int8":
            raise ModelFolderError(f"{config.folder} has no int8 graph: a model that reads numbers has fp32 alone")
        model = load_series_model(config.folder, config.threads)
        return TensorModel(model, Numbers(model.width, model.names, model.step), manifest.example)
    words = _words_of(config.folder, manifest)
    model_of_words = load_model(config.folder, config.precision or "auto", config.threads, vocabulary="words")
    return TensorModel(WordReader(model_of_words), words, manifest.example or "")


def _words_of(folder: Path, manifest: Manifest) -> Words:
    if len(manifest.words) != manifest.vocabulary_size or len(set(manifest.words)) != len(manifest.words):
        raise ModelFolderError(
            f"{folder}: manifest.json: words: {len(manifest.words)} of them, not all different or not "
            f"{manifest.vocabulary_size}: a word for each token"
        )
    if manifest.start_token >= manifest.vocabulary_size or manifest.words[manifest.start_token]:
        raise ModelFolderError(f"{folder}: manifest.json: start_token: {manifest.start_token} is not that of the end")
    words = Words(manifest.words, manifest.start_token)
    try:
        words.encode(manifest.example or "")
    except UnknownWord as error:
        raise ModelFolderError(f"{folder}: manifest.json: example: {error}") from error
    return words


class TensorServing:
    """The sequences of these models over one store, and the thread on which what is large is read."""

    def __init__(
        self, models: Sequence[TensorModel], store: Store, limits: Limits, *, budget_bytes: int, max_waiting: int
    ) -> None:
        self._models = models
        self._runner = Runner(max_waiting=max_waiting)
        logs = NumberLogs(store, new_incarnation=lambda: secrets.randbits(63), limits=limits)
        self._sequences = Sequences(logs, self._runner, budget_bytes=budget_bytes)

    def inference(self) -> TensorInference:
        """What the facades call; imported when the first of them is asked."""
        from service.transport.kserve.tensor_inference import TensorInference

        return TensorInference(self._models, self._sequences, self._runner)

    def show(self, metrics: Metrics) -> None:
        """Let the metrics tell of it."""
        from service.telemetry.tensor_metrics import show_tensors

        sequences = self._sequences
        identities = [model.identity for model in self._models]
        show_tensors(metrics, identities, lambda: len(sequences), lambda: sequences.state_bytes)

    def close(self) -> None:
        """Wait for what runs on the thread."""
        self._runner.close()
