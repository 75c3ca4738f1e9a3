"""Nodes by node_exporter's metrics: which series is of which node, what they show and what not, and what goes wrong."""

import http.server
import json
import subprocess
from pathlib import Path

import pytest
from tests.support import example
from tests.support.commanded import cluster, pod
from tests.support.metrics import Answer, Metrics, answered, joined, of_node, say, served
from tests.support.scripted_api import Scripted

from kubemtu.core import errors, net
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows import decide
from kubemtu.flows.agentless import prometheus, promql, sources

NODE = {"lo": 65536, "eth0": 1500, "flannel.1": 1450, "cali1234567890a": 1450}
CANAL = example.canal()


def known(nodes: int = 1) -> Snapshot:
    whole = cluster([pod("exporter-1", "n1", "exporter", "monitoring")], nodes)
    return Snapshot(source="test", objects=(*whole.objects, *CANAL), unread=whole.unread, taken_at=1000.0)


async def seen(answer: Answer | Metrics, nodes: int = 1, match: str = "") -> Snapshot:
    """Return what a Prometheus that answers so makes of the nodes."""
    with served(answer if callable(answer) else answered(answer)) as asked:
        client = promql.Direct(promql.target(asked.url, {}))
        source = lambda snapshot, names: prometheus.observe(client, snapshot, names, 1000.0, match)  # noqa: E731
        return await sources.filled(known(nodes), [source])


def told(snapshot: Snapshot) -> str:
    return " ".join(entry.message for entry in snapshot.unread)


@pytest.mark.parametrize(
    ("instance", "labels"),
    [
        ("n1", {}),  # as kube-prometheus relabels it
        ("192.0.2.1:9100", {}),
        ("[192.0.2.1]:9100", {}),
        ("10.9.9.9:9100", {"node": "n1"}),
        ("10.9.9.9:9100", {"kubernetes_node": "n1"}),
        ("exporter:9100", {"namespace": "monitoring", "pod": "exporter-1"}),
    ],
)
async def test_a_series_is_of_the_node_that_its_labels_name(instance: str, labels: dict[str, str]) -> None:
    snapshot = await seen(of_node(instance, NODE, up="eth0", more=labels))
    (one,) = snapshot.nodes
    assert (one.node, one.seen_by, one.kernel, one.observed_at) == ("n1", "prometheus", "6.1.0", 987.5)
    assert {link.name: link.mtu for link in one.links} == NODE
    assert [(port.host_link, port.host_mtu, port.pod_mtu) for port in one.ports] == [("cali1234567890a", 1450, None)]
    assert one.uplinks == (net.Uplink(peer="", device="eth0", mtu=1500),)
    assert snapshot.unread == ()


async def test_by_the_name_that_a_host_calls_itself() -> None:
    metric = of_node("10.9.9.9:9100", NODE, up="eth0")
    metric = {**metric, "node_uname_info": [({"instance": "10.9.9.9:9100", "nodename": "n1", "release": "5.4"}, 1)]}
    assert [one.node for one in (await seen(metric)).nodes] == ["n1"]


async def test_nodes_are_judged_by_the_same_rules() -> None:
    """Both nodes' tunnels are larger than what VXLAN's 50 bytes leave of 1450, and so are the host ends."""
    wrong = {"eth0": 1450, "flannel.1": 1450, "cali1234567890a": 1450}
    report = decide.check(await seen(joined(of_node("n1", wrong, up="eth0"), of_node("n2", wrong, up="eth0")), 2))
    assert report.verdict == "broken"
    assert {"MTU101", "MTU107"} <= {finding.code for finding in report.findings}
    (above,) = [finding for finding in report.findings if finding.code == "MTU101"]
    assert "as their host ends have (the pods' own ends were not seen)" in above.message
    right = {"eth0": 1500, "flannel.1": 1450, "cali1234567890a": 1450}
    report = decide.check(await seen(joined(of_node("n1", right, up="eth0"), of_node("n2", right, up="eth0")), 2))
    assert report.verdict == "incomplete"  # nobody looked into the pods


async def test_which_nic_leads_out_is_never_guessed() -> None:
    several = {"eth0": 9000, "bond0.100": 1500, "docker0": 1500, "flannel.1": 1450}
    (one,) = (await seen(of_node("n1", several, up="eth0 bond0.100 docker0"))).nodes
    assert one.uplinks == ()
    assert "bond0.100 1500 and eth0 9000" in one.errors[0]
    assert "--nic-mtu" in one.errors[0]
    shown: Metrics = {
        **of_node("n1", several, up="eth0 bond0.100"),
        "node_network_address_info": [({"instance": "n1", "device": "bond0.100", "address": "192.0.2.1"}, 1)],
    }
    (one,) = (await seen(shown)).nodes
    assert (one.uplinks, one.errors) == ((net.Uplink(peer="", device="bond0.100", mtu=1500),), ())
    (one,) = (await seen(of_node("n1", {"eth0": 1500, "eth1": 1500}, up="eth0 eth1"))).nodes
    assert one.uplinks == (net.Uplink(peer="", device="eth0", mtu=1500),)
    (one,) = (await seen(of_node("n1", {"lo": 65536, "eth0": 1500}))).nodes
    assert one.uplinks == ()
    assert "no interface" in one.errors[0]


async def test_what_is_old_is_not_taken() -> None:
    snapshot = await seen(joined(of_node("n1", NODE, age=181.0), of_node("n2", NODE, up="eth0", age=179.0)), 2)
    assert [one.node for one in snapshot.nodes] == ["n2"]
    assert "is 181 s old" in told(snapshot)


async def test_who_is_in_no_series_is_said() -> None:
    snapshot = await seen(of_node("n1", NODE, up="eth0"), 2)
    assert [one.node for one in snapshot.nodes] == ["n1"]
    assert "can be told to be of this node" in told(snapshot)
    assert "netclass" in told(await seen({}))


async def test_two_that_differ_show_nothing_and_two_that_agree_do() -> None:
    one, same, other = (
        of_node(f"192.0.2.1:{port}", {"eth0": mtu}, up="eth0") for port, mtu in ((1, 9000), (2, 9000), (3, 1500))
    )
    assert len((await seen(joined(one, same))).nodes) == 1
    snapshot = await seen(joined(one, other))
    assert snapshot.nodes == ()
    assert "different MTUs of eth0 (instance=192.0.2.1:" in told(snapshot)


async def test_of_several_clusters_one_must_be_named() -> None:
    both = joined(
        of_node("n1", NODE, up="eth0", more={"cluster": "prod"}),
        of_node("n1", NODE, up="eth0", more={"cluster": "test"}),
    )
    snapshot = await seen(both)
    assert snapshot.nodes == ()
    assert "2 clusters" in told(snapshot)
    assert """--prometheus-match 'cluster="test"'""" in told(snapshot)


async def test_a_match_goes_into_every_query() -> None:
    with served(answered(of_node("n1", NODE, up="eth0", more={"cluster": "prod"}))) as asked:
        client = promql.Direct(promql.target(f"{asked.url}/prom/graph?g0.expr=up", {}))
        await prometheus.observe(client, known(), ["n1"], 1000.0, '{cluster="prod"}')
        assert len(asked.queries) == 5
        assert all('{cluster="prod"}' in query for query in asked.queries)
        assert asked.paths == {"/prom/api/v1/query"}
    for bad in ('cluster="a"} or vector(1) or up{', "cluster", 'a="b'):
        with pytest.raises(errors.UsageError):
            prometheus.checked(bad)


def _html(request: http.server.BaseHTTPRequestHandler, _query: str) -> None:
    say(request, b"<html>Sign in</html>")


def _redirected(request: http.server.BaseHTTPRequestHandler, _query: str) -> None:
    say(request, b"", 302, Location="https://login.example/\x1b[31m".replace("\x1b", "%1b"))


def _refused(request: http.server.BaseHTTPRequestHandler, _query: str) -> None:
    say(request, {"status": "error", "errorType": "bad_data", "error": "unclosed \x1b[31m parenthesis"}, 400)


def _unauthorized(request: http.server.BaseHTTPRequestHandler, _query: str) -> None:
    say(request, b"no", 401)


def _missing(request: http.server.BaseHTTPRequestHandler, _query: str) -> None:
    say(request, b"404 page not found", 404)


def _matrix(request: http.server.BaseHTTPRequestHandler, _query: str) -> None:
    say(request, {"status": "success", "data": {"resultType": "matrix", "result": []}})


def _odd(request: http.server.BaseHTTPRequestHandler, _query: str) -> None:
    say(request, {"status": "success", "data": {"resultType": "vector", "result": [{"metric": 5}]}})


def _endless(request: http.server.BaseHTTPRequestHandler, _query: str) -> None:
    say(request, b" " * 5000, 200)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_html, "answers what no Prometheus does (200)"),
        (_redirected, "leads elsewhere (302"),
        (_refused, r"refuses the query (unclosed \x1b[31m parenthesis)"),
        (_unauthorized, "does not let us in (401)"),
        (_missing, "does its path need a prefix? (404)"),
        (_matrix, "answers no vector (matrix)"),
        (_odd, "answers series that cannot be read"),
        (_endless, "answered more than 0 MiB"),
    ],
)
async def test_what_answers_otherwise_is_a_sentence(
    answer: Answer, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promql, "ANSWER_MOST", 4000)
    snapshot = await seen(answer)
    assert snapshot.nodes == ()
    (entry,) = [one for one in snapshot.unread if one.what.startswith("Prometheus at")]
    assert words in entry.message
    assert "\x1b" not in entry.message
    report = decide.check(snapshot)
    assert report.verdict != "healthy"


async def test_nobody_there_is_a_sentence() -> None:
    with served(_html) as asked:
        client = promql.Direct(promql.target(asked.url, {}))
    with pytest.raises(errors.Unreachable, match="cannot be reached"):
        await client.query("up")


async def test_values_that_no_link_can_have_are_left_out() -> None:
    odd = {"eth0": 1500, "a/b": 1500, "nan": float("nan"), "minus": -1, "half": 1.5, "inf": float("inf"), "\x1b[31m": 9}
    (one,) = (await seen(of_node("n1", odd, up="eth0"))).nodes  # type: ignore[arg-type]
    assert [link.name for link in one.links if link.name != "\x1b[31m"] == ["eth0"]


async def test_a_token_or_a_password_is_shown_and_never_told(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    with served(_unauthorized) as asked:
        host = asked.url.removeprefix("http://")
        targets = [
            promql.target(asked.url, {promql.TOKEN: "from-the-environment"}),
            promql.target(asked.url, {promql.TOKEN: "other"}, token_file=file),
            promql.target(f"http://me:hunter2@{host}", {}),
        ]
        for target in targets:
            with pytest.raises(errors.Forbidden) as raised:
                await promql.Direct(target).query("up")
            for secret in ("from-the-environment", "from-a-file", "hunter2", "bWU6aHVudGVyMg=="):
                assert secret not in f"{raised.value} {target!r} {promql.Direct(target).where}"
        assert asked.authorization == {"Bearer from-the-environment", "Bearer from-a-file", "Basic bWU6aHVudGVyMg=="}


@pytest.mark.parametrize(
    "address", ["", "prometheus", "ftp://host", "http://", "http://host:port", "http://a b", "http://[::1"]
)
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(errors.UsageError, match="--prometheus"):
        promql.target(address, {})


@pytest.mark.parametrize(
    "address", ["http://me:hunter2/x@host", "http://me:hunter2@host:99999", "http://me:hunter2@[::1"]
)
def test_no_part_of_a_password_is_told_of_what_is_no_address(address: str) -> None:
    with pytest.raises(errors.UsageError) as raised:
        promql.target(address, {})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "proxy",
    ["ftp://me:hunter2@host", "http://me:hunter2@host:99999", "http://me:hunter2/x@host", "http://me:hunter2@["],
)
def test_a_proxy_of_the_environment_that_is_none_is_said_before_anything_is_asked(proxy: str) -> None:
    with pytest.raises(errors.Malformed, match="the environment: the proxy ") as raised:
        promql.target("http://prometheus", {"HTTP_PROXY": proxy})
    assert "hunter2" not in str(raised.value)


async def test_the_environments_proxy_is_asked_as_for_an_api_server() -> None:
    with served(answered(of_node("n1", NODE, up="eth0"))) as asked:
        through = {"HTTP_PROXY": asked.url, "ALL_PROXY": "http://127.0.0.1:9", "NO_PROXY": "other"}
        assert await promql.Direct(promql.target("http://prometheus.invalid", through)).query("node_uname_info")
        beside = promql.Direct(promql.target("http://prometheus.invalid", {**through, "NO_PROXY": "invalid"}))
        with pytest.raises(errors.Unreachable, match=r"http://prometheus\.invalid cannot be reached"):
            await beside.query("node_uname_info")


async def test_a_proxy_that_speaks_socks_is_a_sentence() -> None:
    target = promql.target("http://prometheus.invalid", {"HTTP_PROXY": "socks5://me:hunter2@127.0.0.1:9"})
    with pytest.raises(errors.UsageError, match=r"the proxy socks5://127\.0\.0\.1:9 speaks SOCKS"):
        await promql.Direct(target).query("up")


def test_a_token_file_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    for path, text in ((tmp_path / "none", None), (tmp_path / "odd", "a\nb")):
        if text is not None:
            path.write_text(text)
        with pytest.raises(errors.UsageError, match="token"):
            promql.target("http://host", {}, token_file=path)


async def test_whom_to_trust_is_in_a_file(tmp_path: Path) -> None:
    """The server's own certificate, made on the spot."""
    file, empty = tmp_path / "pem", tmp_path / "empty"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file, "-out", tmp_path / "certificate"],
        check=True,
        capture_output=True,
    )
    authority = (tmp_path / "certificate").read_text()
    file.write_text(file.read_text() + authority)
    empty.write_text("")
    with served(answered(of_node("n1", NODE)), file) as asked:
        assert await promql.Direct(promql.target(asked.url, {}, ca=tmp_path / "certificate")).query("node_uname_info")
        with pytest.raises(errors.Unreachable, match="cannot be reached"):
            await promql.Direct(promql.target(asked.url, {})).query("up")
        for unusable in (empty, tmp_path / "absent"):
            with pytest.raises(errors.Malformed, match="--prometheus-ca"):
                await promql.Direct(promql.target(asked.url, {}, ca=unusable)).query("up")


async def test_a_service_is_asked_through_the_api_server(scripted: Scripted) -> None:
    body = {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": {"a": "b"}, "value": [1.5, "2"]}]},
    }
    at = "/api/v1/namespaces/monitoring/services/https:prometheus:9090/proxy/base/api/v1/query"
    api, asked = scripted({f"GET {at}": json.dumps(body).encode()})
    async with api:
        (series,) = await promql.ByService(api, "monitoring/https:prometheus:9090/base").query("up")
    assert (series.metric, series.number) == ({"a": "b"}, 2.0)
    assert asked[-1].url.params["query"] == "up"
    refused, _ = scripted({f"GET {at}": (403, "Forbidden", "no")})
    async with refused:
        with pytest.raises(errors.Forbidden, match="services"):
            await promql.ByService(refused, "monitoring/https:prometheus:9090/base").query("up")


def test_real_shapes_are_read() -> None:
    """As Prometheus 2.42 answered for node_exporter 1.5."""
    text = b"""{"status":"success","data":{"resultType":"vector","result":[{"metric":{
    "__name__":"node_network_mtu_bytes","device":"eth0","instance":"127.0.0.1:19100","job":"node"},"value":[1795917356.497,"1400"]}]}}"""
    (series,) = promql.decoded(text, "here")
    assert (series.metric["device"], series.number) == ("eth0", 1400.0)
    with pytest.raises(errors.Malformed, match="unclosed left parenthesis"):
        promql.decoded(
            b'{"status":"error","errorType":"bad_data","error":"1:5: parse error: unclosed left parenthesis"}',
            "here",
            400,
        )
