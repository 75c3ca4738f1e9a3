"""How large a request and a stored object may be, and what a client hears of one that is larger.

Measured on kube-apiserver 1.36.3. Sources: kubernetes/apiserver `pkg/server/config.go` (MaxRequestBodyBytes), etcd
`server/embed/config.go` (DefaultMaxRequestBytes) and `client/v3/options.go` (defaultMaxCallSendMsgSize). A dry run
stores nothing, so only the request counts there.
"""

import msgspec

from kubemtu_lab.api.errors import Refusal, unforeseen
from kubemtu_lab.api.resources import Object

REQUEST_BYTES = 3 * 1024 * 1024
SENT_BYTES = 2 * 1024 * 1024
STORED_BYTES = 1536 * 1024
_AROUND = 200
"""What etcd is sent beside the object: its key twice, and what must be true of it."""


def check_request(body: bytes) -> None:
    """Refuse a request whose body is too large, before anything of it is read.

    Raises:
        Refusal: 413.
    """
    if len(body) > REQUEST_BYTES:
        raise Refusal(413, "RequestEntityTooLarge", f"Request entity too large: limit is {REQUEST_BYTES}")


def check_stored(item: Object) -> None:
    """Refuse an object that etcd does not take: as a fault of the server's own, for it knows none of its sizes.

    Raises:
        Refusal: 500.
    """
    size = len(msgspec.json.encode(item)) + _AROUND
    if size > SENT_BYTES:
        told = f"trying to send message larger than max ({size} vs. {SENT_BYTES})"
        raise unforeseen(f"rpc error: code = ResourceExhausted desc = {told}")
    if size > STORED_BYTES:
        raise unforeseen("etcdserver: request is too large")
