"""Recent visits: those near in time, and never too many."""

from hypothesis import given
from hypothesis import strategies as st

from sendback.agents import OtherVisit
from sendback.finishing.history import History
from sendback.model import VisitKind


def seen(time_ms: int) -> OtherVisit:
    return OtherVisit(time_ms, VisitKind.CLICK)


def test_others_are_of_the_same_message_and_near_in_time() -> None:
    history = History(span_ms=1000)
    visits = [seen(at) for at in (0, 900, 1900, 5000)]
    for visit in visits:
        history.add(b"a", visit)
    history.add(b"b", seen(900))

    assert history.others(b"a", visits[1]) == [visits[0], visits[2]]
    assert history.others(b"c", seen(0)) == []


def test_a_visit_that_comes_again_is_there_once() -> None:
    history = History()
    again = seen(5)
    history.add(b"a", seen(5))
    history.add(b"a", again, is_again=True)

    assert history.others(b"a", again) == []


@given(st.lists(st.tuples(st.sampled_from(list(range(12))), st.booleans()), max_size=300))
def test_it_never_grows_beyond_its_bounds(coming) -> None:
    history = History(messages=5, visits=40)
    for at, (name, is_again) in enumerate(coming):
        history.add(bytes([name]), seen(at), is_again=is_again)
        held = history._visits
        assert len(held) <= 5
        assert sum(map(len, held.values())) == history._count <= 40
    if coming:
        assert bytes([coming[-1][0]]) in history._visits  # the newest is never the one to go
