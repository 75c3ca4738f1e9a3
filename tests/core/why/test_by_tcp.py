"""Which port of a host outside is asked by TCP: the one that was named, else one that a connection stands to."""

import msgspec
import pytest
from tests.support.paths import OUTSIDE, PG, WEB, changed

from kubemtu.core.evidence import records
from kubemtu.core.probe import request
from kubemtu.core.why import legs
from kubemtu.core.why.endpoints import Endpoint

WAY = request.PathRequest(
    name="0.4.whole",
    source=request.Namespace(node="n1", link="caliweb"),
    address="203.0.113.7",
    flows=20,
    detailed=True,
)


def told(*connections: records.TcpConnection) -> dict[str, request.ProbeReport]:
    look = request.PassiveReading(link="caliweb", after=records.Evidence(connections=connections))
    return {"n1": request.ProbeReport(done=True, readings=(look,))}


def tried(there: Endpoint, *connections: records.TcpConnection) -> request.PathRequest | None:
    task = legs.EndpointPair(source=WEB, destination=there, requests=(("whole", WAY),))
    found = legs.by_tcp(task, told(*connections))
    return found.requests[0][1] if found is not None else None


def to(port: int, backoff: int = 0, remote: str = "203.0.113.7") -> records.TcpConnection:
    return records.TcpConnection(remote=remote, remote_port=port, backoff=backoff)


def test_the_port_that_was_named() -> None:
    way = tried(changed(OUTSIDE, tcp_port=443), to(5432, 3))
    assert way is not None
    assert (way.port, way.tcp_only, way.flows, way.both_ways) == (443, True, 1, False)


@pytest.mark.parametrize(
    ("connections", "port"),
    [((to(443), to(5432, 3)), 5432), ((to(443),), 443), ((to(443, 5, "203.0.113.8"),), 0), ((), 0)],
)
def test_a_port_that_is_in_use(connections: tuple[records.TcpConnection, ...], port: int) -> None:
    way = tried(OUTSIDE, *connections)
    assert (way.port if way is not None else 0) == port


def test_inside_a_cluster_stations_answer() -> None:
    assert tried(msgspec.structs.replace(PG, tcp_port=443)) is None
