"""The one `Inference` of a process, which both facades share; imported and made when the first of them is asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from service.sessions.service import Sessions

if TYPE_CHECKING:
    from service.transport.kserve.inference import Inference
    from service.transport.kserve.repository import Repository
    from service.transport.kserve.tensor_inference import TensorInference


class LateInference:
    """Asked for `here` on the event loop's thread alone.

    retention_s: how long sessions are kept; None for ever.  repository: makes it; None if the models never change.
    tensors: makes what answers for models that read no text; None if there are none.
    """

    def __init__(
        self,
        sessions: Sessions,
        retention_s: float | None = None,
        repository: Callable[[], Repository] | None = None,
        tensors: Callable[[], TensorInference] | None = None,
    ) -> None:
        self._sessions, self._retention_s, self._repository = sessions, retention_s, repository
        self._tensors = tensors

    @cached_property
    def here(self) -> Inference:
        """Made now if it was not before."""
        from service.transport.kserve.inference import Inference

        repository = None if self._repository is None else self._repository()
        tensors = None if self._tensors is None else self._tensors()
        return Inference(self._sessions, repository, tensors=tensors, retention_s=self._retention_s)
