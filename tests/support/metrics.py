"""A server that speaks Prometheus' HTTP API as far as it is used, as Prometheus 2.42 and node_exporter 1.5 do."""

import contextlib
import http.server
import json
import re
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

NOW = 1795917356.497
Labels = Mapping[str, str]
Metrics = Mapping[str, list[tuple[Labels, float]]]
Answer = Callable[[http.server.BaseHTTPRequestHandler, str], None]


def of_node(
    instance: str, mtus: Mapping[str, int], *, up: str = "", age: float = 12.5, more: Labels | None = None
) -> Metrics:
    """Return what node_exporter says of a node; `up` names the devices that are, all others are "unknown"."""
    who = {"instance": instance, **(more or {})}
    states = [(device, "up" if device in up.split() else "unknown") for device in mtus]
    return {
        "node_network_mtu_bytes": [({**who, "device": device}, mtu) for device, mtu in mtus.items()],
        "node_network_info": [({**who, "device": device, "operstate": state}, 1) for device, state in states],
        "node_uname_info": [({**who, "nodename": f"host-of-{instance}", "release": "6.1.0"}, 1)],
        "timestamp": [(who, age)],
    }


def joined(*several: Metrics) -> Metrics:
    """Return all of them together."""
    return {name: [one for each in several for one in each.get(name, [])] for name in {n for m in several for n in m}}


def answered(metrics: Metrics) -> Answer:
    """Answer queries from these metrics: what `max by` takes away was not put in."""

    def answer(request: http.server.BaseHTTPRequestHandler, query: str) -> None:
        name = "timestamp" if "timestamp(" in query else re.findall(r"node_\w+", query)[-1]
        result = [{"metric": dict(labels), "value": [NOW, f"{value:g}"]} for labels, value in metrics.get(name, [])]
        say(request, {"status": "success", "data": {"resultType": "vector", "result": result}})

    return answer


def say(request: http.server.BaseHTTPRequestHandler, body: object, status: int = 200, **headers: str) -> None:
    """Answer with this body, as JSON if it is no bytes."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    request.send_response(status)
    for name, value in {"Content-Length": str(len(text)), **headers}.items():
        request.send_header(name, value)
    request.end_headers()
    with contextlib.suppress(OSError):
        request.wfile.write(text)


class Asked:
    """What a server was asked: queries, paths, and headers of authorization."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.queries: list[str] = []
        self.paths: set[str] = set()
        self.authorization: set[str | None] = set()


@contextlib.contextmanager
def served(answer: Answer, certificate: Path | None = None) -> Iterator[Asked]:
    """Run such a server on this machine; with TLS where a file holds its key and certificate."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            query = dict(urllib.parse.parse_qsl(text))["query"]
            asked.queries.append(query)
            asked.paths.add(self.path)
            asked.authorization.add(self.headers.get("Authorization"))
            answer(self, query)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        asked = Asked(f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield asked
        finally:
            server.shutdown()
