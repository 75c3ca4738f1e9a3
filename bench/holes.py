"""What `probe`, `why` and `check --prove` say of a black hole that silences whom it is about, and how long they take.

The lab's API server, kubelets and agents talk through the same switch ports as everything else. One port, or NIC, is
made to take 1400 bytes where the NICs send 1500, both ways or one way, at a node or at the API server's own; then all
three commands are run at once, after 30 s and after 120 s, and their answers are held against what was done. "above"
is how much longer a command takes than the median of the same in the healthy lab, in seconds; commands are run whole.

`python -m bench.holes 3 12` runs labs of that many nodes; `--at 0 30` other times. Needs root and nft.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from kubemtu_lab import cluster
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import Flannel, Scene, nodes

Way = Literal["both", "to-node", "from-node"]
Answer = Mapping[str, object]
HEALTHY = 5  # runs of each command
SIZE = 1400
PLACE = re.compile(r"between node-[23] and node-[23]|at the NIC of node-2")
COMMANDS: Mapping[str, Sequence[str]] = {
    "probe": ("probe",),
    "probe --nodes": ("probe", "--nodes"),
    "why": ("why", "node-2", "node-3"),
    "check --prove": ("check", "--prove"),
}
SHAPES: Mapping[Way, str] = {"both": "link", "to-node": "receives", "from-node": "sends"}


class Fault(msgspec.Struct, frozen=True):
    """One thing that is done to a lab, and at whose node."""

    name: str
    node: str
    way: Way
    nic: bool = False


FAULTS = (
    Fault("port of node-2, both ways", "node-2", "both"),
    Fault("port of node-2, to it", "node-2", "to-node"),
    Fault("port of node-2, from it", "node-2", "from-node"),
    Fault("port of the API's node, both ways", "node-1", "both"),
    Fault("NIC of node-2", "node-2", "both", nic=True),
)


class Ran(msgspec.Struct, frozen=True):
    """A command that ended: its exit code, its JSON, and the seconds it took."""

    code: int
    answer: Answer
    seconds: float
    err: str


def run(lab: Lab, words: Sequence[str]) -> Ran:
    """Run kubemtu against a lab, as a user beside it does."""
    command = (sys.executable, "-m", "kubemtu", *words, "-o", "json", "--kubeconfig", str(lab.kubeconfig))
    began = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    seconds = time.perf_counter() - began
    return Ran(ended.returncode, json.loads(ended.stdout) if ended.stdout else {}, seconds, ended.stderr.strip())


def strike(lab: Lab, fault: Fault, size: int | None) -> None:
    """Do it to the lab, or with None take it back."""
    if fault.nic:
        lab.set_mtu(fault.node, "eth0", size or 1500)
    else:
        lab.set_port(fault.node, size, fault.way)


def wrong(fault: Fault, command: str, ran: Ran) -> str:
    """Return what is not right about an answer; empty when all is."""
    if ran.code != 1:
        return f"exit {ran.code} {ran.err[:200]}"
    check: Callable[[Fault, Answer], Iterator[str]] = {"why": _why, "check --prove": _prove}.get(command, _probe)
    return "; ".join(check(fault, ran.answer))


def _probe(fault: Fault, answer: Answer) -> Iterator[str]:
    if answer["unmeasuredNodes"]:
        yield f"not measured: {answer['unmeasuredNodes']}"
    layers = answer["layers"]
    assert isinstance(layers, list)
    for layer in layers:
        found = [(one["where"], one["members"], one["confidence"]) for one in layer["faults"]]
        if fault.nic:  # what all NICs have arrives between the nodes, and not what the tunnel makes of a pod's packet
            if layer["name"] == "pods" and not any(fault.node in one["members"] for one in layer["faults"]):
                yield f"pods: {found}"
        elif found != [(SHAPES[fault.way], [fault.node], "certain")]:
            yield f"{layer['name']}: {found}"


def _why(fault: Fault, answer: Answer) -> Iterator[str]:
    found = answer["diagnosis"]
    assert isinstance(found, dict)
    if fault.node == "node-1":  # not on the way between the two others
        return
    if found["isMtu"] != "yes" or found["confidence"] != "certain" or not PLACE.search(found["sentence"]):
        yield f"{found['isMtu']}, {found['confidence']}: {found['sentence']}"
    if answer["unmeasuredNodes"]:
        yield f"not measured: {answer['unmeasuredNodes']}"


def _prove(fault: Fault, answer: Answer) -> Iterator[str]:
    findings = answer["findings"]
    assert isinstance(findings, list)
    told = [one for one in findings if one["code"] == "MTU123"]
    if not fault.nic and (not told or any("certain" not in one["message"] for one in told)):
        yield str([(one["code"], one["message"][:80]) for one in findings])
    if any(one["code"] in {"MTU118", "MTU125"} for one in findings):
        yield str([(one["code"], one["place"]) for one in findings])


def _expected(fault: Fault, command: str) -> bool:
    """Whether that command is asked about it: `why` names two nodes, and between nodes a small NIC is no fault."""
    if command == "why":
        return fault.node == "node-2"
    return command != "probe --nodes" or not fault.nic


def measure(count: int, times: Sequence[float]) -> int:
    """Try all faults in one lab of that many nodes; returns how many answers were wrong."""
    scene = Scene(name=f"holes-{count}", summary="", nodes=nodes(count, 1), cni=Flannel(), agents=True, probes=True)
    bad = 0
    cluster.UP_SECONDS = 300.0  # the machine may be busy, and how soon a lab is up is not what is measured here
    with Lab.up(scene) as lab:
        healthy = _healthy(lab)
        print(f"\n{count} nodes; healthy: " + ", ".join(f"{name} {it:.2f} s" for name, it in healthy.items()))
        for fault in FAULTS:
            strike(lab, fault, SIZE)
            began = time.monotonic()
            for at in times:
                time.sleep(max(0.0, began + at - time.monotonic()))
                for command, words in COMMANDS.items():
                    if not _expected(fault, command):
                        continue
                    ran = run(lab, words)
                    said = wrong(fault, command, ran)
                    bad += bool(said)
                    line = f"{ran.seconds:6.2f} s {ran.seconds - healthy[command]:+6.2f} above"
                    print(f"  {fault.name:36} {at:4.0f} s  {command:14} {line}  {said or 'right'}", flush=True)
            strike(lab, fault, None)
            _settled(lab)
    return bad


def _healthy(lab: Lab) -> dict[str, float]:
    """How long the commands take where all is well, once all is."""
    _settled(lab)
    return {
        name: statistics.median(run(lab, words).seconds for _ in range(HEALTHY)) for name, words in COMMANDS.items()
    }


def _settled(lab: Lab) -> None:
    """Wait until everything carries what it should and everybody reports."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if run(lab, ("probe",)).code == 0:
            return
        time.sleep(1)
    raise SystemExit("the lab does not come to rest")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="Black holes that silence whom they are about.")
    parser.add_argument("nodes", nargs="*", type=int, default=[3, 12])
    parser.add_argument("--at", nargs="*", type=float, default=[0, 30, 120], help="seconds after the fault")
    wish = parser.parse_args()
    bad = sum(measure(count, wish.at) for count in wish.nodes)
    print(f"\n{bad} wrong answers")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
