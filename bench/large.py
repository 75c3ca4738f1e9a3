"""What `kubemtu check` costs on a large cluster, beside `kubectl get nodes,pods -A -o json` of the same server.

CPU seconds and the largest resident memory are what the kernel counted for each process (wait4), so that others on the
machine matter little; and how much text a person gets to read.

    python -m bench.large [NODES [PODS]]
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

NODES, PODS = 2000, 30_000
MOST = 150.0  # MB


class Cost(msgspec.Struct, frozen=True):
    """What one command took."""

    cpu: float
    seconds: float
    memory: float  # MB
    written: int  # bytes
    code: int


def cost(command: Sequence[str], output: Path) -> Cost:
    """Run a command and say what it took."""
    began = time.monotonic()
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(
        used.ru_utime + used.ru_stime,
        time.monotonic() - began,
        used.ru_maxrss * 1024 / 1e6,
        output.stat().st_size,
        process.returncode,
    )


@contextlib.contextmanager
def served(nodes: int, pods: int, kubeconfig: Path) -> Iterator[None]:
    """Run the server, in a process of its own."""
    command = (sys.executable, "-m", "bench.many", str(nodes), str(pods), str(kubeconfig))
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise SystemExit("the server did not start")
        yield
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    """Print the table, and the first lines of the text."""
    nodes, pods = (int(sys.argv[place]) if len(sys.argv) > place else most for place, most in ((1, NODES), (2, PODS)))
    program = str(Path(sys.executable).with_name("kubemtu"))
    with tempfile.TemporaryDirectory() as folder, served(nodes, pods, Path(folder) / "kubeconfig"):
        kubeconfig, output = Path(folder) / "kubeconfig", Path(folder) / "output"
        contenders = {"kubemtu check": [program, "check", "--kubeconfig", str(kubeconfig)]}
        contenders["kubemtu check -o json"] = [*contenders["kubemtu check"], "-o", "json"]
        if (kubectl := shutil.which("kubectl")) is not None:
            get = [kubectl, "--kubeconfig", str(kubeconfig), "get", "-A", "-o", "json"]
            contenders["kubectl get nodes,pods"] = [*get, "nodes,pods"]
        print(f"{nodes} nodes, {pods} pods{'':14}{'CPU':>10}{'wall':>10}{'memory':>12}{'written':>12}")
        text = ""
        for name, command in contenders.items():
            found = cost(command, output)
            print(
                f"{name:34}{found.cpu:8.1f} s{found.seconds:8.1f} s{found.memory:9.0f} MB{found.written / 1000:9.1f} kB"
                f"   exit {found.code}",
                flush=True,
            )
            if not text:
                text = output.read_text()
                print(f"  (at most {MOST:.0f} MB are meant, and as much text as a person reads)")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
