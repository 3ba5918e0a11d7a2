"""One budget for several models: what is granted, what is kept for others, and who has to give back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.engine.budget import Share, StateBudget

TOTAL = 960


def test_a_model_alone_has_all_of_it() -> None:
    share = StateBudget(TOTAL).join()
    assert share.guaranteed_bytes == share.total_bytes == TOTAL
    assert share.take(TOTAL)
    assert not share.take(1)
    assert share.owes_bytes == 0


def test_what_others_do_not_use_is_borrowed_but_for_half_of_their_share() -> None:
    budget = StateBudget(TOTAL)
    one, _two = budget.join(), budget.join()
    assert one.take(TOTAL - 240)
    assert not one.take(1)


def test_a_newcomer_has_its_guaranteed_share_at_once_and_the_borrower_owes_it_the_rest() -> None:
    budget = StateBudget(TOTAL)
    one, two = budget.join(), budget.join()
    told: list[str] = []
    one.on_owing = lambda: told.append("one")
    assert one.take(720)
    assert two.take(240)
    assert told == []
    assert not two.take(60)
    assert (told, one.owes_bytes, two.owes_bytes) == (["one"], 60, 0)
    one.give(60)
    assert one.owes_bytes == 0
    assert not one.take(60), "what was given back is kept for who claimed it"
    assert two.take(60)


def test_nobody_owes_to_one_that_has_its_equal_share() -> None:
    budget = StateBudget(TOTAL)
    one, two = budget.join(), budget.join()
    assert one.take(480) and two.take(480)
    assert not one.take(1) and not two.take(1)
    assert one.owes_bytes == two.owes_bytes == 0


@given(st.lists(st.integers(0, TOTAL), min_size=2, max_size=5))
def test_the_one_with_most_beyond_its_own_pays_first(wishes: list[int]) -> None:
    budget = StateBudget(TOTAL)
    shares = [budget.join() for _ in wishes]
    for share, wish in zip(shares, wishes, strict=True):
        for _ in range(wish // 10):
            share.take(10)
    owing = [share for share in shares if share.owes_bytes]
    for debtor in owing:
        assert all(
            other.used_bytes <= debtor.used_bytes or other.owes_bytes == other.used_bytes - budget.equal_bytes
            for other in shares
        )


class SharedBudget(RuleBasedStateMachine):
    """Any takes and gives, beside a model that only adds up."""

    @initialize(members=st.integers(1, 4))
    def join(self, members: int) -> None:
        self.budget = StateBudget(TOTAL)
        self.shares = [self.budget.join() for _ in range(members)]
        self.used = [0] * members
        self.told = [0] * members
        for share in self.shares:
            share.on_owing = lambda share=share: self.tell(self.shares.index(share))  # type: ignore[misc]  # binds it

    def tell(self, number: int) -> None:
        self.told[number] += 1

    @rule(number=st.integers(0, 3), size=st.integers(1, TOTAL))
    def take(self, number: int, size: int) -> None:
        number %= len(self.shares)
        share, free = self.shares[number], TOTAL - sum(self.used)
        granted = share.take(size)
        if granted:
            assert size <= free
            self.used[number] += size
        else:
            assert self.used[number] + size > share.guaranteed_bytes or size > free

    @rule(number=st.integers(0, 3), part=st.floats(0, 1))
    def give(self, number: int, part: float) -> None:
        number %= len(self.shares)
        size = int(self.used[number] * part)
        self.shares[number].give(size)
        self.used[number] -= size

    @rule()
    def join_late(self) -> None:
        if len(self.shares) == 4:
            return
        self.shares.append(self.budget.join())
        self.used.append(0)
        self.told.append(0)
        late = self.shares[-1]
        late.on_owing = lambda: self.tell(self.shares.index(late))

    @precondition(lambda self: len(self.shares) > 1)
    @rule(number=st.integers(0, 3))
    def leave(self, number: int) -> None:
        number %= len(self.shares)
        self.shares.pop(number).leave()
        del self.used[number], self.told[number]

    @rule()
    def pay(self) -> None:
        for number, share in enumerate(self.shares):
            self.used[number] -= share.owes_bytes
            share.give(share.owes_bytes)

    @rule(number=st.integers(0, 3))
    def once_all_debts_are_paid_a_claim_is_granted(self, number: int) -> None:
        number %= len(self.shares)
        if self.used[number] + 10 > self.budget.equal_bytes or self.take_ten(number):
            return
        for debtor, share in enumerate(self.shares):
            assert not share.owes_bytes or self.told[debtor]
            self.used[debtor] -= share.owes_bytes
            share.give(share.owes_bytes)
        assert self.take_ten(number)

    def take_ten(self, number: int) -> bool:
        granted = self.shares[number].take(10)
        self.used[number] += 10 * granted
        return granted

    @invariant()
    def the_sums_agree_and_are_within_the_budget(self) -> None:
        assert [share.used_bytes for share in self.shares] == self.used
        assert sum(self.used) <= TOTAL

    @invariant()
    def only_borrowers_owe_and_only_what_they_borrowed(self) -> None:
        for share in self.shares:
            assert 0 <= share.owes_bytes <= max(share.used_bytes - self.budget.equal_bytes, 0)

    @invariant()
    def everybody_can_have_its_guaranteed_share_once_all_debts_are_paid(self) -> None:
        free = TOTAL - sum(self.used) + sum(share.owes_bytes for share in self.shares)
        assert sum(max(share.guaranteed_bytes - share.used_bytes, 0) for share in self.shares) <= free

    @invariant()
    def who_is_there_has_room_for_all_that_is_its_right(self) -> None:
        for share in self.shares:
            missing = share.guaranteed_bytes - share.used_bytes
            assert not share.is_there or missing <= TOTAL - sum(self.used)


TestSharedBudget = SharedBudget.TestCase


def test_who_joins_late_waits_until_those_who_have_too_much_have_paid() -> None:
    budget = StateBudget(TOTAL)
    one = budget.join()
    told: list[str] = []
    one.on_owing = lambda: told.append("one")
    assert one.take(TOTAL)
    two = budget.join()
    assert (told, one.owes_bytes, two.is_there) == (["one"], 240, False)
    assert not two.take(10), "the sum never exceeds the budget"
    one.give(one.owes_bytes)
    assert two.is_there and two.take(240)
    assert one.owes_bytes == 0


def test_what_somebody_had_who_leaves_is_everybody_s() -> None:
    budget = StateBudget(TOTAL)
    one, two = budget.join(), budget.join()
    assert one.take(480) and two.take(480)
    assert not one.take(10)
    assert one.claimed_bytes == 0 and two.owes_bytes == 0
    two.leave()
    assert one.guaranteed_bytes == TOTAL
    assert one.take(480)


def test_no_more_is_given_than_was_taken() -> None:
    share: Share = StateBudget(TOTAL).join()
    with pytest.raises(AssertionError, match="does not have"):
        share.give(1)
