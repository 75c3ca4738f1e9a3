"""From which ends a path can be measured, and what is said where that is none."""

import msgspec
import pytest
from tests.support.known import SNAPSHOT, find, made, pod

from kubemtu.core import errors
from kubemtu.core.why.endpoints import Endpoint
from kubemtu.flows.measure import ends

WINDOWS = made("Node", "win-1", status={"nodeInfo": {"operatingSystem": "windows"}})
WITH_WINDOWS = msgspec.structs.replace(
    SNAPSHOT, objects=(*SNAPSHOT.objects, WINDOWS, pod("iis", "win-1", "10.42.9.10"))
)


def known(word: str) -> Endpoint:
    return find(word, snapshot=WITH_WINDOWS)


def test_a_pod_of_windows_is_told_what_can_be_done_and_not_to_install_what_cannot_run_there() -> None:
    others = [known("node/n1"), known("node/n2")]
    with pytest.raises(errors.Unreachable) as refused:
        ends.turned(known("iis"), others)
    assert str(refused.value) == (
        "no kubemtu-agent can measure from default/iis: node win-1 runs Windows, for which there is no agent; name a"
        " pod or node of Linux as the other end, and the way is measured from there, by ICMP echo, or try a size on it:"
        " `ping -f -l 1422 ADDRESS` sends 1450 bytes with DF, the 28 of its headers included"
    )


@pytest.mark.parametrize("word", ["node/win-1", "iis"])
def test_with_an_end_of_linux_it_is_measured_from_that(word: str) -> None:
    start, (goal,) = ends.turned(known(word), [known("web-1")])
    assert (start.name, goal.windows) == ("default/web-1", True)


def test_a_node_of_linux_without_an_agent_is_told_to_install_one() -> None:
    with pytest.raises(errors.Unreachable, match="node n2 has none that told anything of late; install the agents"):
        ends.turned(known("node/n2"), [known("db/pg-0")])
