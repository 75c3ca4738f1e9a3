"""What a change says of containers and virtual machines inside pods, which it leaves as they are."""

import msgspec
from tests.support import example

from kubemtu.core import net
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide

DOCKER0 = net.InnerDevice(name="docker0", kind="bridge", mtu=1500, ports=1, port_mtu=1500)
GUEST = net.InnerDevice(name="k6t-eth0", kind="bridge", mtu=1500, ports=1, taps=1, port_mtu=1500, joined=True)


def story(*devices: net.InnerDevice) -> Snapshot:
    first, *rest = example.trio(pod=1500, conflist=1500)
    port = msgspec.structs.replace(first.ports[0], inner=devices)
    return example.story(1500, (msgspec.structs.replace(first, ports=(port, *first.ports[1:])), *rest))


def test_containers_that_a_decrease_leaves_larger_are_named_before_it() -> None:
    made, _ = decide.plan(story(DOCKER0))
    (said,) = [line for line in made.remains if "docker0" in line]
    assert said.startswith(
        "What 1 pod runs inside (default/web-1-0) stays as large as it is, above 1450: docker0 1500. It hangs on large "
        "replies from outside the pod network"
    )
    assert not [line for line in made.warnings if "docker0" in line]


def test_a_guest_that_is_bridged_to_the_pod_is_a_warning() -> None:
    made, _ = decide.plan(story(GUEST))
    (said,) = [line for line in made.warnings if "k6t-eth0" in line]
    assert said == (
        "Guests that are bridged to their pod's own interface keep k6t-eth0 1500 in default/web-1-0: from the change "
        "on, what they send above 1450 vanishes, until they are restarted or migrated."
    )


def test_what_fits_all_the_same_is_not_spoken_of() -> None:
    made, _ = decide.plan(
        story(msgspec.structs.replace(DOCKER0, port_mtu=1450), msgspec.structs.replace(DOCKER0, ports=0))
    )
    assert not [line for line in (*made.remains, *made.warnings) if "docker0" in line]
