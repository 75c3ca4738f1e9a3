"""Datagrams of every size from a pod to a pod, and what their sender sees."""

import json
import sys

from tests.support.labs import echo
from tests.support.scenes.cluster import Cluster

SEND = """
import json, socket, sys, time
said = {"sent": 0, "refused": 0, "answered": 0}
late = []  # a busy machine may take longer: they are heard once more in the end
def small():  # what everybody lets pass, after all others: when it comes back, so have they
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((sys.argv[1], 7007)); s.settimeout(1)
    for _ in range(20):
        try:
            s.send(b"last")
            return s.recv(100)
        except OSError:
            pass
for size in range(int(sys.argv[2]), int(sys.argv[3]) + 1):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, 10, int(sys.argv[4]))  # IP_MTU_DISCOVER: 2 = DF and learn, 0 = no DF
    s.connect((sys.argv[1], 7007)); s.settimeout(0.05)
    try:
        s.send(size.to_bytes(4, "big").ljust(size - 28, b"x"))   # IPv4 20, UDP 8
        said["sent"] += 1
        said["answered"] += s.recv(100) == size.to_bytes(4, "big")
    except TimeoutError:
        late.append((s, size))
    except OSError:
        said["refused"] += 1
for again in (False, True, True):  # who answers some may have been too busy to hold all; what is too large stays lost
    unheard, until = [], 0.0
    for s, size in late:
        try:
            if again and said["answered"]:
                s.send(size.to_bytes(4, "big").ljust(size - 28, b"x"))
            unheard.append((s, size))
        except OSError:  # an error that came later
            pass
    late = []
    if unheard:
        small()
        until = time.monotonic() + 0.5
    for s, size in unheard:
        s.settimeout(max(0.001, until - time.monotonic()))
        try:
            said["answered"] += s.recv(100) == size.to_bytes(4, "big")
        except TimeoutError:
            late.append((s, size))
        except OSError:
            pass
print(json.dumps(said))
"""


def send(cluster: Cluster, sender: str, receiver: str, low: int, high: int, *, df: bool = True) -> dict[str, int]:
    """Send one datagram of every size from a pod to a pod, bytes of the IP packet; count what the sender sees."""
    with echo(cluster.lab, receiver):
        return send_to(cluster, sender, cluster.lab.address(receiver), low, high, df=df)


def send_to(cluster: Cluster, sender: str, address: str, low: int, high: int, *, df: bool = True) -> dict[str, int]:
    """Do the same towards an address, at which an echo answers already."""
    words = [address, str(low), str(high), "2" if df else "0"]
    seen: dict[str, int] = json.loads(cluster.lab.exec(sender, [sys.executable, "-I", "-S", "-c", SEND, *words]).stdout)
    return seen
