"""The one `Inference` of a process, which both facades share; imported and made when the first of them is asked."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from service.sessions.service import Sessions

if TYPE_CHECKING:
    from service.transport.kserve.inference import Inference


class LateInference:
    """Asked for `here` on the event loop's thread alone."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    @cached_property
    def here(self) -> Inference:
        """Made now if it was not before."""
        from service.transport.kserve.inference import Inference

        return Inference(self._sessions)
