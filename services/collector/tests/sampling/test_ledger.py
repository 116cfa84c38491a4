"""The rules of the ledger, one by one; test_accounting runs them all on a simulated kernel."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.sampling.ledger import Ledger, Vanished

TICK = 10
TOLERATED = 4 * TICK
LIVING = {1: "pause", 2: "a", 3: "b", 9: "collector"}
WITHOUT = frozenset({"pause", "collector"})


class Book:
    """A ledger with the processes of ``LIVING``: 1 is the reaper, 2 and 3 are two containers."""

    def __init__(self, ignoring: frozenset[int] = frozenset()) -> None:
        self.asked: list[int] = []
        self._ignoring = ignoring
        self._ledger: Ledger[str] = Ledger(TICK, 1, self._ignores)

    def _ignores(self, pid: int) -> bool:
        self.asked.append(pid)
        return pid in self._ignoring

    def settle(
        self,
        own: Mapping[str, int] | None = None,
        waited: Mapping[int, int] | None = None,
        gone: tuple[Vanished[str], ...] = (),
        living: Mapping[int, str] = LIVING,
        without: frozenset[str] = WITHOUT,
        zombies: frozenset[int] = frozenset(),
        without_children: frozenset[int] = frozenset(),
        sole: str | None = None,
    ) -> dict[str, int]:
        """Settle one scan."""
        return self._ledger.settle(
            own or {}, waited or {}, gone, living, without, zombies, sole, without_children
        )

    def take_unassigned(self) -> int:
        """Take what could not be assigned."""
        return self._ledger.take_unassigned()


@pytest.fixture
def book() -> Book:
    """Return a ledger in which no process ignores its children."""
    return Book()


def test_growth_of_the_living_is_credited(book: Book) -> None:
    """What living processes used goes to their groups; nothing used is not listed."""
    assert book.settle(own={"a": 70, "b": 0}) == {"a": 70}
    assert book.settle() == {}


def test_children_never_seen_come_in_with_their_parent(book: Book) -> None:
    """What a parent waited for is credited to its group."""
    assert book.settle(own={"a": 1}, waited={2: 500, 3: 20}) == {"a": 501, "b": 20}


def test_children_seen_are_subtracted(book: Book) -> None:
    """Of a child that was credited while it lived only the rest comes in."""
    assert book.settle(waited={2: 500}, gone=(Vanished(50, 2, "a", 480),)) == {"a": 20}


def test_the_nearest_living_ancestor_has_it_all(book: Book) -> None:
    """Of a tree that ended, the living process above it brings in everything."""
    gone = (Vanished(50, 2, "a", 100), Vanished(51, 50, "a", 30), Vanished(52, 51, "a", 7))
    assert book.settle(waited={2: 150}, gone=gone) == {"a": 13}


def test_a_loop_of_parents_ends(book: Book) -> None:
    """Ancestry that runs in circles (pids used again) is given up."""
    gone = (Vanished(50, 51, "a", 100), Vanished(51, 50, "a", 30))
    assert book.settle(own={"b": 5}, gone=gone) == {"b": 5}


def test_a_missing_part_is_carried_as_debt(book: Book) -> None:
    """A child that vanished before its time arrived is subtracted when it does arrive."""
    assert book.settle(own={"a": 10}, gone=(Vanished(50, 2, "a", 300),)) == {"a": 10}
    assert book.settle(own={"a": 10}, waited={2: 320}) == {"a": 30}


def test_debt_is_kept_per_group(book: Book) -> None:
    """A debt is paid from other processes of the same group only."""
    living = {**LIVING, 4: "a"}
    gone = (Vanished(50, 2, "a", 30),)
    assert book.settle(waited={4: 50, 3: 50}, gone=gone, living=living) == {"a": 20, "b": 50}


def test_debt_beyond_four_ticks_is_forgotten_after_two_scans(book: Book) -> None:
    """A debt that is not paid within two scans is cut down to four ticks of rounding."""
    assert book.settle(gone=(Vanished(50, 2, "a", 900),)) == {}
    assert book.settle() == {}
    assert book.settle() == {}
    assert book.settle(waited={2: 100}) == {"a": 100 - TOLERATED}


def test_debt_within_two_scans_is_whole(book: Book) -> None:
    """In the second scan after it arose a debt is still subtracted as a whole."""
    book.settle(gone=(Vanished(50, 2, "a", 900),))
    book.settle()
    assert book.settle(waited={2: 901}) == {"a": 1}


def test_debt_begins_anew_after_it_was_cut(book: Book) -> None:
    """A new debt after an old one was cut down is kept for two scans of its own."""
    book.settle(gone=(Vanished(50, 2, "a", 900),))
    book.settle()
    book.settle()
    book.settle(gone=(Vanished(51, 2, "a", 900),))
    book.settle()
    assert book.settle(waited={2: 900 + TOLERATED + 10}) == {"a": 10}


def test_debt_begins_anew_after_it_was_paid(book: Book) -> None:
    """A debt that was paid to the nanosecond leaves no age behind."""
    gone = (Vanished(50, 2, "a", 900),)
    book.settle(gone=gone)
    assert book.settle(waited={2: 900}) == {}
    book.settle(gone=gone)
    book.settle()
    assert book.settle(waited={2: 910}) == {"a": 10}
    book.settle(gone=gone)
    assert book.settle(waited={2: 901}) == {"a": 1}
    book.settle(gone=gone)
    book.settle()
    assert book.settle(waited={2: 910}) == {"a": 10}


def test_a_debt_is_of_one_group(book: Book) -> None:
    """If the reaper waited for nothing, no other group pays a debt."""
    book.settle(gone=(Vanished(50, 2, "a", 300),))
    assert book.settle(own={"b": 1000, "a": 10}, waited={2: 320}) == {"b": 1000, "a": 30}


def test_who_ignores_children_gets_nothing_of_them() -> None:
    """Direct children of a process that ignores SIGCHLD are not expected to arrive."""
    book = Book(ignoring=frozenset({2}))
    assert book.settle(own={"a": 5}, gone=(Vanished(50, 2, "a", 500),)) == {"a": 5}
    assert book.settle(waited={2: 60}) == {"a": 60}  # no debt is left


def test_children_of_a_process_whose_childrens_time_is_unknown(book: Book) -> None:
    """What was credited to them while they lived stays, and makes no debt."""
    gone = (Vanished(50, 2, "a", 400), Vanished(51, 50, "a", 300))
    assert book.settle(own={"a": 90}, gone=gone, without_children=frozenset({2})) == {"a": 90}
    assert book.settle(own={"a": 20}) == {"a": 20}


def test_who_ignores_children_gains_nothing_by_it() -> None:
    """If most of a child's time still arrives, none of it is credited twice."""
    book = Book(ignoring=frozenset({2}))
    gone = (Vanished(50, 2, "a", 500),)
    assert book.settle(waited={2: 500 - TOLERATED - 10}, gone=gone) == {}
    assert book.settle(waited={2: 7}) == {"a": 7}


def test_who_ignores_several_children_gets_nothing_of_any() -> None:
    """All direct children that ended in one scan are forgiven."""
    book = Book(ignoring=frozenset({2}))
    book.settle(gone=(Vanished(50, 2, "a", 300), Vanished(51, 2, "a", 400)))
    assert book.settle(waited={2: 60}) == {"a": 60}


def test_signals_are_looked_at_only_when_much_is_missing(book: Book) -> None:
    """Within four ticks, or if all has arrived, no signal masks are read."""
    book.settle(waited={2: 500}, gone=(Vanished(50, 2, "a", 500 + TOLERATED),))
    assert book.asked == []
    book.settle(gone=(Vanished(51, 2, "a", TOLERATED + 1),))
    assert book.asked == [2]


def test_orphans_count_to_their_own_groups(book: Book) -> None:
    """The time of the reaper's children counts to the groups of those that vanished."""
    gone = (Vanished(50, 1, "a", 300), Vanished(51, 1, "b", 100))
    found = book.settle(own={"b": 1000}, waited={1: 800}, gone=gone)
    assert found == {"a": 300, "b": 1100}


def test_orphans_of_one_group_weigh_together(book: Book) -> None:
    """Two orphans of a group have the weight of both."""
    gone = (Vanished(50, 1, "a", 300), Vanished(51, 1, "a", 100), Vanished(52, 1, "b", 400))
    assert book.settle(waited={1: 1200}, gone=gone) == {"a": 200, "b": 200}


def test_unseen_orphans_count_by_activity(book: Book) -> None:
    """Without an orphan that was seen, groups share by what they used, children included."""
    found = book.settle(own={"a": 100}, waited={1: 400, 3: 300})
    assert found == {"a": 200, "b": 600}


def test_reaper_and_collector_take_no_orphans(book: Book) -> None:
    """Groups that are left out get nothing, however active they are."""
    found = book.settle(own={"pause": 900, "collector": 50, "a": 1}, waited={1: 400})
    assert found == {"pause": 900, "collector": 50, "a": 401}


def test_reaper_and_collector_take_orphans_where_the_job_lives_with_them(book: Book) -> None:
    """A group that holds other processes is not left out."""
    assert book.settle(own={"pause": 1}, waited={1: 400}, without=frozenset()) == {"pause": 401}


def test_orphans_wait_while_nobody_is_active(book: Book) -> None:
    """Time that cannot be assigned is kept for the next scan."""
    assert book.settle(waited={1: 400}) == {}
    assert book.settle(own={"a": 1}) == {"a": 401}
    assert book.settle(own={"a": 1}) == {"a": 1}


def test_orphans_of_several_scans_add_up(book: Book) -> None:
    """What was kept is given away together with what comes in later."""
    assert book.settle(waited={1: 400}) == {}
    assert book.settle(own={"a": 1}, waited={1: 100}) == {"a": 501}


def test_what_is_left_at_the_end_is_taken_once(book: Book) -> None:
    """Time that could not be assigned is taken at the end, and not assigned afterwards."""
    book.settle(waited={1: 400})
    assert book.take_unassigned() == 400
    assert book.take_unassigned() == 0
    assert book.settle(own={"a": 1}) == {"a": 1}


def test_one_group_gets_all_of_the_reaper(book: Book) -> None:
    """It goes to that group whatever vanished or was active, and also if it is left out else."""
    gone = (Vanished(50, 1, "b", 100),)
    found = book.settle(own={"b": 9}, waited={1: 400}, gone=gone, sole="pause")
    assert found == {"b": 9, "pause": 300}


def test_one_group_gets_what_was_not_assigned_before(book: Book) -> None:
    """Once there is one group alone, earlier time goes to it, once."""
    book.settle(waited={1: 400})
    assert book.settle(sole="a") == {"a": 400}
    assert book.settle(sole="a") == {}
    assert book.take_unassigned() == 0


def test_one_group_also_owes_what_the_reaper_lacks(book: Book) -> None:
    """A child of pid 1 that vanished before its time arrived is subtracted when it does."""
    book.settle(gone=(Vanished(50, 1, "a", 300),), sole="a")
    assert book.settle(waited={1: 320}, sole="a") == {"a": 20}


def test_the_reaper_repays_others_before_its_own_group(book: Book) -> None:
    """An orphan of another group that ended with its parent is not counted to pid 1 again."""
    gone = (Vanished(50, 3, "b", 0), Vanished(51, 50, "b", 500))
    assert book.settle(waited={1: 520}, gone=gone, sole="a") == {"a": 20}


@pytest.mark.parametrize(("unknown", "found"), [(2, {"b": 20}), (3, {"a": 50})])
def test_children_that_cannot_be_read_cost_others_nothing(
    book: Book, unknown: int, found: dict[str, int]
) -> None:
    """Beside a process whose children's time is unknown, the children of others are counted."""
    assert book.settle(waited={2: 50, 3: 20}, without_children=frozenset({unknown})) == found


def test_activity_is_counted_exactly(book: Book) -> None:
    """One nanosecond of its own and three of children: shares of one and three."""
    assert book.settle(own={"a": 1}, waited={1: 400, 3: 3}) == {"a": 101, "b": 303}


def test_what_a_living_parent_will_bring_in_the_reaper_does_not_repay(book: Book) -> None:
    """A child of a living process arrives there later: what the reaper brings in is of others."""
    gone = (Vanished(50, 2, "a", 500),)
    assert book.settle(own={"b": 10}, waited={1: 300}, gone=gone) == {"b": 310}
    assert book.settle(waited={2: 520}) == {"a": 20}


def test_what_a_zombie_did_not_bring_in_the_reaper_repays(book: Book) -> None:
    """Children of a process that has ended may have reached the reaper: they count once."""
    gone = (Vanished(50, 2, "a", 500),)
    zombies = frozenset({2})
    assert book.settle(own={"b": 10}, waited={1: 500}, gone=gone, zombies=zombies) == {"b": 10}
    assert book.settle(waited={2: 100}) == {"a": 100}


def test_the_reaper_repays_what_its_orphans_owe(book: Book) -> None:
    """A grandchild collected by the reaper, not by its living ancestor, counts once."""
    gone = (Vanished(50, 2, "a", 0), Vanished(51, 50, "a", 500))
    assert book.settle(own={"b": 10}, waited={1: 520}, gone=gone) == {"b": 30}
    assert book.settle(waited={2: 100}) == {"a": 100}


def test_the_reaper_repays_what_it_owed_before(book: Book) -> None:
    """An orphan that vanished one scan before its time arrives counts once."""
    assert book.settle(own={"b": 10}, gone=(Vanished(50, 1, "a", 500),)) == {"b": 10}
    assert book.settle(own={"b": 10}, waited={1: 500}) == {"b": 10}
    assert book.settle(waited={2: 100}) == {"a": 100}


def test_the_reaper_repays_old_and_new(book: Book) -> None:
    """What a group owes from before, and what it lacks now, are repaid together."""
    book.settle(gone=(Vanished(50, 2, "a", 500),))
    gone = (Vanished(60, 2, "a", 0), Vanished(61, 60, "a", 100))
    assert book.settle(own={"b": 10}, waited={1: 600}, gone=gone) == {"b": 10}
    assert book.settle(waited={2: 100}) == {"a": 100}


def test_the_reaper_repays_a_nanosecond(book: Book) -> None:
    """A lack of one nanosecond is repaid as well."""
    gone = (Vanished(50, 2, "a", 0), Vanished(51, 50, "a", 1))
    assert book.settle(own={"b": 10}, waited={1: 1}, gone=gone) == {"b": 10}


def test_a_nanosecond_below_a_lost_root(book: Book) -> None:
    """One nanosecond is not counted a second time."""
    gone = (Vanished(50, 0, "a", 5), Vanished(51, 50, "a", 1))
    assert book.settle(own={"b": 10}, waited={1: 1}, gone=gone) == {"b": 10}


def test_all_that_vanished_below_a_lost_root_is_not_counted_again(book: Book) -> None:
    """The credit of several descendants is subtracted as one sum."""
    gone = (Vanished(50, 0, "a", 5), Vanished(51, 50, "a", 100), Vanished(52, 50, "a", 200))
    assert book.settle(own={"b": 10}, waited={1: 310}, gone=gone) == {"b": 20}


def test_what_vanished_below_a_lost_root_is_not_counted_again(book: Book) -> None:
    """Of a container whose root ended, the reaper brings in only what is not credited yet."""
    gone = (Vanished(50, 0, "a", 5), Vanished(51, 50, "a", 300))
    assert book.settle(own={"b": 10}, waited={1: 310}, gone=gone) == {"b": 20}


def test_sharing_loses_nothing(book: Book) -> None:
    """Shares that do not divide evenly add up to the whole."""
    found = book.settle(own={"a": 1, "b": 1, "c": 1}, waited={1: 100})
    assert sum(found.values()) == 103


_PIDS = st.integers(0, 12)
_SCAN = st.tuples(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 1000)),
    st.dictionaries(st.sampled_from([1, 2, 3, 9]), st.integers(0, 1000)),
    st.lists(
        st.builds(Vanished, _PIDS, _PIDS, st.sampled_from("abc"), st.integers(0, 1000)), max_size=6
    ),
)


@given(st.lists(_SCAN, max_size=8), st.frozensets(st.sampled_from([1, 2, 3])))
def test_credits_are_never_negative_and_never_above_what_came_in(
    scans: list[tuple[dict[str, int], dict[int, int], list[Vanished[str]]]],
    ignoring: frozenset[int],
) -> None:
    """Whatever the machine says, no group is credited less than nothing, nor all too much."""
    book = Book(ignoring)
    came_in = credited = 0
    for own, waited, gone in scans:
        found = book.settle(own, waited, tuple(gone))
        came_in += sum(own.values()) + sum(waited.values())
        for group, used in found.items():
            assert used >= own.get(group, 0)
        credited += sum(found.values())
        assert credited <= came_in
