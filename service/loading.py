"""Loading the model on a thread of its own, so that everything else is imported meanwhile."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from service.model.manifest import ModelFolderError
from service.runtime.onnx_model import OnnxStepModel, load_model
from service.settings import ModelConfig

__all__ = ["Loading", "ModelFolderError", "begin_loading"]

Loading = Future[OnnxStepModel]
"""A model that is being loaded; its result raises ModelFolderError."""


def begin_loading(wanted: ModelConfig) -> Loading:
    """Begin; most of it (reading, hashing, onnxruntime's own work) needs no interpreter lock."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="carousel-loading")
    loading = thread.submit(
        load_model,
        wanted.folder,
        wanted.precision or "auto",
        wanted.threads,
        allow_batch_dependent=wanted.allow_batch_dependent,
    )
    thread.shutdown(wait=False)
    return loading
