"""What `kubemtu check` costs on clusters of 100 to 5,000 nodes, beside `kubectl get nodes,pods -A -o json` of each.

CPU seconds and the largest resident memory are what the kernel counted for each process (wait4), so that others on the
machine matter little; wall time is of the same machine at the same time. `check` is run where agents tell of every
node, and where nothing is installed. kubectl holds all that it prints: on a cluster whose answer would not fit into the
memory that is free, its cost is reckoned from the largest one that it was run on, in proportion to the nodes, and
marked by ~.

    python -m bench.large [NODES ...]       30 pods a node
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

SIZES = (100, 500, 1000, 5000)
PODS = 30  # of each node
MOST = 200.0  # MB
CPU_SHARE = 0.25  # of kubectl's


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one command took."""

    cpu: float
    seconds: float
    memory: float  # MB
    written: int  # bytes
    code: int
    reckoned: bool = False

    def times(self, factor: float) -> "Cost":
        """Return the cost of the same for so many times the objects."""
        return Cost(
            cpu=self.cpu * factor,
            seconds=self.seconds * factor,
            memory=self.memory * factor,
            written=round(self.written * factor),
            code=self.code,
            reckoned=True,
        )

    def line(self, name: str, beside: "Cost | None" = None) -> str:
        """Return a row of the table, with ratios to another where there is one."""
        mark = "~" if self.reckoned else " "
        ratios = ""
        if beside is not None:
            ratios = f"   CPU 1/{beside.cpu / self.cpu:.1f}, wall 1/{beside.seconds / self.seconds:.1f} of kubectl's"
        return (
            f"{name:40}{mark}{self.cpu:8.1f} s{mark}{self.seconds:8.1f} s{mark}{self.memory:8.0f} MB"
            f"{mark}{self.written / 1000:11.1f} kB{ratios}"
        )


def cost(command: Sequence[str], output: Path) -> Cost:
    """Run a command and say what it took."""
    began = time.monotonic()
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(
        cpu=used.ru_utime + used.ru_stime,
        seconds=time.monotonic() - began,
        memory=used.ru_maxrss * 1024 / 1e6,
        written=output.stat().st_size,
        code=process.returncode,
    )


@contextlib.contextmanager
def served(nodes: int, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Run the server, in a process of its own, and yield a kubeconfig for the cluster with agents, and without."""
    kubeconfig = folder / f"kubeconfig-{nodes}"
    command = (sys.executable, "-m", "bench.many", str(nodes), str(nodes * PODS), str(kubeconfig))
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise SystemExit("the server did not start")
        yield kubeconfig, kubeconfig.with_suffix(".bare")
    finally:
        process.kill()
        process.communicate()


def available() -> float:
    """Return how much memory is free for programs, in MB."""
    found = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
    return int(found.split()[1]) * 1024 / 1e6


def kubectl_cost(kubeconfig: Path, nodes: int, before: tuple[int, Cost] | None) -> Cost | None:
    """Return what kubectl takes: None without one, and reckoned from a smaller cluster where memory is short."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        return None
    if before is not None and before[1].memory * nodes / before[0] > available() / 2:
        return before[1].times(nodes / before[0])
    get = [kubectl, "--kubeconfig", str(kubeconfig), "get", "nodes,pods", "-A", "-o", "json"]
    taken = cost(get, Path(os.devnull))
    if taken.code:
        raise SystemExit(f"kubectl ended with {taken.code}")
    return taken


def measure(nodes: int, folder: Path, before: tuple[int, Cost] | None) -> tuple[dict[str, Cost], Cost | None, str]:
    """Return what each form of check takes on one cluster, what kubectl takes, and the text of the first."""
    program = str(Path(sys.executable).with_name("kubemtu"))
    output = folder / "output"
    costs: dict[str, Cost] = {}
    with served(nodes, folder) as (kubeconfig, bare):
        beside = kubectl_cost(kubeconfig, nodes, before)
        costs["kubemtu check, nothing installed"] = cost([program, "check", "--kubeconfig", str(bare)], output)
        costs["kubemtu check, with agents"] = cost([program, "check", "--kubeconfig", str(kubeconfig)], output)
        text = output.read_text()
        if nodes == SIZES[-2]:
            command = [program, "check", "--kubeconfig", str(kubeconfig), "-o", "json"]
            costs["kubemtu check -o json, with agents"] = cost(command, output)
    return costs, beside, text


def main() -> None:
    """Print the table, what it comes to, and the text of the largest cluster."""
    sizes = tuple(map(int, sys.argv[1:])) or SIZES
    before: tuple[int, Cost] | None = None
    all_costs: dict[int, dict[str, Cost]] = {}
    text = ""
    for nodes in sizes:
        with tempfile.TemporaryDirectory() as folder:
            costs, beside, text = measure(nodes, Path(folder), before)
        print(f"{f'{nodes} nodes, {nodes * PODS} pods':40}{'CPU':>10}{'wall':>11}{'memory':>12}{'written':>14}")
        for name, taken in costs.items():
            print(taken.line(name, beside), flush=True)
        if beside is not None:
            print(beside.line("kubectl get nodes,pods -A -o json"), flush=True)
            before = before if beside.reckoned else (nodes, beside)
        all_costs[nodes] = costs
        if nodes == sizes[-1]:
            print(_bar(costs, beside))
    print(_linear(all_costs))
    print(f"\n{text}")


def _bar(costs: dict[str, Cost], beside: Cost | None) -> str:
    worst = max(taken.memory for taken in costs.values())
    said = [f"at most {MOST:.0f} MB: {'yes' if worst <= MOST else 'NO'} ({worst:.0f})"]
    if beside is not None:
        share = max(taken.cpu for taken in costs.values()) / beside.cpu
        wall = max(taken.seconds for taken in costs.values()) / beside.seconds
        said.append(f"at most {CPU_SHARE:.0%} of kubectl's CPU: {'yes' if share <= CPU_SHARE else 'NO'} ({share:.1%})")
        said.append(f"no more wall time: {'yes' if wall <= 1 else 'NO'} ({wall:.0%})")
    return f"  ({'; '.join(said)})"


def _linear(costs: dict[int, dict[str, Cost]]) -> str:
    lines = ["CPU milliseconds a node:"]
    for name in next(iter(costs.values())):
        each = (f"{taken[name].cpu / nodes * 1000:.2f} at {nodes}" for nodes, taken in costs.items() if name in taken)
        lines.append(f"  {name}: {', '.join(each)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
