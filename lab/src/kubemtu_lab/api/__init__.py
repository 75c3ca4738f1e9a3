"""The Kubernetes API that a lab needs: one in this process, or a real one; the same interface for both."""

import os
import socket
from collections.abc import Mapping, Sequence

from kubemtu_lab.api.backend import ApiBackend
from kubemtu_lab.api.embedded import EmbeddedApi
from kubemtu_lab.api.envtest import ASSETS, EnvtestApi

__all__ = ["ApiBackend", "EmbeddedApi", "EnvtestApi", "api"]


def api(
    *,
    sockets: Sequence[socket.socket] = (),
    addresses: Sequence[str] = (),
    users: Mapping[str, Sequence[str]] | None = None,
) -> ApiBackend:
    """Return the API server to use here: a real one if $KUBEBUILDER_ASSETS is set, else the embedded one."""
    if os.environ.get(ASSETS):
        return EnvtestApi(sockets=sockets, addresses=addresses, users=users)
    return EmbeddedApi(sockets=sockets, addresses=addresses, users=users)
