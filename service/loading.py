"""Loading models: at the start on a thread of its own, so that everything else is imported meanwhile; and later."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from service.model.manifest import Manifest, ModelFolderError, read_manifest
from service.model.series_manifest import read_any_manifest
from service.runtime.onnx_model import OnnxStepModel, load_model
from service.settings import ModelConfig

if TYPE_CHECKING:
    from service.tensors.ports import TensorModel

__all__ = ["Loaded", "Loading", "ModelFolder", "ModelFolderError", "begin_loading", "load_all", "warn_of_dependence"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Models in the order of their folders. folders: those of `models`.  tensors: the models that read no text."""

    models: Sequence[OnnxStepModel]
    folders: Sequence[ModelFolder]
    tensors: Sequence[TensorModel] = ()


Loading = Future[Loaded]
"""Models that are being loaded; its result raises ModelFolderError."""


def begin_loading(wanted: Sequence[ModelConfig]) -> Loading:
    """Begin; most of it (reading, hashing, onnxruntime's own work) needs no interpreter lock."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="carousel-loading")
    loading = thread.submit(load_all, wanted)
    thread.shutdown(wait=False)
    return loading


def load_all(wanted: Sequence[ModelConfig]) -> Loaded:
    """Load one after the other. Raises ModelFolderError, also if two have the same name: requests choose by it."""
    named: dict[str, Path] = {}
    models, folders, tensors = [], [], []
    for one in wanted:
        manifest = read_any_manifest(one.folder)
        if manifest.name in named:
            raise ModelFolderError(
                f"{named[manifest.name]} and {one.folder} are both named {manifest.name!r}; change `name` in one's "
                "manifest.json"
            )
        named[manifest.name] = one.folder
        if manifest.vocabulary == "bytes":
            folders.append(ModelFolder(one))
            models.append(folders[-1].load())
        else:
            from service.tensor_serving import load_tensor_model  # who serves texts alone need not wait for it

            tensors.append(load_tensor_model(one))
    return Loaded(models, folders, tensors)


class ModelFolder:
    """Where the versions of one model come from. Every method blocks, on any thread."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config

    def signature(self) -> Hashable:
        """What changes when a file of the folder does, by whatever names and links it is reached; None if it is gone.

        Looks at no file's content.
        """
        try:
            found = [(path.name, path.stat()) for path in self._config.folder.iterdir()]
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
