"""A path that suits the pod, and containers in the pod that are larger: said first where the other end is outside."""

import msgspec
from tests.support import example
from tests.support.paths import OUTSIDE, PG, WEB, both, changed, leg, nothing, path

from kubemtu.core import net
from kubemtu.core.cluster import nesting
from kubemtu.core.why import endpoints
from kubemtu.core.why.diagnosis import diagnose

PORT = msgspec.structs.replace(
    example.port("web-1", "10.42.1.10"),
    inner=(net.InnerDevice(name="docker0", kind="bridge", mtu=1500, ports=1, port_mtu=1500),),
)
NESTED = nesting.larger(PORT, None)
FULL = changed(WEB, nested=NESTED)


def test_towards_the_outside_it_is_what_runs_inside() -> None:
    found = diagnose(FULL, OUTSIDE, path(both("whole", 1450, expected=1450)))
    assert (found.is_mtu, found.confidence) == ("yes", "likely")
    assert found.sentence.startswith(
        "This is MTU for containers inside default/web-1: docker0 is 1500, above the pod's 1450: containers in it hang "
        "on large replies; for the pod itself, this is not MTU: from default/web-1 to "
    )
    assert found.location == "inside default/web-1, at docker0"
    assert found.advice.startswith("dockerd: start it with `--mtu=1450 --default-network-opt=bridge=com.docker.")


def test_where_the_outside_answers_no_probe_the_inside_is_said_all_the_same() -> None:
    found = diagnose(FULL, OUTSIDE, path(leg("whole", nothing())))
    assert found.is_mtu == "yes"
    assert "for the pod itself, it cannot be told whether this is MTU" in found.sentence


def test_between_pods_it_is_mentioned_and_is_not_the_answer() -> None:
    found = diagnose(FULL, PG, path(both("whole", 1450)))
    assert found.is_mtu == "no"
    assert found.sentence.startswith(
        "This is not MTU: from default/web-1 to db/pg-0 packets of 1450 bytes arrive whole"
    )
    assert found.sentence.endswith(
        "; but inside default/web-1 docker0 is 1500, above the pod's 1450: containers in it hang on large replies from "
        "outside the pod network."
    )


def test_an_mtu_that_is_in_the_way_of_the_pod_itself_is_said_as_ever() -> None:
    plain = diagnose(WEB, PG, path(both("whole", 1422), both("nodes", 1472, 1500)))
    assert diagnose(FULL, PG, path(both("whole", 1422), both("nodes", 1472, 1500))).sentence == plain.sentence


def test_a_pod_is_looked_up_with_what_is_inside_it() -> None:
    snapshot = example.cluster((example.node("n1", ports=(PORT,)),))
    (pod,) = snapshot.each("Pod", "default")
    assert endpoints.of_pod(pod, snapshot).nested == NESTED
    assert endpoints.holder("10.42.1.10", snapshot).nested == NESTED
