"""The server's clock by its answers' dates: whole seconds, rounded down, whatever this machine believes."""

import pytest

from kubemtu.kube import clock as clocks

NOON = "Sat, 28 Nov 2026 12:00:00 GMT"
AT_NOON = 1795867200.0  # date -u -d 2026-11-28T12:00:00Z +%s


class Passing:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_it_goes_on_from_what_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: AT_NOON + 600)
    passing = Passing()
    clock = clocks.ServerClock(passing=passing)
    assert clock.now() == AT_NOON + 600  # before the first answer there is nothing better
    clock.hear(NOON)
    assert clock.now() == AT_NOON
    passing.seconds += 30
    assert clock.now() == AT_NOON + 30


def test_the_closest_bound_counts() -> None:
    passing = Passing()
    clock = clocks.ServerClock(passing=passing)
    clock.hear(NOON)
    passing.seconds += 0.4
    clock.hear("Sat, 28 Nov 2026 12:00:01 GMT")  # so it was nearly 12:00:01 when the first answer was written
    assert clock.now() == AT_NOON + 1
    passing.seconds += 0.5
    clock.hear("Sat, 28 Nov 2026 12:00:01 GMT")
    assert clock.now() == AT_NOON + 1.5


def test_a_clock_that_was_set_back_is_followed() -> None:
    clock = clocks.ServerClock(passing=Passing())
    clock.hear(NOON)
    clock.hear("Sat, 28 Nov 2026 11:50:00 GMT")
    assert clock.now() == AT_NOON - 600


@pytest.mark.parametrize("date", ["", "yesterday", "Sat, 99 Nov 2026 12:00:00 GMT", "\x00"])
def test_what_is_no_date_is_not_heard(date: str) -> None:
    clock = clocks.ServerClock(passing=Passing())
    clock.hear(NOON)
    clock.hear(date)
    assert clock.now() == AT_NOON
