"""Time whole commands, interleaved so that a busy moment of the machine hits all of them."""

import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence


def commands(contenders: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[float]]:
    """Run every command once a round, in turn; return the seconds of each run by name."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, command in contenders.items():
            began = time.perf_counter()
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            times[name].append(time.perf_counter() - began)
    return times


def table(times: Mapping[str, Sequence[float]], against: str) -> str:
    """Median, best and worst in milliseconds, and the median's ratio to that of `against`."""
    base = statistics.median(times[against])
    rows = [f"{'':34}{'median':>10}{'best':>10}{'worst':>10}{'ratio':>8}"]
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        columns = "".join(f"{value * 1000:8.1f}ms" for value in (middle, min(seconds), max(seconds)))
        rows.append(f"{name:34}{columns}{middle / base:7.2f}×")
    return "\n".join(rows)
