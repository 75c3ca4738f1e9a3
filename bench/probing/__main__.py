"""Runs everything, prints the table and what was held: `python -m bench.probing [--quick] [--markdown] [scene ...]`."""

import argparse
import concurrent.futures
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from bench.probing import cells, crowd, held, install, ours, table
from bench.probing.cells import Cell, Where
from bench.probing.peers import PEERS, Family, Peer
from kubemtu_lab.line import scenes, stations
from kubemtu_lab.line.scene import LineScene, Rtt

ROUNDS: Final[dict[Rtt, int]] = {0: 20, 10: 10, 100: 5}
COMMANDS: Final = 3  # runs of kubemtu as a command
PEER_ROUNDS: Final = 3
TOGETHER: Final = 10  # slow peers at once, each on a line of its own: they do nothing but wait
HEADLINES: Final = ("clean", "lower", "black-hole-1450", "black-hole-1433")  # peers run these elsewhere too
WAITING: Final = ("tunnel-df", "service", "loss-5", "loss-20")  # peers wait here, too
SILENT: Final = {"black hole", "asymmetric", "receiver", "masked", "equal paths differ", "unreachable"}

Programs = Mapping[str, str]


def main() -> None:
    """Print it all."""
    parser = argparse.ArgumentParser(prog="python -m bench.probing", description="Path MTU probers in every scene.")
    parser.add_argument("--quick", action="store_true", help="leave out the peers that wait for minutes")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("scenes", nargs="*", metavar="scene", help=f"only these of: {', '.join(scenes.ALL)}")
    wishes = parser.parse_args()
    if unknown := set(wishes.scenes) - set(scenes.ALL):
        parser.error(f"no such scene: {', '.join(sorted(unknown))}")
    chosen = [scenes.ALL[name] for name in wishes.scenes] or list(scenes.ALL.values())
    programs = {peer.name: program for peer in PEERS if (program := install.find(peer)) is not None}
    trips: dict[tuple[Rtt, int], float] = {}
    found: list[Cell] = []
    for scene in chosen:
        for rtt in scene.rtts:
            _say(f"{scene.name}, {table.RTTS[rtt]}")
            found += _soon(scene, rtt, programs, trips)
    if not wishes.quick:
        found += _late(chosen, programs)
    order = [peer.name for peer in PEERS]
    found.sort(key=lambda cell: order.index(cell.tool) if cell.tool in order else -1)
    names = [scene.name for scene in chosen]
    found.sort(key=lambda cell: (names.index(cell.scene), cell.rtt, cell.family))
    print(table.markdown(found) if wishes.markdown else table.text(found))
    figures = list(held.lines(found, trips))
    if not wishes.scenes:
        _say("many at once")
        lost = [crowd.lossy(name) for name in ("loss-5", "black-hole-loss-5")]
        figures += held.crowd(lost, [crowd.rounds(number) for number in crowd.CROWDS])
    print()
    fence = ["```"] if wishes.markdown else []
    print(*fence, *figures, *fence, sep="\n")


def _soon(scene: LineScene, rtt: Rtt, programs: Programs, trips: dict[tuple[Rtt, int], float]) -> Iterator[Cell]:
    """kubemtu, and the peers that answer within seconds, one after the other on one line."""
    with stations.stage(scene, rtt) as line:
        cells.count(line)
        for family in scene.families:
            where = Where(line=line, scene=scene, rtt=rtt, family=family)
            if scene.name == "clean":
                trips[rtt, family] = crowd.echo(line, family)
            yield ours.running(where, ROUNDS[rtt])
            if rtt == 0 or scene.name in HEADLINES:
                yield ours.command(where, COMMANDS)
            for peer in _peers(scene, rtt, family, programs, slow=False):
                yield cells.peer(where, peer, programs[peer.name], PEER_ROUNDS, cap=cells.CAP_SOON)


def _late(chosen: list[LineScene], programs: Programs) -> list[Cell]:
    """Return the peers that wait for long, each once on a line of its own, many at the same time."""
    tasks = [
        (scene, rtt, family, peer)
        for scene in chosen
        for rtt in scene.rtts
        for family in scene.families
        for peer in _peers(scene, rtt, family, programs, slow=True)
    ]
    _say(f"{len(tasks)} runs of peers that wait, {TOGETHER} at once")

    def one(task: tuple[LineScene, Rtt, Family, Peer]) -> Cell:
        scene, rtt, family, peer = task
        with stations.stage(scene, rtt) as line:
            cells.count(line)
            where = Where(line=line, scene=scene, rtt=rtt, family=family)
            return cells.peer(where, peer, programs[peer.name], 1, cap=cells.CAP)

    with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
        return list(pool.map(one, tasks))


def _peers(scene: LineScene, rtt: Rtt, family: Family, programs: Programs, *, slow: bool) -> list[Peer]:
    """Those that run here: all over IPv4 at the shortest round trip, and the headlines over one of the two as well."""
    if (rtt, family) != (0, 4) and (scene.name not in HEADLINES or (rtt and family == 6)):
        return []
    silent = scene.name in WAITING or not SILENT.isdisjoint(scene.kinds)
    return [
        peer
        for peer in PEERS
        if peer.name in programs and family in peer.families and slow == _waits(peer, scene, silent=silent)
    ]


def _waits(peer: Peer, scene: LineScene, *, silent: bool) -> bool:
    """Whether it takes long there; where nobody answers, everybody does."""
    return peer.waits == "always" or (silent and peer.waits == "in silence") or scene.mtu == 0


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
