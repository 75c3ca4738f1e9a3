"""`kubemtu why-not`: how far a changed MTU has come on a node, and what holds it where it stopped."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tests.support import example
from tests.support.pools import networked

from kubemtu.cli import main
from kubemtu.core import net
from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows.saved import manifests

Saved = Callable[[Snapshot], str]
node, story = example.node, example.story
SHAPES = Path(__file__).parents[1] / "shapes"


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main.run(["why-not", *words])
    told = capsys.readouterr()
    return code, told.out + told.err


def trail(capsys: pytest.CaptureFixture[str], path: str, name: str = "n1") -> dict[str, object]:
    """Return the trail of one node as JSON has it: where by outcome, and where it stopped."""
    main.run(["why-not", name, "--from", path, "-o", "json"])
    (found,) = json.loads(capsys.readouterr().out)["nodes"]
    return {each["where"]: (each["mtus"], each["outcome"]) for each in found["waypoints"]} | {"at": found["stoppedAt"]}


def test_it_has_come_all_the_way(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(story(1450))
    code, out = asked(capsys, "n1", "--from", path)
    assert code == 0
    assert out.startswith("✓ On n1 it has come all the way: pods (3 of 3). The path between the nodes carries 1450.\n")
    assert trail(capsys, path) == {
        "key": ([1450], "same"),
        "CNI configuration": ([1450], "same"),
        "tunnel": ([1450], "same"),
        "host ends": ([1450], "same"),
        "pods": ([1450], "same"),
        "at": None,
    }


def test_the_key_was_changed_and_nothing_restarted(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    """rancher/rancher#25807: the ConfigMap says 1400, and the DaemonSet's pods were never restarted."""
    path = saved(story(1400))
    assert trail(capsys, path)["at"] == "CNI configuration"
    code, out = asked(capsys, "n1", "--from", path)
    assert code == 1
    assert out.startswith(
        "✗ On n1 it stopped at CNI configuration (/etc/cni/net.d/10-canal.conflist): 1450, not 1400."
        " The path between the nodes carries 1450.\n"
    )
    assert "restart" in out


def test_restarted_and_the_pods_are_older(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    """rancher/rancher#13984: the files are right, and the cali* stay at 1500 until their pods are made anew."""
    path = saved(story(1450, example.trio(pod=1500)))
    found = trail(capsys, path)
    assert found["at"] == "host ends"
    assert found["pods"] == ([1500], "differs")
    _, out = asked(capsys, "n1", "--from", path)
    assert "A pod keeps the MTU that it was born with" in out


def test_only_the_host_ends_were_set(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    found = trail(capsys, saved(story(1450, example.trio(pod=1500, host=1450))))
    assert (found["host ends"], found["pods"], found["at"]) == (([1450], "same"), ([1500], "differs"), "pods")


def test_a_tunnel_that_kept_its_mtu(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(story(1450, (node("n1", tunnel=1400), node("n2"), node("n3"))))
    assert trail(capsys, path)["at"] == "tunnel"
    assert trail(capsys, path, "n2")["at"] is None
    code, out = asked(capsys, "--from", path)
    assert code == 1
    assert [line[:7] for line in out.splitlines()] == ["✗ On n1", "✓ On n2", "✓ On n3"]


@pytest.mark.parametrize(
    ("subnet", "code", "said"),
    [
        (1450, 0, "✓ On n1 it has come all the way: pods (3 of 3)."),
        (1500, 1, "✗ On n1 it stopped at its file (/run/flannel/subnet.env): 1500, not 1450."),
        (1400, 1, "✗ On n1 it stopped at its file (/run/flannel/subnet.env): 1400, not 1450."),
    ],
)
def test_a_key_that_is_not_set_has_been_seen(
    subnet: int, code: int, said: str, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flannel as it comes takes 50 off the NIC's 1500 for VXLAN, and writes that into subnet.env when it starts."""
    conflist = '{"name": "cbr0", "plugins": [{"type": "flannel", "delegate": {"isDefaultGateway": true}}]}'
    env = net.NodeFile(path="/run/flannel/subnet.env", text=f"FLANNEL_MTU={subnet}\n")
    seen = node("n1", bridge=subnet, pod=subnet, text=conflist, path="/etc/cni/net.d/10-flannel.conflist", files=(env,))
    made = story(1450, (seen,))
    flannel = manifests.load(SHAPES / "flannel.yaml").objects
    others = [one for one in made.objects if one.kind in {"Node", "Pod"} and not one.name.startswith("canal")]
    path = saved(msgspec.structs.replace(made, objects=(*flannel, *others)))
    ended, out = asked(capsys, "n1", "--from", path)
    assert (ended, out.partition(" The path")[0]) == (code, said)
    (row,) = (line for line in out.splitlines() if "data" in line)
    assert "Backend.MTU, not set: the NIC's MTU less 50" in row
    assert row.split()[0] == "✓"
    assert row.split()[-2:] == ["-", "-"]


def test_what_was_not_seen_is_no_pass(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    bare = tuple(node(name, text="") for name in ("n1", "n2", "n3"))
    path = saved(story(1450, bare))
    found = trail(capsys, path)
    assert found["CNI configuration"] == ([], "unknown")
    code, out = asked(capsys, "n1", "--from", path)
    assert code == 1
    assert out.startswith("? On n1 nothing differs, and not all of it was seen: CNI configuration")


@pytest.mark.parametrize("kept", [(), (0, 1)])
def test_pods_whose_ports_were_not_found_are_no_pass(
    kept: tuple[int, ...], saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    made = story(1450)
    path = saved(msgspec.structs.replace(made, nodes=(example.unported(made.nodes[0], *kept), *made.nodes[1:])))
    code, out = asked(capsys, "n1", "--from", path)
    assert code == 1
    number = len(kept)
    assert out.startswith(
        f"? On n1 nothing differs, and not all of it was seen: host ends ({number} of 3) and pods ({number} of 3)."
    )


def test_a_node_that_is_not_there(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(story(1450))
    assert asked(capsys, "n9", "--from", path) == (2, "error: there is no node 'n9'; observed were n1, n2 and n3\n")


def test_narrow_terminals_get_sentences(
    saved: Saved, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubemtu.cli.wrapping.width", lambda: 60)
    _, out = asked(capsys, "n1", "--from", saved(story(1450, example.trio(pod=1500))))
    assert max(map(len, out.splitlines())) <= 60
    assert "✗ pods (3 of 3): has 1500, should have 1450" in out


def test_who_wrote_the_key_last(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    """ "Who put it back?": the API server notes each manager, and a saved snapshot keeps that."""
    made = story(1500)
    config = next(made.each("ConfigMap"))
    entry = {
        "manager": "argocd-controller",
        "operation": "Update",
        "time": "2026-11-28T21:04:11Z",
        "fieldsV1": {"f:data": {"f:veth_mtu": {}}},
    }
    body = config.body | {"metadata": {"name": "canal-config", "namespace": "kube-system", "managedFields": [entry]}}
    objects = tuple(Object.of(body) if one is config else one for one in made.objects)
    path = saved(msgspec.structs.replace(made, objects=objects))
    _, out = asked(capsys, "n1", "--from", path)
    assert "data.veth_mtu (last written by argocd-controller, 2026-11-28T21:04:11Z)" in out
    assert main.run(["check", "--from", path]) == 1
    told = capsys.readouterr().out
    assert "The key was last written by argocd-controller, 2026-11-28T21:04:11Z." in told


@pytest.mark.parametrize("offline", [True, False], ids=["manifests", "saved in a cluster without agents"])
def test_files_without_a_node_say_what_would_show_one(
    saved: Saved, capsys: pytest.CaptureFixture[str], *, offline: bool
) -> None:
    path = saved(msgspec.structs.replace(story(1450), nodes=(), offline=offline))
    code, out = asked(capsys, "--from", path)
    assert code == 1
    assert " ".join(out.split()) == (
        "? No node was observed: add to the files what a node prints (`ip -d link`, `ip route`) and a copy of its"
        " /etc/cni/net.d, or give instead what `kubemtu check --exec --save FILE` writes in the cluster."
    )
    code, out = asked(capsys, "n1", "--from", path)
    assert code == 3
    assert "node n1 was not observed: add to the files" in out


def test_a_file_of_flannels_that_was_saved_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Backend.MTU 1400 makes 1320 under WireGuard, which takes 80; flanneld has written 1420, and was not restarted."""
    (tmp_path / "n1").mkdir()
    backend = '{"Network": "10.42.0.0/16", "Backend": {"Type": "wireguard", "MTU": 1400}}'
    (tmp_path / "n1" / "net-conf.json").write_text(backend)
    (tmp_path / "n1" / "subnet.env").write_text("FLANNEL_MTU=1420\n")
    code, out = asked(capsys, "n1", "--from", str(tmp_path))
    assert code == 1
    assert out.startswith("✗ On n1 it stopped at its file (/run/flannel/subnet.env): 1420, not 1320.")


def with_nodes(made: Snapshot, *names: str, **labels: str) -> Snapshot:
    """Add nodes that nobody shows."""
    added = [
        Object.of({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}}) for name in names
    ]
    return msgspec.structs.replace(made, objects=(*made.objects, *added))


@pytest.mark.parametrize("offline", [False, True])
def test_nodes_that_nobody_shows_are_no_pass(offline: bool, saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    made = with_nodes(story(1450, (node("n1"),)), "n2", "n3")
    path = saved(msgspec.structs.replace(made, offline=offline))
    code, out = asked(capsys, "--from", path)
    assert code == 1
    assert out.startswith("✓ On n1 it has come all the way")
    assert out.splitlines()[1].startswith("? Nothing was seen of n2 and n3: ")
    assert asked(capsys, "n1", "--from", path)[0] == 0
    main.run(["why-not", "--from", path, "-o", "json"])
    assert json.loads(capsys.readouterr().out)["unseen"] == ["n2", "n3"]


def test_nodes_of_windows_are_no_pass(saved: Saved, capsys: pytest.CaptureFixture[str]) -> None:
    made = with_nodes(story(1450, (node("n1"),)), "w1", **{"kubernetes.io/os": "windows"})
    code, out = asked(capsys, "--from", saved(made))
    assert code == 1
    assert out.splitlines()[1] == "? w1 runs Windows: what MTU pods have there was not seen."


@pytest.mark.parametrize(
    ("routes", "code", "headline", "row"),
    [
        ({"10.42.3.0/24": 1450}, 0, "✓ On n1 it has come all the way: pods' routes (", "✓  pods' routes"),
        ({}, 1, "✗ On n1 it stopped at pods' routes (", "✗  pods' routes"),
    ],
    ids=["they have them", "they lack them"],
)
def test_routes_by_destination_show_what_they_should_have(
    routes: dict[str, int], code: int, headline: str, row: str, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = node("n1", nic=9000, pod=8950)
    given = tuple(
        net.Route(family=4, destination=to, device="eth0", gateway="169.254.1.1", mtu=mtu)
        for to, mtu in ({"default": None} | routes).items()
    )
    held = net.HeldSizes(
        migration="canal-8950-1", pod_mtu=8950, network_mtus=(net.NetworkMtu(network="10.42.3.0/24", mtu=1450),)
    )
    ports = tuple(msgspec.structs.replace(port, routes=given) for port in seen.ports)
    big = msgspec.structs.replace(seen, held=held, ports=ports)
    made = networked(story(1450, (big, node("n3"))), {})
    in_force = Object.of(
        {
            "kind": "MTUMigration",
            "metadata": {"name": "canal-8950-1"},
            "spec": {"direction": "forward"},
            "status": {"progress": {"finished": True, "held": True, "step": 1}},
        }
    )
    path = saved(msgspec.structs.replace(made, objects=(*made.objects, in_force)))
    ended, out = asked(capsys, "n1", "--from", path)
    assert ended == code
    assert out.startswith(headline)
    assert "None" not in out
    (line,) = (line for line in out.splitlines() if row in line)
    assert line.split()[-1] == "1450"
