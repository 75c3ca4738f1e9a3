"""Repeat the demo and print how its figures are distributed: `python -m bench.demo [rounds]`, 20 by default."""

import asyncio
import statistics
import sys
from collections.abc import Sequence

from kubemtu_lab.demo import story as demo_story
from kubemtu_lab.demo import view

ROUNDS = 20
MUST_BE_ZERO = ("udp_lost_silently", "tcp_resets", "connect_failures", "pods_restarted", "tcp_stuck")
FIELDS = (*MUST_BE_ZERO, "veth_drops", "emsgsize_errors", "icmp_errors", "tcp_longest_stall_ms", "seconds")


def main() -> int:
    """Print the table; 1 when kubemtu's row was not all zero in every round, or the popular way's was."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    ours: list[demo_story.StoryRow] = []
    theirs: list[demo_story.StoryRow] = []
    for number in range(1, rounds + 1):
        story = asyncio.run(demo_story.story(view.Quiet()))
        assert story.popular_fix is not None
        ours.append(story.kubemtu)
        theirs.append(story.popular_fix)
        lost = [getattr(story.kubemtu, field) for field in MUST_BE_ZERO]
        print(f"round {number:2}: {story.seconds:4.0f} s, kubemtu {lost}", file=sys.stderr, flush=True)
    print(f"{rounds} rounds; each cell: least / median / most")
    print(f"{'':24}{'kubemtu':>26}{'the popular way':>30}")
    for field in FIELDS:
        print(f"{field:24}{spread(ours, field):>26}{spread(theirs, field):>30}")
    clean = all(getattr(row, field) == 0 for row in ours for field in MUST_BE_ZERO)
    harmful = all(row.udp_lost_silently > 0 for row in theirs)
    return 0 if clean and harmful else 1


def spread(rows: Sequence[demo_story.StoryRow], field: str) -> str:
    """Least, median and most of one figure."""
    values = [float(getattr(row, field)) for row in rows]
    return " / ".join(f"{value:g}" for value in (min(values), round(statistics.median(values), 1), max(values)))


if __name__ == "__main__":
    sys.exit(main())
