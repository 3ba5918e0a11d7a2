"""The one `Inference` of a process, which both facades share; imported and made when the first of them is asked."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from service.sessions.service import Sessions

if TYPE_CHECKING:
    from service.transport.kserve.inference import Inference


class LateInference:
    """Asked for `here` on the event loop's thread alone. retention_s: how long sessions are kept; None for ever."""

    def __init__(self, sessions: Sessions, retention_s: float | None = None) -> None:
        self._sessions, self._retention_s = sessions, retention_s

    @cached_property
    def here(self) -> Inference:
        """Made now if it was not before."""
        from service.transport.kserve.inference import Inference

        return Inference(self._sessions, retention_s=self._retention_s)
