"""The last look: what is wrong is a surprise, with the pod's name."""

import time
from typing import cast

import msgspec
import pytest
from tests.support.scripted_api import Scripted

from kubemtu.core import errors, net, objects
from kubemtu.core.change import migration, plan, undo
from kubemtu.flows.agents import events
from kubemtu.flows.agents.nodes import AgentWatch
from kubemtu.flows.change import messages, verify
from kubemtu.kube import api as kube_api
from kubemtu.kube import mtu

TARGET = plan.NodeTarget(node="n1", ports=net.PortRule(prefixes=("cali",)), pod_mtu=1450, origin_mtu=1500)
LIVE = plan.Live(nodes=(TARGET,), pin_mtu=1450, highest_mtu=1500, underlay=1500, why="why")
PORT = net.PodPort(
    netns="cni-1",
    inode=1,
    host_link="cali1",
    host_index=3,
    host_mtu=1450,
    pod_link="eth0",
    pod_index=2,
    pod_mtu=1450,
    addresses=("10.42.0.7",),
    routes=(net.Route(family=4, destination="default", device="eth0"),),
)
NAMES = {"10.42.0.7": "default/web-1"}
CONFLIST = "/etc/cni/net.d/10-calico.conflist"


class Timed:
    """A server of which nothing is asked but the time."""

    def now(self) -> float:
        """The time."""
        return time.time()


def nodes(*ports: net.PodPort, **seen: object) -> AgentWatch:
    """What the agent of n1 has told."""
    found = AgentWatch(cast("kube_api.Api", Timed()), events.silent)
    observation = net.NodeObservation(node="n1", ports=ports, **seen)  # type: ignore[arg-type]  # each field is checked
    found._node_mtus["n1"] = mtu.NodeMtu(name="n1", observation=observation, observed_at=time.time())
    return found


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "SECONDS", 0.0)
    monkeypatch.setattr(verify, "CONFLISTS", 0.0)


async def surprise(
    found: AgentWatch, step: plan.Live = LIVE, *, target: plan.NodeTarget = TARGET, locks: int = 0
) -> str:
    with pytest.raises(errors.Surprise) as caught:
        await verify.ports(found, step, {"n1": target}, NAMES, {"n1": locks})
    return str(caught.value)


async def test_all_is_right() -> None:
    said = await verify.ports(nodes(PORT, PORT), LIVE, {"n1": TARGET}, NAMES, {"n1": 0})
    assert said == "2 pods on 1 node: both ends have 1450, and no pin is left"


async def test_an_end_that_differs_is_named_with_its_pod() -> None:
    wrong = msgspec.structs.replace(PORT, host_mtu=1500)
    assert await surprise(nodes(wrong, PORT)) == (
        "the change is made, but pod default/web-1 on node n1 has 1500 at the node's end (cali1) and 1450 at its own, "
        "not 1450; see `kubemtu check`, then run `kubemtu apply` again to finish, or `kubemtu rollback`"
    )


async def test_a_pin_that_is_left_is_named() -> None:
    pinned = net.Route(family=4, destination="default", device="eth0", mtu=1450, locked=True)
    wrong = msgspec.structs.replace(PORT, routes=(pinned,))
    assert "pod default/web-1 on node n1 still has a pin: default mtu lock 1450" in await surprise(nodes(wrong))
    overlay = net.Route(family=4, destination="10.42.2.0/24", device="flannel.1", mtu=1450, locked=True)
    tunnel = msgspec.structs.replace(TARGET, tunnel="flannel.1")
    said = await surprise(nodes(PORT, routes=(overlay,)), target=tunnel)
    assert "node n1 still has a pin: 10.42.2.0/24 mtu lock 1450" in said
    routed = msgspec.structs.replace(TARGET, pod_networks=("10.42.0.0/16",))
    by_nic = msgspec.structs.replace(overlay, device="eth0")
    assert "node n1 still has a pin: 10.42.2.0/24" in await surprise(nodes(PORT, routes=(by_nic,)), target=routed)


async def test_a_lock_of_the_nodes_own_network_is_no_pin_of_the_pods() -> None:
    """An operator helps a node that is cut off meanwhile."""
    own = net.Route(family=4, destination="192.168.77.0/24", device="eth0", mtu=1404, locked=True)
    anywhere = msgspec.structs.replace(own, destination="default")
    target = msgspec.structs.replace(TARGET, pod_networks=("10.42.0.0/16", "fd42::/48"))
    assert "no pin is left" in await verify.ports(nodes(PORT, routes=(own, anywhere)), LIVE, {"n1": target}, NAMES, {})


async def test_a_pin_of_another_size_and_one_of_ipv6_alone_are_pins_too() -> None:
    """A change that was given another plan has pinned to two sizes; IPv6 is pinned by a sysctl."""
    pinned = net.Route(family=4, destination="default", device="eth0", mtu=1400, locked=True)
    wrong = msgspec.structs.replace(PORT, routes=(pinned,))
    assert "pod default/web-1 on node n1 still has a pin: default mtu lock 1400" in await surprise(nodes(wrong))
    small = msgspec.structs.replace(PORT, ipv6_mtu=1400)
    assert "pod default/web-1 on node n1 still has a pin: net.ipv6.conf.eth0.mtu=1400" in await surprise(nodes(small))


async def test_pins_of_the_nodes_own_traffic_stay_until_the_way_back() -> None:
    step = msgspec.structs.replace(LIVE, host_mtu=1500, host_addresses=("192.168.77.2",))
    meant = net.Route(family=4, destination="192.168.77.2/32", device="eth0", mtu=1500, locked=True)
    found = nodes(PORT, routes=(meant,))
    assert "no pin is left" in await verify.ports(found, step, {"n1": TARGET}, NAMES, {})
    back = msgspec.structs.replace(step, restore=True)
    assert "node n1 still has a pin: 192.168.77.2/32 mtu lock 1500" in await surprise(found, back)


async def test_a_lock_of_the_users_own_is_no_pin() -> None:
    own = net.Route(family=4, destination="default", device="eth0", mtu=1450, locked=True)
    found = nodes(msgspec.structs.replace(PORT, routes=(own,)))
    await verify.ports(found, LIVE, {"n1": TARGET}, NAMES, {"n1": 1})
    assert "still has a pin" in await surprise(found)  # unless the record says that it was there before


async def test_a_tunnel_and_a_bridge_are_looked_at() -> None:
    links = (net.Link(index=4, name="flannel.1", mtu=1500), net.Link(index=5, name="cni0", mtu=1500))
    target = msgspec.structs.replace(TARGET, tunnel="flannel.1", tunnel_mtu=1450)
    assert "flannel.1 on node n1 has 1500, not 1450" in await surprise(nodes(PORT, links=links), target=target)
    target = msgspec.structs.replace(TARGET, bridge="cni0")
    assert "cni0 on node n1 has 1500, not 1450" in await surprise(nodes(PORT, links=links), target=target)


async def test_a_node_that_shows_nothing_is_a_surprise_unless_it_has_left() -> None:
    found = nodes(PORT)
    found._node_mtus.clear()
    assert "node n1 shows nothing any more" in await surprise(found)
    found.gone.add("n1")
    assert await verify.ports(found, LIVE, {"n1": TARGET}, NAMES, {}) == (
        "no node of the change is left, so nothing was looked at"
    )
    assert await verify.ports(nodes(), LIVE, {"n1": TARGET}, NAMES, {}) == "0 pods on 1 node: no pin is left"


@pytest.mark.parametrize(
    ("restored", "said"),
    [
        (2, "2 pods on 1 node: both ends have what was recorded, and no pin is left"),
        (
            1,
            (
                "2 pods on 1 node: both ends of 1 have what was recorded; of 1 nothing was recorded before the change, "
                "and they have what was usual (1500); no pin is left"
            ),
        ),
        (None, "2 pods on 1 node: both ends have what was recorded, as the agents say, and no pin is left"),
    ],
)
async def test_after_a_rollback_recorded_is_said_only_of_what_was(restored: int | None, said: str) -> None:
    back = msgspec.structs.replace(LIVE, restore=True)
    found = nodes(msgspec.structs.replace(PORT, pod_mtu=1400, host_mtu=1400), PORT)
    told = migration.Applied(
        phase=migration.Phase.SETTLE, restore=True, done=True, pods=2, settings_changed=0, pods_restored=restored
    )
    found._node_mtus["n1"] = msgspec.structs.replace(found._node_mtus["n1"], applied=told)
    assert await verify.ports(found, back, {"n1": TARGET}, NAMES, {}) == said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"plugins": [{"type": "calico", "mtu": 1500}]}', f"node n1: {CONFLIST} says 1500, not 1450"),
        ('{"plugins": [{"type": "calico"}]}', f"node n1: {CONFLIST} says no MTU, not 1450"),
        (None, f"node n1 has no {CONFLIST}"),
    ],
)
async def test_a_conflist_that_did_not_follow(text: str | None, sentence: str) -> None:
    ref = objects.Ref(
        api_version="apps/v1", kind="DaemonSet", plural="daemonsets", namespace="kube-system", name="canal"
    )
    step = plan.Rollout(ref=ref, why="why", conflist=CONFLIST, mtu=1450)
    files = (net.NodeFile(path=CONFLIST, text=text),) if text is not None else ()
    with pytest.raises(errors.Surprise) as caught:
        await verify.conflists(nodes(files=files), step)
    assert str(caught.value) == (
        f"the CNI's pods have restarted, but {sentence}; look at the log of the pod of DaemonSet kube-system/canal "
        "there"
    )


RENDERED = "/api/v1/namespaces/calico-system/configmaps/cni-config"
RESTART = plan.Rollout(
    ref=objects.Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name="calico-node"),
    why="why",
    conflist="/etc/cni/net.d/10-calico.conflist",
    mtu=1450,
    rendered=plan.Rendering(
        ref=objects.Ref(
            api_version="v1", kind="ConfigMap", plural="configmaps", name="cni-config", namespace="calico-system"
        ),
        path=("data", "config"),
        plugin="calico",
        by="The operator",
    ),
)


def rendered(number: str) -> dict[str, object]:
    config = f'{{"plugins": [{{"type": "calico", "mtu": {number}}}, {{"type": "portmap"}}]}}'
    return {"kind": "ConfigMap", "metadata": {"name": "cni-config"}, "data": {"config": config}}


async def test_a_restart_waits_until_the_operator_has_rendered(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "PAUSE", 0.0)
    api, asked = scripted({f"GET {RENDERED}": [rendered("1500"), (404, "NotFound", "not yet"), rendered("1450")]})
    async with api:
        await verify.rendering(api, RESTART)
    assert len([one for one in asked if one.url.path == RENDERED]) == 3


@pytest.mark.parametrize(("number", "said"), [("1500", "1500"), ("0", "no MTU"), ("broken", "no MTU")])
async def test_an_operator_that_renders_nothing_is_named_and_nothing_is_restarted(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, number: str, said: str
) -> None:
    monkeypatch.setattr(verify, "RENDERING", 0.0)
    api, _ = scripted({f"GET {RENDERED}": rendered(number)})
    async with api:
        with pytest.raises(errors.Surprise) as stopped:
            await verify.rendering(api, RESTART)
    assert str(stopped.value).startswith("The operator has not rendered what was edited within 0 s: ConfigMap ")
    assert f"cni-config, data.config says {said}, not 1450; nothing was restarted" in str(stopped.value)


async def test_where_nobody_renders_and_on_a_way_back_to_many_nothing_is_asked(scripted: Scripted) -> None:
    api, asked = scripted({})
    async with api:
        await verify.rendering(api, msgspec.structs.replace(RESTART, rendered=None))
        await verify.rendering(api, undo.again(msgspec.structs.replace(RESTART, held=(1450, 1500))))
    assert asked == []


APART = msgspec.structs.replace(
    TARGET, pod_mtu=8950, network_mtus=(net.NetworkMtu(network="10.42.9.0/24", mtu=1450),), default_route_mtu=1500
)


def routed(default: int | None, towards: int | None) -> net.PodPort:
    found = (("default", default), ("10.42.9.0/24", towards))
    return msgspec.structs.replace(
        PORT,
        host_mtu=8950,
        pod_mtu=8950,
        routes=tuple(
            net.Route(family=4, destination=to, device="eth0", gateway="169.254.1.1", mtu=mtu) for to, mtu in found
        ),
    )


async def test_a_pod_that_sends_too_much_by_one_of_its_routes_is_named() -> None:
    step = msgspec.structs.replace(LIVE, nodes=(APART,))
    for port, wrong in (
        (routed(None, 1450), "sends up to 8950 by its route to default, not 1500"),
        (routed(1500, 9000), "sends up to 9000 by its route to 10.42.9.0/24, not 1450"),
    ):
        assert f"pod default/web-1 on node n1 {wrong}" in await surprise(nodes(port), step, target=APART)
    said = await verify.ports(nodes(routed(1500, 1450)), step, {"n1": APART}, NAMES, {})
    assert said == (
        "1 pod on 1 node: both ends have 8950, their default routes 1500 at most, what leads to 1 network a size of "
        "its own, and no pin is left"
    )


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((1450, 1450), "both ends of every veth go to 1450"),
        ((8950, 1350, 1450), "both ends of every veth go to 1350, 1450 and 8950"),
        ((8950, 1350, 1400, 1450), "both ends of every veth go to what their node takes, 1350 to 8950"),
    ],
)
def test_a_phase_names_every_size_that_it_leads_to(sizes: tuple[int, ...], said: str) -> None:
    to = tuple(msgspec.structs.replace(TARGET, node=f"n{number}", pod_mtu=mtu) for number, mtu in enumerate(sizes))
    assert messages.meaning(migration.Phase.DEVICES, msgspec.structs.replace(LIVE, nodes=to)) == said
