"""For how long a store keeps sessions, and how much of a tenant's."""

from __future__ import annotations

from dataclasses import dataclass

from service.errors import QuotaExceeded

_RETRY_AFTER_S = 60.0  # a tenant's sessions are deleted by somebody, or grow old: neither takes a second


@dataclass(frozen=True, slots=True)
class Keeping:
    """None is no limit. Retention counts from the last write."""

    retention_s: float | None = None
    sessions_per_tenant: int | None = None
    bytes_per_tenant: int | None = None  # of UTF-8, of the texts as they are now

    @property
    def has_quota(self) -> bool:
        """Whether what a tenant keeps has to be counted."""
        return self.sessions_per_tenant is not None or self.bytes_per_tenant is not None

    def check(self, sessions: int, text_bytes: int) -> None:
        """Raise QuotaExceeded if a tenant may not keep so many sessions, or so many bytes in them."""
        if self.sessions_per_tenant is not None and sessions > self.sessions_per_tenant:
            raise QuotaExceeded(
                f"this tenant keeps the {self.sessions_per_tenant} sessions that it may: delete some, or let them "
                "grow old",
                _RETRY_AFTER_S,
            )
        if self.bytes_per_tenant is not None and text_bytes > self.bytes_per_tenant:
            raise QuotaExceeded(
                f"this tenant's sessions would hold {text_bytes} bytes of text and may hold {self.bytes_per_tenant}: "
                "delete sessions, or text in them",
                _RETRY_AFTER_S,
            )
