"""What seeing nodes by commands in their pods takes: `python -m bench.execs [seconds] [nodes ...]`; 0.1 s, 3 and 200.

A server plays API server and kubelets: each command begins to print after so many seconds, about what a container
runtime takes to start one, and each node has 110 pods. In the last line one node in fifty hangs. Printed are the time
of all nodes together, the requests, the most commands at once, and the bytes that came.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import struct
import sys
import time
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

from kubemtu.core.objects import Object
from kubemtu.core.snapshot import Snapshot
from kubemtu.flows.agentless import execs
from kubemtu.kube.api import Api
from kubemtu.kube.connection import Connection

PODS = 110  # of a node: what a kubelet takes without being told otherwise
HANGING = 50  # one node of so many
_ACCEPT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
OWNER = "cni"


def main() -> int:
    """Print the table."""
    words = sys.argv[1:]
    seconds, sizes = float(words[0]) if words else 0.1, [int(word) for word in words[1:]] or [3, 200]
    print(f"each command begins after {seconds:g} s; {execs.PARALLEL} nodes at once; {PODS} pods a node")
    print(f"{'nodes':>6} {'hanging':>8} {'seen':>6} {'seconds':>8} {'requests':>9} {'at once':>8} {'MB':>6}")
    for nodes, hanging in [(size, 0) for size in sizes] + [(sizes[-1], sizes[-1] // HANGING)]:
        asyncio.run(once(nodes, hanging, seconds))
    return 0


async def once(nodes: int, hanging: int, seconds: float) -> None:
    """Print one line."""
    served = Served(hanging, seconds)
    server = await asyncio.start_server(served.connection, "127.0.0.1", 0)
    connection = Connection(server=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", origin="bench")
    snapshot = Snapshot(
        source="bench", objects=[part for number in range(nodes) for part in (node(number), pod(number))]
    )
    async with server, Api(connection) as api:
        begun = time.monotonic()
        seen, unread = await execs.observe(api, snapshot, [f"node-{number}" for number in range(nodes)])
        took = time.monotonic() - begun
        served.end()
    assert len(unread) == hanging, unread[:3]
    assert all(len(one.ports) == PODS for one in seen)
    size = served.sent / 1e6
    print(f"{nodes:>6} {hanging:>8} {len(seen):>6} {took:>8.2f} {served.requests:>9} {served.most:>8} {size:>6.1f}")


class Served:
    """The server; node-0 to node-HANGING-1 never answer a command."""

    def __init__(self, hanging: int, seconds: float) -> None:
        self.requests = self.now = self.most = self.sent = 0
        self._hanging, self._seconds = hanging, seconds
        self._over = asyncio.Event()
        self._printed = {"link": links(), "route": routes()}

    def end(self) -> None:
        """Let go of what hangs."""
        self._over.set()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer what comes on one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests += 1
                url = urlsplit(head.split()[1])
                name = url.path.split("/")[6]
                if url.path.endswith("/exec"):
                    await self._exec(name, parse_qs(url.query)["command"], head, writer)
                    break
                self._write(writer, json.dumps(pod(int(name.rpartition("-")[2])).body).encode())
                await writer.drain()
        writer.close()

    def _write(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        writer.write(body)

    async def _exec(self, name: str, command: Sequence[str], head: str, writer: asyncio.StreamWriter) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            key = next(
                line.split(": ", 1)[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key")
            )
            accept = base64.b64encode(hashlib.sha1((key + _ACCEPT).encode()).digest()).decode()
            upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
            head = f"HTTP/1.1 101 Switching Protocols\r\n{upgrade}Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
            writer.write(head.encode())
            if int(name.rpartition("-")[2]) < self._hanging:
                await self._over.wait()
                return
            await asyncio.sleep(self._seconds)
            text = self._printed["link" if "link" in command else "route"]
            self.sent += len(text)
            writer.write(frame(b"\x01" + text) + frame(b'\x03{"status": "Success"}') + frame(b"", 8))
            await writer.drain()
        finally:
            self.now -= 1


def frame(payload: bytes, opcode: int = 2) -> bytes:
    """Return one frame of a server (RFC 6455, section 5.2)."""
    if len(payload) < 126:
        length = bytes([len(payload)])
    elif len(payload) < 1 << 16:
        length = bytes([126]) + struct.pack(">H", len(payload))
    else:
        length = bytes([127]) + struct.pack(">Q", len(payload))
    return bytes([0x80 | opcode]) + length + payload


def node(number: int) -> Object:
    """Return a Node."""
    address = {"type": "InternalIP", "address": f"10.0.{number // 250}.{number % 250 + 1}"}
    body: dict[str, object] = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number}"},
        "status": {"addresses": [address]},
    }
    return Object.of(body)


def pod(number: int) -> Object:
    """Return the CNI's pod of a node."""
    return Object.of(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"cni-{number}",
                "namespace": "kube-system",
                "ownerReferences": [{"kind": "DaemonSet", "name": OWNER}],
            },
            "spec": {"nodeName": f"node-{number}", "hostNetwork": True, "containers": [{"name": "cni"}]},
            "status": {"phase": "Running", "containerStatuses": [{"name": "cni", "state": {"running": {}}}]},
        }
    )


def links() -> bytes:
    """Return what `ip -d -j link` prints of a node with so many pods."""
    ports = [
        {"ifindex": 10 + number, "ifname": f"cali{number:011x}", "mtu": 1450, "link_index": 3, "link_netnsid": number,
         "flags": ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"], "link_type": "ether", "address": "ee:ee:ee:ee:ee:ee",
         "promiscuity": 0, "linkinfo": {"info_kind": "veth"}, "inet6_addr_gen_mode": "eui64", "num_tx_queues": 2}
        for number in range(PODS)
    ]  # fmt: skip
    nic = {"ifindex": 2, "ifname": "eth0", "mtu": 1500, "flags": ["UP"], "link_type": "ether", "promiscuity": 0}
    return json.dumps([nic, *ports]).encode()


def routes() -> bytes:
    """Return what `ip route show table all` prints of it."""
    pods = "".join(f"10.42.1.{number + 1} dev cali{number:011x} scope link \n" for number in range(PODS))
    return f"default via 10.0.3.254 dev eth0 \n10.0.0.0/22 dev eth0 proto kernel scope link \n{pods}".encode()


if __name__ == "__main__":
    sys.exit(main())
