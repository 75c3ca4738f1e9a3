"""One tool in one scene: whether it is right, how long it takes, and how many packets leave a for it."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Final

import msgspec

from bench.probing.peers import NONE, Answer, Family, Peer
from kubemtu_lab.line import network
from kubemtu_lab.line.network import Line
from kubemtu_lab.line.scene import LineScene, Rtt

BUDGET: Final = 4.0  # seconds after which a tool is not run again in the same scene
CAP: Final = 150.0  # seconds that a peer may take: tracepath wants 87 in a black hole
CAP_SOON: Final = 20.0  # the same where it should take little
LARGE: Final = 1000  # bytes; what is larger counts as large
COUNTERS: Final = f"""
table inet bench {{
    counter sent {{ }}
    counter large {{ }}
    chain count {{
        type filter hook prerouting priority -400
        icmpv6 type {{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, 143 }} return
        iifname "l" counter name sent
        iifname "l" meta length > {LARGE} counter name large
    }}
}}
"""


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """A line in one scene, and the family to measure it by."""

    line: Line
    scene: LineScene
    rtt: Rtt
    family: Family


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What one tool did in one scene, in `rounds` runs of which `right` were right; `inexact` or `silent` if not.

    `packets` and `large`: those that left a, for one run.
    """

    scene: str
    rtt: Rtt
    family: Family
    tool: str
    says: str
    rounds: int
    right: int
    silent: int
    inexact: int
    seconds: tuple[float, ...]
    packets: float
    large: float

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def verdict(self) -> str:
        """In one word, or as a share where it differs between runs."""
        if self.right == self.rounds:
            return "right"
        if self.right:
            return f"right {self.right}/{self.rounds}"
        if self.silent == self.rounds:
            return "no answer"
        return "inexact" if self.inexact + self.silent == self.rounds else "wrong"


def count(line: Line) -> None:
    """Begin to count what leaves a, at r1; and let routers and b complain as often as they have a reason to.

    Peers wait for that, and a kernel complains once a second (net.ipv4.icmp_ratelimit): only first runs would count.
    """
    for place in ("r1", "r2", "b"):
        line.sysctl(place, {"ipv4/icmp_ratelimit": 0, "ipv6/icmp/ratelimit": 0})
    network.run(*line.command("r1", "nft", "-f", "-"), stdin=COUNTERS)


def counted(line: Line) -> tuple[int, int]:
    """How many packets left a since it was asked last, and how many large ones of them."""
    told = json.loads(network.run(*line.command("r1", "nft", "-j", "reset", "counters", "table", "inet", "bench")))
    found = {each["counter"]["name"]: int(each["counter"]["packets"]) for each in told["nftables"] if "counter" in each}
    return found["sent"], found["large"]


def top(scene: LineScene) -> int:
    """Return the MTU of a's own interface in a scene."""
    return 9000 if scene.name.startswith("jumbo") else 1500


def measure(where: Where, tool: str, once: Callable[[], Answer], rounds: int) -> Cell:
    """Run a tool on a line, `rounds` times unless that takes long; before each run the hosts forget everything."""
    line, scene = where.line, where.scene
    answers: list[Answer] = []
    seconds: list[float] = []
    sent = large = 0
    until = time.monotonic() + BUDGET
    while len(seconds) < rounds and (not seconds or time.monotonic() < until):
        scene.renew(line)
        if scene.pause:
            time.sleep(scene.pause)
        counted(line)
        began = time.perf_counter()
        answers.append(once())
        seconds.append(time.perf_counter() - began)
        one, other = counted(line)
        sent, large = sent + one, large + other
    return Cell(
        scene=scene.name,
        rtt=where.rtt,
        family=where.family,
        tool=tool,
        says=", ".join(dict.fromkeys(answer.text for answer in answers)),
        rounds=len(seconds),
        right=sum(answer.right for answer in answers),
        silent=sum(answer.text == NONE.text for answer in answers),
        inexact=sum(answer.size is None and answer.text != NONE.text for answer in answers),
        seconds=tuple(seconds),
        packets=sent / len(seconds),
        large=large / len(seconds),
    )


def peer(where: Where, one: Peer, program: str, rounds: int, *, cap: float) -> Cell:
    """Run a peer some times; what takes longer than `cap` seconds is ended and has no answer."""
    scene = where.scene
    words = where.line.command("a", *one.words(program, scene.address[where.family], top(scene)))

    def once() -> Answer:
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=cap)
        except subprocess.TimeoutExpired:
            return msgspec.structs.replace(NONE, right=scene.mtu == 0)
        said = one.read(done.stdout)
        return msgspec.structs.replace(said, right=said.size in {scene.mtu or None, scene.whole or scene.mtu or None})

    return measure(where, one.name, once, rounds)
