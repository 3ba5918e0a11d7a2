"""Loading the models on a thread of its own, so that everything else is imported meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from service.model.manifest import ModelFolderError, read_manifest
from service.runtime.onnx_model import OnnxStepModel, load_model
from service.settings import ModelConfig

__all__ = ["Loading", "ModelFolderError", "begin_loading", "load_models"]

Loading = Future[list[OnnxStepModel]]
"""Models that are being loaded, in the order of their folders; its result raises ModelFolderError."""


def begin_loading(wanted: Sequence[ModelConfig]) -> Loading:
    """Begin; most of it (reading, hashing, onnxruntime's own work) needs no interpreter lock."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="carousel-loading")
    loading = thread.submit(load_models, wanted)
    thread.shutdown(wait=False)
    return loading


def load_models(wanted: Sequence[ModelConfig]) -> list[OnnxStepModel]:
    """Load one after the other. Raises ModelFolderError, also if two have the same name: requests choose by it."""
    models: dict[str, OnnxStepModel] = {}
    folders: dict[str, Path] = {}
    for one in wanted:
        name = read_manifest(one.folder).name
        if name in models:
            raise ModelFolderError(
                f"{folders[name]} and {one.folder} are both named {name!r}; change `name` in one's manifest.json"
            )
        folders[name] = one.folder
        models[name] = load_model(
            one.folder, one.precision or "auto", one.threads, allow_batch_dependent=one.allow_batch_dependent
        )
    return list(models.values())
