"""The Kubernetes API that a lab needs: one in this process, or a real one; the same interface for both.

The embedded server is no API server for anything else. What it serves is frozen to what these ask of it, as recorded
from the requests of the tests and of kubectl 1.32 against a lab:

    kubemtu           get, list by pages, watch with bookmarks, create, merge patch, server-side apply, delete of one
                      object under a uid; /status; Impersonate-User (`--as`); the kinds that `install` makes, among them
                      ValidatingAdmissionPolicy; RBAC, so that what a role does not give is refused
    a lab's kubelets  tokens for ServiceAccounts, bound to a pod (TokenRequest): an agent's own, as on a real node
    kubectl           get (tables), describe (events, of which there are none), apply (strategic and JSON patches,
                      server-side apply, field validation, and the OpenAPI v3 without which apply refuses), edit, diff,
                      delete, rollout, wait, label, cordon, explain of custom kinds; exec over WebSocket (v5 and
                      v4.channel.k8s.io) and over SPDY/3.1, as before 1.31, and logs, both through the kubelets

Bodies are JSON or YAML. Left out, because none of these needs it: protobuf (`kubectl create NAME ...` and `auth can-i`
send nothing else, so neither works here), access reviews, OpenAPI v2, aggregated discovery, deletion of a whole
collection, eviction, objects of metadata alone, attach and port-forward; of exec the subprotocols before v4, of logs
the time of a line. A real server of $KUBEBUILDER_ASSETS has no way to the kubelets: neither is there with it. A new
request of kubemtu's is a reason to serve more; one of kubectl's is not.
"""

import os
import socket
from collections.abc import Callable, Mapping, Sequence

from kubemtu_lab.addressing import DUAL, Families
from kubemtu_lab.api.backend import ApiBackend
from kubemtu_lab.api.embedded import EmbeddedApi
from kubemtu_lab.api.envtest import ASSETS, EnvtestApi
from kubemtu_lab.api.objects import HISTORY
from kubemtu_lab.api.store import Store

__all__ = ["ApiBackend", "EmbeddedApi", "EnvtestApi", "api"]


def api(
    *,
    sockets: Sequence[socket.socket] = (),
    addresses: Sequence[str] = (),
    users: Mapping[str, Sequence[str]] | None = None,
    dial: Callable[[socket.AddressFamily], socket.socket] = socket.socket,
    history: int = HISTORY,
    families: Families = DUAL,
) -> ApiBackend:
    """Return the API server to use here: a real one if $KUBEBUILDER_ASSETS is set, else the embedded one.

    `history`: how many changes of each kind the embedded one knows at least; a real one decides by itself. `families`:
    of which Services have addresses (--service-cluster-ip-range).
    """
    if os.environ.get(ASSETS):
        return EnvtestApi(sockets=sockets, addresses=addresses, users=users, families=families)
    store = Store(window=history, families=families)
    return EmbeddedApi(sockets=sockets, addresses=addresses, users=users, dial=dial, store=store)
