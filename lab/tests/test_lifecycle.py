"""A lab comes and goes whole: whatever is killed, no process, namespace, mount or link of it stays on the machine."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.labs import Kube, until

from kubemtu_lab import cluster as labs
from kubemtu_lab import errors, kernel, state
from kubemtu_lab.cluster import Lab
from kubemtu_lab.scene import Node, Scene, nodes

pytestmark = pytest.mark.lab
SERVERS = 2 if os.environ.get("KUBEBUILDER_ASSETS") else 0  # etcd and kube-apiserver, where those are the API
SMALL = Scene(name="small", summary="", nodes=nodes(2, 1))


def of_lab(name: str) -> list[int]:
    """Every process of a lab, found by the variable that all of them inherit."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"{state.MARKER}={name}\0".encode() in (entry / "environ").read_bytes() + b"\0":
                found.append(int(entry.name))
    return found


def namespaces(pids: list[int]) -> set[str]:
    """Return the network and mount namespaces of processes, and those bound below their /run/netns."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found |= {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt")}
            bound = Path(f"/proc/{pid}/root/run/netns").glob("cni-*")
            found |= {f"net:[{each.stat().st_ino}]" for each in bound}
    return found


def processes() -> set[tuple[int, int | None]]:
    """Return all processes of the machine, by pid and start time: a pid may be another's soon."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {(pid, state.start_time(pid)) for pid in pids}


def in_use(pids: Iterable[int]) -> set[str]:
    """Return the network and mount namespaces of processes of the machine."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            found |= {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt")}
    return found


@pytest.fixture
def name(can_make_labs: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Return the name of one lab, in a place for labs where nobody else's are."""
    monkeypatch.setenv("KUBEMTU_LABS", str(tmp_path))
    chosen = f"test-{os.getpid()}-life"
    yield chosen
    labs.end(state.root() / chosen)


def test_sigkill_of_the_supervisor_leaves_only_the_folder(name: str) -> None:
    lab = Lab.up(SMALL, name)
    until(lambda: len(of_lab(name)) == 3 + SERVERS)  # the supervisor and two nodes; what they run at first has ended
    running = of_lab(name)
    spaces = namespaces(running)
    assert len([each for each in spaces if each.startswith("net")]) == 5  # switch, two nodes, two pods
    assert len([each for each in spaces if each.startswith("mnt")]) == 3
    outside = subprocess.Popen(lab.command("pod-1a", ["sleep", "600"]))
    until(lambda: "sleep" in [Path(f"/proc/{pid}/comm").read_text().strip() for pid in children(outside.pid)])

    older = processes()  # of these alone: the kernel gives a namespace's number to the next one that somebody makes
    os.kill(lab.record.pid, signal.SIGKILL)
    until(lambda: not of_lab(name))
    assert outside.wait(90) == -signal.SIGKILL  # what was sent in from outside ends with the lab
    # A process that ends has no environment any more, and its files still.
    until(lambda: not spaces & in_use(pid for pid, _ in older & processes()))
    assert lab.folder.is_dir()
    until(lambda: state.supervisor_of(lab.folder) is None)  # PID 1 waits until all below it are gone
    with pytest.raises(errors.NoSuchLab):
        state.find(name)

    again = Lab.up(SMALL, name)  # the next command cleans
    assert again.record.pid != running[0]
    again.down()
    assert not again.folder.exists()


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def mounts() -> set[str]:
    """Return the mounts of this process, but for namespaces that somebody else names meanwhile with `ip netns`."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line for line in lines if " /run/netns" not in line or " /run/netns/cni-" in line}


def test_nothing_is_mounted_or_written_on_the_machine(name: str) -> None:
    before = mounts()
    folders = [Path("/etc/cni"), Path("/var/lib/calico"), Path("/var/lib/kubemtu"), Path("/run/flannel")]
    existed = [each.exists() for each in folders]
    with Lab.up(SMALL, name) as lab:
        assert mounts() == before
        assert [each.exists() for each in folders] == existed
        (own,) = (lab.node_root("node-1") / "run/netns").iterdir()
        assert not Path("/run/netns", own.name).exists()
        assert (lab.node_root("node-1") / "etc/cni/net.d/10-calico.conflist").exists()
        hosts = lab.exec("node-1", ["cat", "/etc/hosts"]).stdout
        assert hosts == Path("/etc/hosts").read_text()
        assert lab.exec("node-2", ["hostname"]).stdout == "node-2\n"
        assert lab.exec("node-2", ["cat", "/proc/1/comm"]).stdout == "kubelet\n"


def test_a_running_lab_keeps_its_name(name: str) -> None:
    with Lab.up(SMALL, name), pytest.raises(errors.NameTaken, match=f"{name} is up"):
        Lab.up(SMALL, name)


def test_a_tethered_lab_ends_with_its_owner(name: str) -> None:
    program = (
        "import sys, os; from kubemtu_lab.cluster import Lab; from kubemtu_lab.scene import Node, Scene, nodes\n"
        "Lab.up(Scene(name='s', summary='', nodes=nodes(1, 1)), sys.argv[1]); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program, name], check=False)
    assert ended.returncode == -signal.SIGKILL
    until(lambda: not of_lab(name))


def test_whoever_starts_a_lab_is_told_its_end(name: str) -> None:
    lab = Lab.up(SMALL, name)
    supervisor = Path(f"/proc/{lab.record.pid}")
    assert (supervisor / "stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())  # its parent
    nodes = [Path(f"/proc/{lab.node_pid(each)}") for each in ("node-1", "node-2")]
    lab.down()
    assert not supervisor.exists()  # not even as a zombie
    assert not any(each.exists() for each in nodes)
    orphan = subprocess.run(["sh", "-c", "sleep 60 >&- & echo $!"], stdout=subprocess.PIPE, text=True, check=True)
    pid = int(orphan.stdout)
    assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] != str(
        os.getpid()
    )  # others' stay init's
    os.kill(pid, signal.SIGKILL)


def test_a_lab_that_fails_leaves_no_process(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # there is no openssl to make the API's certificate with
    before = children(os.getpid())
    with pytest.raises(errors.StartFailed, match="install openssl"):
        Lab.up(SMALL, name)
    assert children(os.getpid()) == before
    assert not of_lab(name)


def test_a_node_that_cannot_be_made_is_named_with_its_reason(name: str) -> None:
    long = Scene(name="long", summary="", nodes=(Node(name="n" * 65),))  # a host name has 64 bytes
    with pytest.raises(errors.StartFailed, match=f"{'n' * 65} ended before it was a node .OSError"):
        Lab.up(long, name)


def test_a_dead_node_leaves_the_others_up(name: str) -> None:
    with Lab.up(SMALL, name) as lab, Kube(lab.kubeconfig) as kube:
        os.kill(lab.node_pid("node-2"), signal.SIGKILL)
        until(lambda: len(of_lab(name)) == 2 + SERVERS)
        kube.run_pod("after", "node-1")


def test_down_all_finds_folders_without_a_lab_and_labs_without_a_folder(name: str) -> None:
    folder = state.root() / f"{name}-old"
    folder.mkdir(parents=True)
    gone = state.Record(name=folder.name, scene="", pid=os.getpid(), started=1, created=0.0)
    (folder / "lab.json").write_bytes(msgspec.json.encode(gone))
    lab = Lab.up(SMALL, name)
    pid = lab.record.pid
    shutil.rmtree(lab.folder)
    assert (pid, name) in state.strays()

    assert sorted(labs.end_all()) == [name, f"{name}-old"]
    assert not folder.exists()
    assert not of_lab(name)
    assert Path(f"/proc/{os.getpid()}").exists()  # the folder named this very process: too old to be it


def test_a_pid_that_was_used_again_is_never_killed() -> None:
    child = subprocess.Popen(["sleep", "600"])
    try:
        started = state.start_time(child.pid)
        assert started is not None
        labs.kill(child.pid, started - 1)
        assert child.poll() is None
        labs.kill(child.pid, started)
        assert child.wait(90) == -signal.SIGKILL
        labs.kill(child.pid, started)
    finally:
        child.kill()


async def test_a_lab_starts_beside_a_running_loop(name: str) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with labs.cluster(SMALL, name) as lab:
        assert ticks > 5
        assert lab.name == name
    ticking.cancel()
    assert not of_lab(name)


def test_spawned_programs_end_with_the_process_that_spawn_returns(name: str) -> None:
    with Lab.up(SMALL, name) as lab:
        assert lab.exec("pod-1a", ["/bin/sh", "-c", "cat; exit 7"], check=False, text="heard").stdout == "heard"
        assert lab.exec("pod-1a", ["/bin/sh", "-c", "exit 7"], check=False).returncode == 7
        assert lab.exec("pod-1a", ["no-such-program"], check=False).returncode == 127
        process = lab.spawn("node-1", ["sleep", "600"])
        until(lambda: bool(children(process.pid)))
        (inner,) = children(process.pid)
        process.terminate()
        assert process.wait(90) == -signal.SIGTERM
        until(lambda: not Path(f"/proc/{inner}").exists())
        with pytest.raises(errors.NoSuchPlace, match="nowhere"):
            lab.exec("nowhere", ["true"])


def test_a_machine_that_allows_no_namespaces_is_told_what_to_do(tmp_path: Path, can_make_labs: None) -> None:
    told = tmp_path / "told"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            kernel.map_to_root()
            Path("/proc/sys/user/max_net_namespaces").write_text("0")  # of this user namespace only
            with told.open("w") as file:
                env = os.environ | {"KUBEMTU_LABS": str(tmp_path / "labs")}
                command = [sys.executable, "-m", "kubemtu", "lab", "up"]
                code = subprocess.run(command, env=env, stderr=file, check=False).returncode
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    assert "lets root make no namespaces (the limit in /proc/sys/user/max_*_namespaces is reached)" in told.read_text()
    assert list((tmp_path / "labs").iterdir()) == []


def reachable_for_others(start: Path) -> list[Path]:
    """Return the folders above a path that only their owner may enter."""
    return [each for each in start.parents if not each.stat().st_mode & 0o001]


def test_an_unprivileged_user_has_labs_too(name: str, tmp_path: Path) -> None:
    """Runs `lab up`, exec and down as nobody, with the interpreter's private folders opened in a mount namespace."""
    if os.geteuid() != 0:
        pytest.skip("this user is unprivileged already: every test here shows it")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _as_nobody(name)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not of_lab(name)


def _as_nobody(name: str) -> int:
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    python = Path(sys.executable)
    for path in (python.resolve(), Path(__file__)):
        for closed in reversed(reachable_for_others(path)):
            _open_up(closed, path)
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    runtime = Path(f"/tmp/kubemtu-test-{os.getpid()}")
    runtime.mkdir()
    env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(runtime), "HOME": "/"}
    kubemtu = [str(python), "-m", "kubemtu", "lab"]
    try:
        for words in (
            ["up", "--name", name, "--nodes", "2", "--pods", "1"],
            ["ls"],
            ["exec", "pod-1a", "--", "cat", "/sys/class/net/eth0/mtu"],
            [
                "exec",
                "node-1",
                "--",
                str(python),
                "-c",
                "from kubemtu_lab.rtnl import Rtnl; Rtnl().set_mtu('flannel.1', 1400)",
            ],
            ["down", name],
        ):
            ended = subprocess.run([*kubemtu, *words], env=env, cwd="/", capture_output=True, text=True, check=False)
            if ended.returncode:
                sys.stdout.write(f"{words}: {ended.stdout}{ended.stderr}\n")
                sys.stdout.flush()
                return 1
    finally:
        shutil.rmtree(runtime)
    return 0


def _open_up(closed: Path, towards: Path) -> None:
    """Let others pass through one folder on the way to a path, in this mount namespace only."""
    following = towards.parents[list(towards.parents).index(closed) - 1] if towards.parent != closed else towards
    keep = os.open(following, os.O_PATH)
    kernel.mount("tmpfs", closed, "tmpfs", 0, "mode=755")
    if Path(f"/proc/self/fd/{keep}").is_dir():
        following.mkdir()
    else:
        following.touch()
    kernel.mount(f"/proc/self/fd/{keep}", following, "", kernel.MS_BIND | kernel.MS_REC)
