"""Admission, rates, paths, frames, answers: what decides, without any I/O."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.answers import STATUS, answer_of
from arint.calls import frames
from arint.calls.admission import FEW, Admission
from arint.calls.frames import Answered, Call, Cancel, Credit, Failed, FrameError, Hello, Leaving, Part, Reader, Refused
from arint.calls.rate import Rate
from arint.calls.sockets import group_of
from arint.errors import ArintError, MalformedError, MessageError, NobodyError, RejectedError, SystemUnavailableError
from arint.failures import Told, error_of, tell
from arint.message import Message
from arint.statuses import status_of
from plugins.http.paths import Paths, segments_of

octets = st.binary(max_size=300)
values = st.integers(-2**63, 2**64 - 1) | st.text() | st.lists(st.booleans()) | st.none()
messages = st.builds(Message, id=st.text(max_size=30), body=octets,
                     headers=st.dictionaries(st.text(), st.text(), max_size=3),
                     variables=st.dictionaries(st.text(), values, max_size=3))
numbers = st.integers(0, 2**40)
every_frame = st.one_of(
    st.builds(Call, numbers, st.text(), st.floats(0, 1e6), messages, st.booleans()),
    st.builds(Answered, numbers, st.none() | octets, st.text(), st.none() | st.dictionaries(st.text(), st.text()),
              st.none(), st.booleans()),
    st.builds(Failed, numbers, st.builds(Told, st.text(), st.text())), st.builds(Part, numbers, octets, st.booleans()),
    st.builds(Credit, numbers, numbers), st.builds(Cancel, numbers), st.builds(Refused, numbers),
    st.builds(Hello, st.text(), numbers, st.booleans()), st.builds(Leaving))


@settings(max_examples=200)
@given(st.lists(every_frame, max_size=8), st.lists(st.integers(1, 200), max_size=40))
def test_frames_are_read_in_whatever_pieces_they_come(sent: list[frames.Frame], cuts: list[int]) -> None:
    data = b"".join(map(frames.encode, sent))
    reader, found = Reader(), []
    for size in [*cuts, len(data)]:
        found += reader.feed(data[:size])
        data = data[size:]
    assert found == sent


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=50), max_size=10))
def test_what_is_no_frame_is_told_and_never_a_crash(pieces: list[bytes]) -> None:
    reader = Reader()
    try:
        for piece in pieces:
            reader.feed(piece)
    except FrameError:
        pass


def test_a_length_beyond_all_bounds_is_refused_before_it_is_waited_for() -> None:
    with pytest.raises(FrameError, match="at most"):
        Reader().feed((frames.LARGEST + 1).to_bytes(4, "little"))
    reader = Reader()
    assert reader.feed(b"\xff\xff") == []
    with pytest.raises(FrameError, match="at most"):
        reader.feed(b"\xff\xff")


def busy(admission: Admission, count: int, a_second: float, seconds: float) -> float:
    """Keep `count` under way at this pace; the time at the end."""
    for _ in range(count):
        admission.begin(0.0)
    now = 0.0
    for number in range(int(a_second * seconds)):
        now = number / a_second
        admission.end(now)
        admission.begin(now)
    return now


def test_a_burst_is_taken_and_a_queue_that_would_be_too_long_is_not() -> None:
    admission = Admission()
    now = busy(admission, 100, 50.0, 3.0)
    assert admission.refused_for(0.1, 0.5) == 0.0
    assert admission.refused_for(now, 10.0) == 0.0
    assert admission.refused_for(now, 1.0) >= 1.0
    admission.most = 100
    assert admission.refused_for(now, 10.0) >= 1.0


def test_a_target_that_stands_still_is_given_little_and_is_tried_again() -> None:
    admission = Admission()
    now = busy(admission, 50, 1000.0, 2.0)
    assert admission.refused_for(now, 1.0) == 0.0
    for second in range(1, 4):
        wait = admission.refused_for(now + second, 1.0)
    assert wait == 30.0
    for _ in range(50):
        admission.end(now + 4, answered=False)
    assert [admission.refused_for(now + 5, 1.0)] == [0.0]


@settings(max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3), st.floats(0.01, 10)), max_size=200))
def test_few_are_always_taken_and_never_more_than_most(steps: list[tuple[bool, float, float]]) -> None:
    admission, now = Admission(), 0.0
    admission.most = 40
    for ends, later, left in steps:
        now += later
        if ends and admission.in_flight:
            admission.end(now)
        elif not (wait := admission.refused_for(now, left)):
            admission.begin(now)
        else:
            assert admission.in_flight >= FEW
            assert 1.0 <= wait <= 30.0
        assert 0 <= admission.in_flight <= 40


@settings(max_examples=100)
@given(st.sampled_from(["3/s", "10/s", "60/m"]), st.lists(st.floats(0, 0.7), max_size=100))
def test_a_rate_holds_in_every_period_and_what_it_refuses_may_come_later(text: str, pauses: list[float]) -> None:
    rate, now, taken = Rate(text), 0.0, []
    count, period = int(text.partition("/")[0]), {"s": 1.0, "m": 60.0}[text[-1]]
    for pause in pauses:
        now += pause
        wait = rate.refused_for(now)
        if not wait:
            taken.append(now)
        else:
            assert rate.refused_for(now + wait + 1e-6) == 0.0
            now += wait + 1e-6
            taken.append(now)
    for start in taken:
        # At once as many as the rate says, and what comes due meanwhile
        assert len([at for at in taken if start <= at < start + period]) <= 2 * count


def test_paths_with_parameters() -> None:
    paths = Paths[str]()
    for path in ("/orders", "/orders/{id}", "/orders/new", "/orders/{id}/lines", "/{any}/new/lines"):
        paths.put(path, path)
    assert paths.find("/orders") == ("/orders", ())
    assert paths.find("/orders/7") == ("/orders/{id}", ("7",))
    assert paths.find("/orders/new") == ("/orders/new", ())
    assert paths.find("/orders/new/lines") == ("/orders/{id}/lines", ("new",))
    assert paths.find("/else/new/lines") == ("/{any}/new/lines", ("else",))
    assert paths.find("/orders/a/b", "/orders/a%2Fb") == ("/orders/{id}", ("a/b",))
    for nothing in ("/orders/", "/else", "/orders/7/lines/8", "", "/"):
        assert paths.find(nothing) is None
    assert paths.get("/orders/{other}") == "/orders/{id}"
    for wrong in ("/a{b}", "/{a}/{a}", "/{}", "/{a b}", "/}"):
        with pytest.raises(ValueError, match="path"):
            segments_of(wrong)


def test_an_answer_holds_what_was_set_on_the_way() -> None:
    asked = Message.new(b"in", headers={"a": "1", "b": "2"})
    after = Message(id=asked.id, body=b"out", headers={"a": "1", "b": "3", STATUS: "201", "connection": "close"})
    found = answer_of(asked, after)
    assert (found.status, found.body, found.headers) == (201, b"out", {"b": "3"})
    assert answer_of(asked, asked).status == 200
    assert answer_of(asked, asked, returned=False).status == 204
    for no_status in ("", "abc", "99", "1000"):
        assert answer_of(asked, Message(body=b"x", headers={STATUS: no_status})).status == 200


@pytest.mark.parametrize("error", [
    RejectedError("no", where="body.id"), MalformedError("no JSON"), NobodyError("gone", remedy="wait"),
    SystemUnavailableError("away", retry_after=3.5), MessageError("x")])
def test_errors_are_the_same_on_the_other_side(error: ArintError) -> None:
    again = error_of(tell(error))
    assert type(again) is type(error)
    assert (str(again), status_of(again)) == (str(error), status_of(error))


def test_what_users_raise_is_told_inside_and_not_outside() -> None:
    class NoStockError(RejectedError):
        pass

    assert type(error_of(tell(NoStockError("none left")))) is RejectedError
    again = error_of(tell(KeyError("inner")))
    assert "KeyError" in str(again)
    assert "inner" not in status_of(again).detail
    assert status_of(error_of(tell(TimeoutError()))).code == 504
    assert status_of(RejectedError("no id", where="body.lines")).detail == "body.lines: no id"


def test_whose_sockets_answer() -> None:
    assert group_of("service=price") == "service.price"
    assert group_of("orders") == "runner.runner"
