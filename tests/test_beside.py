"""What is fed arrives in order and once, and a failure on either side reaches the other."""

import threading

import hypothesis.strategies as st
import pytest
from hypothesis import given

from relane.io.prefetch import Cut, ahead, feeding


@given(st.lists(st.integers()), st.integers(1, 4))
def test_a_consumer_gets_every_item_in_order(items, ahead):
    got = []
    with feeding(got.extend, ahead) as feed:
        for item in items:
            feed(item)
    assert got == items


def test_a_producer_is_never_further_in_front_than_it_may_be():
    go, in_front, fed = threading.Event(), [], []

    def consume(items):
        go.wait(10)
        for count, _ in enumerate(items):
            in_front.append(len(fed) - count)

    with feeding(consume, ahead=3) as feed:
        for number in range(40):
            feed(number)
            fed.append(number)
            if number == 2:
                go.set()
    assert max(in_front) <= 3 + 1


def test_a_consumer_whose_producer_fails_is_cut_off():
    ends = []

    def consume(items):
        try:
            for _ in items:
                pass
            ends.append("whole")
        except Cut:
            ends.append("cut")
            raise

    with pytest.raises(ValueError, match="the GPU"), feeding(consume, ahead=2) as feed:
        feed(1)
        raise ValueError("the GPU")
    assert ends == ["cut"]


def test_a_consumer_that_fails_stops_its_producer():
    def consume(items):
        next(items)
        raise OSError("disk full")

    fed = []
    with pytest.raises(OSError, match="disk full"), feeding(consume, ahead=1) as feed:
        for number in range(1000):
            feed(number)
            fed.append(number)
    assert len(fed) < 1000


def test_a_consumer_that_fails_at_the_very_end_is_heard():
    def consume(items):
        list(items)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), feeding(consume) as feed:
        feed(1)


def test_a_consumer_may_have_enough_before_the_end():
    with feeding(lambda items: next(items), ahead=1) as feed:
        for number in range(5):
            feed(number)


@given(st.lists(st.integers()), st.integers(1, 4))
def test_what_is_made_ahead_comes_in_order_and_once(items, count):
    assert list(ahead(items, count)) == items


def test_no_more_is_made_ahead_than_asked_for():
    made = []

    def numbers():
        for number in range(100):
            made.append(number)
            yield number

    for number in ahead(numbers(), 3):
        assert len(made) <= number + 1 + 3 + 1


def test_a_failure_comes_in_its_place():
    def numbers():
        yield 1
        raise ValueError("damaged")

    stream = ahead(numbers(), 2)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(stream)


def test_a_stream_that_is_closed_early_ends_its_thread_and_its_source():
    closed = threading.Event()

    def numbers():
        try:
            yield from range(10**9)
        finally:
            closed.set()

    before = threading.active_count()
    stream = ahead(numbers(), 2)
    next(stream)
    stream.close()
    assert threading.active_count() == before
    assert closed.wait(10)
