"""What an agent costs: CPU while nothing happens, and memory while pods come and go; needs root.

    a lab of one node with its agent, 30 pods as Calico makes them; then pods are made and deleted, 50 at a time

CPU is what the kernel has counted for the process, over so many seconds and as a share of one core; beside it, over the
same seconds, what somebody would run instead: a shell loop that every 20 seconds lists the links and routes of the node
and of each pod, and writes them down. Memory is VmRSS, the loop's is not shown (it is a new process each time).

    python -m bench.agent [SECONDS [PODS]]
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from kubemtu_lab import scene as scenes
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scenes import named

SECONDS = 120.0
PODS = 10_000
STANDING = 30
AT_ONCE = 50
TICKS = os.sysconf("SC_CLK_TCK")

MAKE = """
import subprocess, sys
first, last = int(sys.argv[1]), int(sys.argv[2])
numbers = range(first, last)
def ip(lines, *where):
    subprocess.run(["ip", *where, "-batch", "-"], input="\\n".join(lines), text=True, check=True)
ip([f"netns add bench-{n}" for n in numbers])
ip([
    line
    for n in numbers
    for line in (
        f"link add cali{n:07x} mtu 1450 type veth peer name eth0 mtu 1450 netns bench-{n}",
        f"link set cali{n:07x} up",
        f"route add 10.244.{200 + n // 250 % 50}.{n % 250 + 1} dev cali{n:07x} scope link",
    )
])
for n in numbers:
    ip([
        "link set eth0 up",
        f"addr add 10.244.{200 + n // 250 % 50}.{n % 250 + 1}/32 dev eth0",
        "route add 169.254.1.1 dev eth0 scope link",
        "route add default via 169.254.1.1 dev eth0",
    ], "-n", f"bench-{n}")
"""
TAKE = """
import subprocess, sys
lines = [f"netns del bench-{n}" for n in range(int(sys.argv[1]), int(sys.argv[2]))]
subprocess.run(["ip", "-batch", "-"], input="\\n".join(lines), text=True, check=True)
"""
LOOP = (
    "while sleep 20; do ip -j -d link; ip -j route; for n in $(ls /run/netns); do ip -n $n -j -d link;"
    " ip -n $n -j route; done; done > /dev/null"
)


def agent(lab: Lab) -> int:
    """Return the pid of the lab's agent."""
    while True:
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if b"agent" in words and any(b"kubemtu" in word for word in words) and _in(int(folder.name), lab):
                    return int(folder.name)
        time.sleep(0.2)


def _in(pid: int, lab: Lab) -> bool:
    """Whether a process belongs to a lab."""
    while pid > 1:
        if pid == lab.record.pid:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, with its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def memory(pid: int, line: str = "VmRSS") -> float:
    """Resident memory of a process, in MB."""
    found = next(one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith(f"{line}:"))
    return int(found.split()[1]) * 1024 / 1e6


@contextlib.contextmanager
def loop(lab: Lab) -> Iterator[int]:
    """Run the shell loop on the node; yield its pid."""
    process = lab.spawn("node-1", ["sh", "-c", LOOP], stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def rest(lab: Lab, pid: int, seconds: float) -> None:
    """Print what both use while nothing happens."""
    with loop(lab) as other:
        time.sleep(5)
        children = Path(f"/proc/{other}/task/{other}/children").read_text().split()
        shell = int(children[0]) if children else other
        before, began, of_loop = cpu(pid), time.monotonic(), cpu(shell)
        time.sleep(seconds)
        took = time.monotonic() - began
        used, by_loop = cpu(pid) - before, cpu(shell) - of_loop
    print(f"{'':34}{'CPU':>10}{'of a core':>12}{'memory':>12}")
    print(f"{'kubemtu agent at rest':34}{used:8.2f} s{used / took:12.3%}{memory(pid):9.1f} MB")
    print(f"{'shell loop over ip, every 20 s':34}{by_loop:8.2f} s{by_loop / took:12.3%}")
    print(f"over {took:.0f} s with {STANDING} pods: the loop uses {by_loop / max(used, 1e-9):.1f} times as much\n")


def churn(lab: Lab, pid: int, pods: int) -> None:
    """Print the agent's memory while so many pods come and go."""
    began = cpu(pid)
    print(f"{'pods that came and went':34}{'memory':>12}{'at most':>12}{'CPU':>10}", flush=True)
    for first in range(1000, 1000 + pods, AT_ONCE):
        last = first + AT_ONCE
        lab.python("node-1", MAKE, str(first), str(last), timeout=300)
        lab.python("node-1", TAKE, str(first), str(last), timeout=300)
        done = last - 1000
        if done % max(pods // 10, AT_ONCE) == 0 or done == AT_ONCE:
            print(f"{done:34}{memory(pid):9.1f} MB{memory(pid, 'VmHWM'):9.1f} MB{cpu(pid) - began:8.1f} s", flush=True)


def main() -> None:
    """Print both tables."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    pods = int(sys.argv[2]) if len(sys.argv) > 2 else PODS
    scene = scenes.resized(named("canal-1500"), nodes=1, pods=1).replace(agents=True)
    with Lab.up(scene, f"kmtest-bench-{os.getpid()}") as lab:
        lab.python("node-1", MAKE, "0", str(STANDING), timeout=300)
        pid = agent(lab)
        time.sleep(10)
        rest(lab, pid, seconds)
        churn(lab, pid, pods)


if __name__ == "__main__":
    main()
