"""Loading models: at the start on a thread of its own, so that everything else is imported meanwhile; and later."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from service.model.manifest import Manifest, ModelFolderError, read_manifest
from service.runtime.onnx_model import OnnxStepModel, load_model
from service.settings import ModelConfig

__all__ = ["Loading", "ModelFolder", "ModelFolderError", "begin_loading", "load_models", "warn_of_dependence"]

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
        models[name] = ModelFolder(one).load()
    return list(models.values())


class ModelFolder:
    """Where the versions of one model come from. Every method blocks, on any thread."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config

    def signature(self) -> Hashable:
        """What changes when something in the folder does, by whatever names and links it is reached; None if it is gone.

        Looks at no file's content.
        """
        try:
            with os.scandir(self._config.folder) as entries:
                found = [(entry.name, os.stat(entry.path)) for entry in entries]
        except OSError:
            return None
        return frozenset((name, one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for name, one in found)

    def manifest(self) -> Manifest:
        """What is in it. Raises ModelFolderError."""
        return read_manifest(self._config.folder)

    def load(self) -> OnnxStepModel:
        """Load what is in it, checked in every way (`load_model`). Raises ModelFolderError."""
        config = self._config
        precision = config.precision or "auto"
        return load_model(config.folder, precision, config.threads, allow_batch_dependent=config.allow_batch_dependent)


def warn_of_dependence(model: OnnxStepModel) -> None:
    """Say in the log that the rows of this model depend on each other, if they do."""
    if model.batch_dependence is not None:
        logging.getLogger("carousel").warning(
            "THE ROWS OF THIS MODEL DEPEND ON EACH OTHER: what one person types changes what another is shown",
            extra={
                "model": model.identity.name,
                "found": model.batch_dependence,
                "way_out": "serve a graph of `carousel export`, without --allow-batch-dependent",
            },
        )
