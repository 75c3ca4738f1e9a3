"""The namespaces of this node that measuring may enter: its own, and those of its pods, by their host-side links."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from kubemtu.core import net
from kubemtu.node.kernel import netns


class PodNamespaces:
    """Opens namespaces by the host-side link of the pod, as the last look at the node told them."""

    def __init__(self, roots: netns.Roots) -> None:
        """Begin with no pod known."""
        self._roots = roots
        self._ports: dict[str, net.PodPort] = {}
        self._lock = threading.Lock()

    @property
    def sysctl(self) -> Path:
        """Where sysctls can be written."""
        return self._roots.sysctl

    def learn(self, ports: Sequence[net.PodPort]) -> None:
        """Take what a look at the node has told."""
        with self._lock:
            self._ports = {port.host_link: port for port in ports}

    def port(self, name: str) -> net.PodPort | None:
        """Return the port of that host-side link, as it was seen last."""
        with self._lock:
            return self._ports.get(name)

    def ports(self) -> tuple[net.PodPort, ...]:
        """Return all ports, as they were seen last."""
        with self._lock:
            return tuple(self._ports.values())

    def enter(self, name: str) -> int:
        """Open the namespace behind that link, or the node's own for ""; the caller closes the descriptor.

        Raises LookupError when the pod is gone.
        """
        if not name:
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        port = self.port(name)
        if port is None:
            raise LookupError(name)
        for path in self._paths(port.netns):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            if os.fstat(descriptor).st_ino == port.inode:
                return descriptor
            os.close(descriptor)
        raise LookupError(name)

    def exists(self, name: str) -> bool:
        """Return whether the pod behind that link is still there."""
        try:
            os.close(self.enter(name))
        except LookupError:
            return False
        return True

    def _paths(self, name: str) -> list[str]:
        if name.startswith("pid:"):
            return [f"{self._roots.proc}/{name.removeprefix('pid:')}/ns/net"]
        return [f"{folder}/{name}" for folder in self._roots.netns]
