"""Options that contradict each other, or mean nothing alone: one sentence, exit code 2, and nobody was asked."""

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml

from kubemtu.cli import main
from kubemtu.core.change import plan


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A kubeconfig that leads to a port of this machine: whoever is asked anything is called there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        port = listening.getsockname()[1]
        named = {"cluster": "c", "user": "u"}
        config = tmp_path / "kubeconfig"
        config.write_text(
            yaml.safe_dump(
                {
                    "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                    "users": [{"name": "u", "user": {}}],
                    "contexts": [{"name": "x", "context": named}],
                    "current-context": "x",
                }
            )
        )
        monkeypatch.setenv("KUBECONFIG", str(config))
        yield listening


@pytest.fixture
def saved(tmp_path: Path) -> str:
    path = tmp_path / "plan.json"
    path.write_bytes(msgspec.json.encode(plan.Plan(cni="canal", target=1450, current=None, steps=())))
    return str(path)


REFUSED = [
    ("apply PLAN --mtu 1400", "says already which MTU to lead to: leave out --mtu and --nic-mtu"),
    ("apply PLAN --nic-mtu 1500", "says already which MTU to lead to: leave out --mtu and --nic-mtu"),
    ("apply PLAN --per-node", "says already what is told apart: leave out --per-node and --egress-mtu"),
    ("apply PLAN --egress-mtu auto", "says already what is told apart: leave out --per-node and --egress-mtu"),
    ("apply --config-only --per-node", "and --per-node is in their routes alone: leave one of them out"),
    ("apply --egress-mtu 1500 --config-only", "and --egress-mtu is in their routes alone: leave one of them out"),
    ("apply --config-only --unproven", "and --unproven is about raising their MTU: leave one of them out"),
    ("apply --config-only --without n1", "and --without those of some: leave one of them out"),
    ("apply --mtu small", "--mtu takes a number of bytes or auto, not 'small'"),
    ("apply --egress-mtu small", "--egress-mtu takes a number of bytes or auto, not 'small'"),
    ("apply /nowhere/plan.json", "/nowhere/plan.json cannot be read"),
    ("plan --mtu small", "--mtu takes a number of bytes or auto, not 'small'"),
    ("plan --egress-mtu small", "--egress-mtu takes a number of bytes or auto, not 'small'"),
    ("plan --yes", "--yes answers what --survey asks"),
    ("plan --exec --yes", "--yes answers what --survey asks"),
    ("plan --survey-namespace x", "--survey-namespace says where --survey makes its pods"),
    ("plan --prometheus-match a=1", "belong to --prometheus: give that as well"),
    ("plan --from PLAN --exec", "--exec looks at a cluster, and --from reads saved files"),
    ("plan --from PLAN --context x", "--from reads saved files, and --context says which cluster is asked"),
    ("check --from PLAN --kubeconfig x", "--from reads saved files, and --kubeconfig says which cluster is asked"),
    ("why-not --as me --from PLAN", "--from reads saved files, and --as says which cluster is asked"),
    ("check --prove --from PLAN", "--prove measures a cluster, and --from reads saved files: leave one of them out"),
    ("check --scrub", "--scrub is about what is saved: name a file by --save FILE"),
    ("check --show-commands --prove", "--show-commands shows which commands --exec runs, and nothing else: leave it"),
    ("check --show-commands --save x", "leave it out, or --save"),
    ("check --show-commands -o json", "leave it out, or --output"),
    ("check --show-commands --survey", "leave it out, or --survey"),
    ("relieve --mtu 1400 --nic-mtu 1500", "give --mtu or --nic-mtu, not both"),
    ("relieve --mtu small", "--mtu takes a number of bytes or auto, not 'small'"),
    ("policy --path-mtu 1400 --reason x --yes", "--yes answers what --apply asks"),
    ("probe --mesh a b", "--mesh measures everybody; name no ends beside it"),
    ("probe --nodes --pods", "give --nodes or --pods, or neither, which is both"),
    ("probe a b --pods", "--pods is of the measurement between all, and two ends are named: leave it out"),
    ("probe a b --expected 1400", "--expected is of the measurement between all"),
    ("probe a b --max-pps 10", "--max-pps is of the measurement between all"),
    ("probe a b --round 2", "--round is of the measurement between all"),
    ("probe -n x", "--namespace is of the ends A and B: name them, or leave it out"),
    ("install --image r/n:1 -o yaml --force-conflicts", "and --force-conflicts is about what stands in one"),
    ("install --image r/n:1 -o yaml --allow-downgrade", "and --allow-downgrade is about what stands in one"),
    ("node probe -4 -6 localhost", "give -4 or -6, or neither, which takes what the name has"),
    ("node probe --icmp --port 1 localhost", "--port is of `kubemtu node respond`, and --icmp asks for an echo"),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSED, ids=[words for words, _ in REFUSED])
def test_it_is_refused_before_anybody_is_asked(
    words: str, sentence: str, asked: socket.socket, saved: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main.run([saved if word == "PLAN" else word for word in words.split()]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n"), err.startswith("error: ")) == ("", 1, True), err
    assert sentence in err
    with pytest.raises(BlockingIOError):
        asked.accept()


ALLOWED = [
    "apply PLAN --mtu auto",  # which is what it has anyway
    "apply --config-only --hosts --without n1",  # whose own traffic is pinned
    "apply --mtu 1400 --nic-mtu 1500",
    "plan --survey --yes",
    "check --exec --show-commands",
    "check --prove --save x",
    "probe --nodes --round 2",
    "probe a b -n x",
    "relieve --mtu measured --nic-mtu 1500",
    "policy --path-mtu 1400 --reason x --apply --yes",
]


@pytest.mark.parametrize("words", ALLOWED)
def test_what_goes_together_asks_the_cluster(words: str, asked: socket.socket, saved: str) -> None:
    """Which is gone by then: the port is closed, and nobody there is unreachable, not a wrong use."""
    asked.close()
    assert main.run([saved if word == "PLAN" else word for word in words.split()]) == 3
