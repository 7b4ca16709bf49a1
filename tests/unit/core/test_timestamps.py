"""Hybrid timestamps rise strictly, whatever the clock does."""

from mishards.core.timestamps import TimestampAllocator, compose, physical_ms


def test_composing_and_taking_apart():
    assert physical_ms(compose(1234, 77)) == 1234
    assert compose(1, 0) > compose(0, (1 << 18) - 1)


def test_given_timestamps_rise_when_the_clock_falls():
    clock = iter([1000, 1000, 500, 2000])
    allocator = TimestampAllocator(lambda: next(clock), compose(0))
    first, second, third, fourth = (allocator.allocate(n) for n in (1, 5, 1, 1))
    assert first < second < third < fourth
    assert third == second + 5
    assert physical_ms(fourth) == 2000


def test_a_floor_above_the_clock_is_passed():
    floor = compose(9_000)
    allocator = TimestampAllocator(lambda: 1, floor)
    assert allocator.allocate() == floor + 1
    assert allocator.last == floor + 1
