"""One node: a process in namespaces of its own, forked from the supervisor, that becomes the node's PID 1.

supervisor --fork--> (unshare pid, net, mnt, uts) --fork--> node, PID 1
                      ends at once                          waits for its NICs and the API, then is the kubelet
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from typing import NoReturn

import msgspec

from kubemtu.node.kernel import netns
from kubemtu_lab import addressing, errors, filesystem, kernel, kubelet
from kubemtu_lab import scene as scenes
from kubemtu_lab.rtnl import Rtnl

log = logging.getLogger(__name__)


class NodeMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node tells the supervisor: what it is called on the machine, then to how many others it knows the way.

    Its last word is why it ended.
    """

    pid: int = 0
    peers: int = 0
    ended: str = ""


class Born(msgspec.Struct, frozen=True, kw_only=True):
    """A forked node, seen from the supervisor: its pid there and on the machine, and the line to it."""

    name: str
    pid: int
    host_pid: int
    line: socket.socket


def fork(name: str, folder: int, host_proc: int) -> Born:
    """Fork a node that waits for its settings. `host_proc` is the machine's /proc, `folder` the lab's state folder.

    Raises StartFailed, OSError.
    """
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    first = os.fork()
    if first == 0:
        kernel.unshare(kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS)
        second = os.fork()
        if second == 0:
            ours.close()
            os.close(read)
            os.close(write)
            _be_node(name, folder, host_proc, theirs)
        os.write(write, str(second).encode())
        os._exit(0)
    theirs.close()
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        pid = int(pipe.read())
    os.waitpid(first, 0)
    ours.settimeout(10)
    with ours.makefile("rb") as told:
        first_word = msgspec.json.decode(told.readline() or b"{}", type=NodeMessage)
    if not first_word.pid:
        raise errors.StartFailed(f"{name} ended before it was a node ({first_word.ended or 'without a word'})")
    ours.setblocking(False)
    return Born(name=name, pid=pid, host_pid=first_word.pid, line=ours)


def nic_up(pid: int, node: scenes.Node, place: int, families: addressing.Families) -> dict[str, list[str]]:
    """Give the NICs of a node their addresses and the node its default route; returns the addresses by NIC.

    `pid` is any process of the node. The supervisor does so before any node asks for the API on another one's address.
    """
    with kernel.network(pid) as there, netns.inside(there, Rtnl) as rtnl:
        return _nic_up(rtnl, node, place, families)


def _nic_up(rtnl: Rtnl, node: scenes.Node, place: int, families: addressing.Families) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    rtnl.bring_up("lo")
    for number, nic in enumerate(node.nics):
        rtnl.no_segmentation_offload(nic.name)
        rtnl.bring_up(nic.name)
        given[nic.name] = addressing.node(place, families, number)
        for each in given[nic.name]:
            rtnl.add_address(nic.name, addressing.on_link(each))
    for family in families:
        rtnl.add_route(addressing.ANYWHERE[family], node.nics[0].name, via=addressing.gateway(family))
    return given


def _be_node(name: str, folder: int, host_proc: int, line: socket.socket) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        # The machine's /proc tells what this process is called outside all the new namespaces.
        host_pid = os.readlink("self", dir_fd=host_proc)
        os.close(host_proc)
        filesystem.own_proc()
        filesystem.private_folders()
        kernel.set_hostname(name)
        kernel.set_process_name("kubelet")
        for path, value in (
            ("ipv4/ip_forward", 1),
            ("ipv6/conf/all/forwarding", 1),
            ("ipv6/conf/default/accept_dad", 0),
            ("ipv4/conf/all/rp_filter", 0),
        ):
            filesystem.write_sysctl(path, value)
        _tell(line, NodeMessage(pid=int(host_pid)))
        settings = _read_settings(line)
        asyncio.run(kubelet.be_kubelet(settings, folder, lambda peers: _tell(line, NodeMessage(peers=peers))))
        code = 0
    except BaseException as error:
        log.exception("%s: the kubelet ended", name)
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        _tell(line, NodeMessage(ended=f"{type(error).__name__}: {error}"))
    finally:
        sys.stderr.flush()
        os._exit(code)


def _read_settings(line: socket.socket) -> kubelet.Settings:
    received = b""
    while not received.endswith(b"\n"):
        block = line.recv(1 << 16)
        if not block:
            os._exit(0)
        received += block
    return msgspec.json.decode(received, type=kubelet.Settings)


def _tell(line: socket.socket, message: NodeMessage) -> None:
    with contextlib.suppress(OSError):  # a lab that ends listens no more
        line.sendall(msgspec.json.encode(message) + b"\n")
