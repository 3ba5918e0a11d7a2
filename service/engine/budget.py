"""One budget of bytes for the states of several models.

Everybody has an equal share by right and may use what the others leave. Half of an equal share is kept free for each,
so that whoever begins to work has room at once, without waiting for anybody. Who is below its equal share and is
refused has a claim: those above theirs then owe what is missing, are told so, and give it back at their next tick.

Who joins late makes all shares smaller: those who are above theirs then owe at once. Until they have paid, the newcomer
is refused even what is its right, so that the sum never exceeds the budget; `Share.is_there` says when they have.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

_CLAIMED_AT_ONCE = 16  # of an equal share: a sixteenth, so that a borrower is not asked for every few rows


class StateBudget:
    """A number of bytes, and who uses them. Thread-safe."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._lock = Lock()
        self._shares: list[Share] = []

    def join(self) -> Share:
        """One more to share with, at any time."""
        with self._lock:
            share = Share(self)
            self._shares.append(share)
            told = self._settle()
        _tell(told)
        return share

    def leave(self, share: Share) -> None:
        """As `Share.leave`."""
        with self._lock:
            self._shares.remove(share)
            share.used_bytes = share.claimed_bytes = share.owes_bytes = 0
            told = self._settle()
        _tell(told)

    def is_there(self, share: Share) -> bool:
        """As `Share.is_there`."""
        with self._lock:
            used_bytes = sum(one.used_bytes for one in self._shares)
            return used_bytes - share.used_bytes + self.guaranteed_bytes <= self.total_bytes

    @property
    def equal_bytes(self) -> int:
        """What everybody may have, whatever the others want."""
        return self.total_bytes // max(len(self._shares), 1)

    @property
    def guaranteed_bytes(self) -> int:
        """What everybody may have at once; all of it if there is nobody to share with."""
        return self.equal_bytes // 2 if len(self._shares) > 1 else self.total_bytes

    def take(self, share: Share, size: int) -> bool:
        """As `Share.take`."""
        with self._lock:
            within = share.used_bytes + size <= self.guaranteed_bytes  # whatever others claim
            free_bytes = self.total_bytes - sum(one.used_bytes for one in self._shares)
            granted = size <= (free_bytes if within else self._available(share))
            if granted:
                share.used_bytes += size
                share.claimed_bytes = max(share.claimed_bytes - size, 0)
            elif share.used_bytes + size <= self.equal_bytes:
                missing = self.equal_bytes - share.used_bytes
                share.claimed_bytes = min(max(size, self.equal_bytes // _CLAIMED_AT_ONCE), missing)
            told = self._settle()
        _tell(told)
        return granted

    def give(self, share: Share, size: int) -> None:
        """As `Share.give`."""
        with self._lock:
            assert size <= share.used_bytes, "nobody gives what it does not have"
            share.used_bytes -= size
            told = self._settle()
        _tell(told)

    def _available(self, share: Share) -> int:
        """What is neither used nor kept for others."""
        kept = sum(self._kept_for(other) for other in self._shares if other is not share)
        return self.total_bytes - sum(one.used_bytes for one in self._shares) - kept

    def _kept_for(self, share: Share) -> int:
        return max(self.guaranteed_bytes - share.used_bytes, share.claimed_bytes, 0)

    def _settle(self) -> list[Share]:
        """Say who owes how much, whoever has most first; returns those who owe now and did not before."""
        wanted = sum(share.used_bytes + self._kept_for(share) for share in self._shares)
        missing = max(wanted - self.total_bytes, 0)
        told = []
        for share in sorted(self._shares, key=lambda one: one.used_bytes, reverse=True):
            owed = min(max(share.used_bytes - self.equal_bytes, 0), missing)
            missing -= owed
            if owed and not share.owes_bytes:
                told.append(share)
            share.owes_bytes = owed
        return told


class Share:
    """What one model has of the budget. `owes_bytes` may be read from any thread without a lock."""

    def __init__(self, budget: StateBudget) -> None:
        self._budget = budget
        self.used_bytes = self.claimed_bytes = self.owes_bytes = 0
        self.on_owing: Callable[[], None] = _nothing
        """Called, on whatever thread, when this share begins to owe; must not block."""

    @property
    def total_bytes(self) -> int:
        """The most that it may ever have: the whole budget, while nobody else wants any."""
        return self._budget.total_bytes

    @property
    def guaranteed_bytes(self) -> int:
        """What it may have at once, whatever the others do."""
        return self._budget.guaranteed_bytes

    def take(self, size: int) -> bool:
        """Use so many bytes more; whether that is granted. If not, it may be later, and waiting is of no use."""
        return self._budget.take(self, size)

    def give(self, size: int) -> None:
        """Use so many bytes less."""
        self._budget.give(self, size)

    @property
    def is_there(self) -> bool:
        """Whether what is guaranteed can be taken at once: false for a while after joining those who use it all."""
        return self._budget.is_there(self)

    def leave(self) -> None:
        """Use nothing any more, and share no longer. Called once, last."""
        self._budget.leave(self)


def _tell(shares: list[Share]) -> None:
    for share in shares:
        share.on_owing()


def _nothing() -> None:
    """Nobody listens."""
