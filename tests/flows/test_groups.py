"""What belongs together, and when it is complete."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arint.flows.groups import Groups, Member, Rule

arrivals = st.lists(st.tuples(st.floats(0, 20), st.sampled_from("abc"), st.integers(1, 3)), max_size=60)


def member(sequence, at, **more):
    return Member(sequence, at, 10, sequence, **more)


@given(arrivals, st.integers(0, 5), st.floats(0.5, 30))
def test_each_member_is_in_exactly_one_group_and_none_is_kept_for_ever(gaps, size, after):
    groups, now, made = Groups(Rule(size, after)), 0.0, []

    def settle(now):
        for group in list(groups.due(now)):
            groups.take(group)
            made.append((group, "time", now))

    for sequence, (gap, key, weight) in enumerate(gaps):
        now += gap
        settle(now)
        group = groups.add(key, member(sequence, now, weight=weight))
        if (reason := group.reason(groups.rule)) is not None:
            groups.take(group)
            made.append((group, reason, now))
    while (due := groups.next_due) is not None:
        assert due >= now
        settle(now := due)
    assert not groups.open
    sequences = [sequence for group, _, _ in made for sequence in group.members]
    assert sorted(sequences) == list(range(len(gaps)))
    for group, reason, at in made:
        assert len({gaps[sequence][1] for sequence in group.members}) == 1
        if reason == "time":
            assert not size or group.weight < size
            assert abs(at - (group.since + after)) < 20.001
        else:
            assert reason == "size" and group.weight >= size and group.weight - max(
                one.weight for one in group.members.values()) < size


@given(st.permutations(range(8)), st.integers(0, 7))
def test_a_split_is_complete_with_its_last_part_and_in_the_order_of_its_parts(order, taken):
    groups = Groups(Rule(0, 60.0))
    for sequence, index in enumerate(order):
        group = groups.add("k", Member(sequence, 1.0, 10, index, expected=8))
        assert (group.reason(groups.rule) == "split") == (sequence == 7)
    assert [one.order for one in group.in_order] == list(range(8))
    assert group.reason(groups.rule) == "split"


def test_a_group_that_grows_too_large_is_complete():
    groups = Groups(Rule(0, 60.0))
    group = groups.add("", Member(1, 1.0, 3 * 2**20, 1))
    assert group.reason(groups.rule) is None
    groups.add("", Member(2, 1.0, 2 * 2**20, 2))
    assert group.reason(groups.rule) == "full"


def test_the_time_counts_from_the_first_member_whatever_comes_before_it():
    groups = Groups(Rule(0, 10.0))
    groups.add("a", member(2, 105.0))
    assert groups.next_due == 115.0
    groups.add("a", member(1, 100.0))
    assert groups.next_due == 110.0
    assert [group.key for group in groups.due(110.0)] == ["a"]


@given(arrivals, st.floats(0.5, 10), st.data())
def test_how_late_messages_are_looked_at_changes_no_group(gaps, after, data):
    stored, now = [], 0.0
    for gap, key, _ in gaps:
        now += gap
        stored.append((now, key))

    def made(looks):
        """The groups, where after each message of `looks` the watch looks at the time."""
        groups, found = Groups(Rule(0, after)), []

        def complete(group):
            groups.take(group)
            found.append(tuple(group.members))

        for sequence, (at, key) in enumerate(stored):
            if (late := groups.expired(key, at)) is not None:
                complete(late)
            groups.add(key, member(sequence, at))
            if sequence in looks:
                for group in list(groups.due(at)):
                    complete(group)
        for group in groups.open:
            complete(group)
        return sorted(found)

    looks = data.draw(st.sets(st.integers(0, len(stored))))
    assert made(looks) == made(set())
