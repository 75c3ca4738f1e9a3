"""A change that is disturbed: agents die, drivers meet, the keyboard and the API interrupt. The end is right anyway."""

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.support.change.cluster import MIGRATIONS, NODE_MTUS, Cluster, Picture, cluster, kill_agent
from tests.support.change.command import Command, Ended
from tests.support.labs import Body, until

from kubemtu_lab import scene as scenes
from kubemtu_lab.scenes import named

pytestmark = [pytest.mark.lab, pytest.mark.netns]
HISTORY = 100  # changes of each kind that the API of this lab knows at least
PHASES = ("PinPorts", "Devices", "UnpinPorts", "UnpinOverlay", "UnpinPods", "Settle")


@pytest.fixture(scope="module")
def lab(can_make_labs: None) -> Iterator[Cluster]:
    scene = scenes.resized(named("canal-1500"), pods=1).replace(history=HISTORY)
    with cluster(scene, "disturbed") as found:
        yield found


@pytest.fixture(scope="module")
def before(lab: Cluster) -> Picture:
    return lab.picture()


@pytest.fixture(scope="module")
def after(lab: Cluster, before: Picture) -> Picture:
    lab.done("apply", "--yes")
    picture = lab.picture()
    lab.done("rollback", "--yes")
    return picture


@pytest.fixture
def untouched(lab: Cluster, before: Picture, after: Picture) -> Iterator[Cluster]:
    """The lab as it was at first; it must be so again, or changed as planned, at the end."""
    assert before.differs(lab.picture()) == ""
    yield lab
    picture = lab.picture()
    if before.differs(picture):
        assert after.differs(picture) == ""
        lab.done("rollback", "--yes")
        assert before.differs(lab.picture()) == ""
    lab.forget_migrations()


def test_an_agent_that_dies_in_every_phase(untouched: Cluster, after: Picture) -> None:
    command = untouched.start("apply", "--yes")
    for number, phase in enumerate(PHASES):
        command.until_says(phase)
        kill_agent(untouched, untouched.nodes[number % 3])
    assert command.wait().code == 0
    assert after.differs(untouched.picture()) == ""


def interrupted(command: Command) -> Ended:
    """Press Ctrl-C while a command is stopped: it meets it before it does anything else."""
    command.kill(signal.SIGINT)
    command.go_on()
    return command.wait()


def test_ctrl_c_says_where_it_stands_and_the_next_apply_carries_on(untouched: Cluster, after: Picture) -> None:
    command = untouched.stopped("apply", "--yes", line="Devices", step=3)
    ended = interrupted(command)
    assert ended.code == 130
    (sentence,) = ended.err.splitlines()
    assert sentence.startswith("error: interrupted in step [4/4] change 3 running pods on 3 nodes, live: ")
    last = [line.split()[0] for line in ended.lines if line.split()[:1] and line.split()[0] in PHASES][-1]
    assert sentence.endswith(
        f", after {last}; {untouched.migrations()[-1]['metadata']['name']} carries on from there "
        "with `kubemtu apply`, or goes back with `kubemtu rollback`"
    )
    resumed = untouched.done("apply", "--yes")
    assert "Carrying on with canal-1450-" in resumed.lines[0]
    assert not any("[1/4]" in line for line in resumed.lines)
    assert after.differs(untouched.picture()) == ""


def test_ctrl_c_while_the_pods_of_the_cni_restart_says_that_the_pins_stay(untouched: Cluster, before: Picture) -> None:
    command = untouched.stopped("apply", "--yes", line="[3/4]", step=2)
    ended = interrupted(command)
    assert ended.code == 130
    assert "interrupted in step [3/4] restart the pods of DaemonSet kube-system/canal: " in ended.err
    assert "; every pin is on and stays; canal-1450-" in ended.err
    untouched.done("rollback", "--yes")
    assert before.differs(untouched.picture()) == ""


def test_ctrl_c_before_the_first_step_leaves_nothing_to_carry_on(untouched: Cluster, before: Picture) -> None:
    command = untouched.start("apply", "--yes")
    command.until_says("Way back")
    command.kill(signal.SIGINT)
    assert command.wait().code in {130, 0}  # 0: it had gone on to its end
    ended = untouched.run("rollback", "--yes")
    assert ended.code in {0, 2}, ended.err
    assert before.differs(untouched.picture()) == ""


@pytest.mark.parametrize("line", ["[3/4]", "Devices", "Settle"])
def test_a_driver_that_slept_does_not_disturb_the_one_that_took_over(
    untouched: Cluster, after: Picture, line: str
) -> None:
    first = untouched.stopped("apply", "--yes", line=line)
    second = untouched.done("apply", "--yes")
    assert "Carrying on with canal-1450-" in second.lines[0]
    first.kill(signal.SIGCONT)
    ended = first.wait()
    assert ended.code == 7
    assert "is driven by another kubemtu, which has taken it over" in ended.err
    assert after.differs(untouched.picture()) == ""


def test_two_drivers_at_the_same_time(untouched: Cluster, after: Picture) -> None:
    first = untouched.stopped("apply", "--yes", line="[3/4]")
    second = untouched.start("apply", "--yes")
    second.until_says("Carrying on")
    first.kill(signal.SIGCONT)
    assert sorted([first.wait().code, second.wait().code]) == [0, 7]
    assert after.differs(untouched.picture()) == ""


def test_of_two_that_begin_at_once_one_stops(untouched: Cluster, after: Picture) -> None:
    both = [untouched.start("apply", "--yes") for _ in range(2)]
    codes = sorted(command.wait().code for command in both)
    assert codes == [0, 7]
    assert after.differs(untouched.picture()) == ""


@pytest.mark.parametrize("line", ["Devices", "proven"])
def test_a_rollback_stops_the_apply_that_slept(untouched: Cluster, before: Picture, line: str) -> None:
    first = untouched.stopped("apply", "--yes", line=line)
    assert untouched.run("rollback", "--yes").code == 0
    first.kill(signal.SIGCONT)
    assert first.wait().code == 7
    assert before.differs(untouched.picture()) == ""


def test_an_apply_while_a_rollback_is_unfinished_is_refused(untouched: Cluster, before: Picture) -> None:
    untouched.done("apply", "--yes")
    back = untouched.stopped("rollback", "--yes", line="PinPods")
    back.kill()
    back.wait()
    ended = untouched.run("apply", "--yes")
    assert ended.code == 2
    name = untouched.migrations()[-1]["metadata"]["name"]
    assert ended.err == (
        f"error: {name} is being rolled back: finish that with `kubemtu rollback` before applying again\n"
    )
    ended = untouched.done("rollback", "--yes")
    assert ended.lines[-1].startswith("Rolled back in ")
    assert before.differs(untouched.picture()) == ""


def test_another_target_while_one_is_unfinished_is_refused(untouched: Cluster) -> None:
    command = untouched.stopped("apply", "--yes", line="[3/4]")
    command.kill()
    command.wait()
    ended = untouched.run("apply", "--mtu", "1300", "--yes")
    assert ended.code == 2
    assert "is under way to 1450 and stands at step" in ended.err
    untouched.done("apply", "--yes")


class Gate:
    """A way to the lab's API that can be closed: what went through it is cut, what comes is refused."""

    def __init__(self, lab: Cluster, folder: Path) -> None:
        document = yaml.safe_load(lab.lab.kubeconfig.read_text())
        self._server = document["clusters"][0]["cluster"]["server"].rpartition(":")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._open: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self._kept = socket.socket()  # so that nobody else gets the port while nobody listens there
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.port = int(self._kept.getsockname()[1])
        self.open()
        document["clusters"][0]["cluster"]["server"] = f"{self._server[0]}:{self.port}"
        self.kubeconfig = folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump(document))

    def open(self) -> None:
        """Let through."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def close(self) -> None:
        """Cut everything and refuse what comes."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    def end(self) -> None:
        """Stop."""
        self.close()
        self._kept.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def _cut(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for writer in self._open:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection("127.0.0.1", int(self._server[2]))
        self._open |= {writer, onward}

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while block := await source.read(1 << 16):
                    target.write(block)
                    await target.drain()
            target.transport.abort()

        await asyncio.gather(copy(reader, onward), copy(there, writer))
        self._open -= {writer, onward}


def test_an_api_that_is_away_for_seconds_is_waited_for(untouched: Cluster, after: Picture, tmp_path: Path) -> None:
    gate = Gate(untouched, tmp_path)
    try:
        command = untouched.start("apply", "--yes", kubeconfig=gate.kubeconfig)
        command.until_says("[3/4]")
        gate.close()
        command.until_says("; trying again for 120 s")
        time.sleep(1.0)
        gate.open()
        ended = command.wait()
    finally:
        gate.end()
    assert ended.code == 0, ended.err
    assert after.differs(untouched.picture()) == ""


def test_others_who_write_the_same_objects_meanwhile_are_survived(untouched: Cluster, after: Picture) -> None:
    over = threading.Event()

    def noise() -> None:
        number = 0
        while not over.is_set():
            number += 1
            note: Body = {"metadata": {"annotations": {"somebody/wrote": str(number)}}}
            for path in (
                "/api/v1/namespaces/kube-system/configmaps/canal-config",
                "/apis/apps/v1/namespaces/kube-system/daemonsets/canal",
                *(f"{NODE_MTUS}/{node}" for node in untouched.nodes),
                *(f"{MIGRATIONS}/{one['metadata']['name']}" for one in untouched.migrations()),
            ):
                untouched.kube.merge(path, note)
                over.wait(0.02)  # forty writes a second: without a rest this would try the machine, not the change

    writer = threading.Thread(target=noise)
    command = untouched.start("apply", "--yes")
    writer.start()
    ended = command.wait()
    over.set()
    writer.join()
    assert ended.code == 0, ended.err
    assert after.differs(untouched.picture()) == ""


def test_a_watch_whose_past_is_forgotten_is_begun_anew(untouched: Cluster, after: Picture, tmp_path: Path) -> None:
    """While it was away, the API has forgotten all but the last hundred changes: 410 Gone."""
    gate = Gate(untouched, tmp_path)
    try:
        command = untouched.start("apply", "--yes", kubeconfig=gate.kubeconfig)
        command.until_says("Devices")
        gate.close()
        for number in range(2 * HISTORY + 10):
            untouched.kube.merge(f"{NODE_MTUS}/node-1", {"metadata": {"annotations": {"number": str(number)}}})
        gate.open()
        ended = command.wait()
    finally:
        gate.end()
    assert ended.code == 0, ended.err
    assert after.differs(untouched.picture()) == ""


def test_a_spec_that_somebody_takes_away_is_asked_for_again(untouched: Cluster, after: Picture) -> None:
    command = untouched.start("apply", "--yes")
    command.until_says("PinPorts")
    untouched.kube.delete(f"{NODE_MTUS}/node-2")
    command.until_says("Devices")
    untouched.kube.merge(f"{NODE_MTUS}/node-3", {"spec": None})
    ended = command.wait()
    assert ended.code == 0, ended.err
    until(lambda: "status" in untouched.node_mtu("node-2"))
    assert after.differs(untouched.picture()) == ""
