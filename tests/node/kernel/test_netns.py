"""Threads that visit namespaces and never come back."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.nameless import anonymous

from kubemtu.node import errors
from kubemtu.node.kernel import links, netlink, netns

if TYPE_CHECKING:
    from tests.support.rigs import RigMaker

pytestmark = pytest.mark.netns


def here() -> int:
    with netlink.Socket() as sock:
        return netns.identity(sock)[1]


def test_the_caller_stays_where_it_is(namespaces: None) -> None:
    before = here()
    with anonymous() as space:
        assert netns.inside(space, here) == os.fstat(space).st_ino != before
    assert here() == before


def test_what_is_raised_inside_is_raised_outside(namespaces: None) -> None:
    threads = threading.active_count()
    with anonymous() as space, pytest.raises(ZeroDivisionError):
        netns.inside(space, lambda: 1 // 0)
    assert threading.active_count() == threads


def test_what_is_no_namespace_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (tmp_path / "file").open() as opened, pytest.raises(errors.Refused, match="EINVAL"):
        netns.inside(opened.fileno(), here)


def test_many_are_visited_by_one_thread_and_failures_are_results(namespaces: None, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with anonymous() as one, anonymous() as two, (tmp_path / "file").open() as bad:
        first, failed, second = netns.each((one, bad.fileno(), two), lambda _place: here())
        assert (first, second) == (os.fstat(one).st_ino, os.fstat(two).st_ino)
        assert isinstance(failed, errors.Refused)


def test_a_socket_stays_in_its_namespace(namespaces: None) -> None:
    with anonymous() as space:
        (sock,) = netns.sockets([space])
        assert isinstance(sock, netlink.Socket)
        with sock:
            assert [link.name for link in links.devices(sock)] == ["lo"]
            assert netns.identity(sock)[1] == os.fstat(space).st_ino


def test_names_are_listed_once_without_leftovers_and_without_the_own(rigs: RigMaker, tmp_path: Path) -> None:
    rig = rigs(2)
    folder = tmp_path / "netns"
    folder.mkdir()
    (folder / "leftover").write_text("")
    for alias in ("a", "b"):
        (folder / alias).symlink_to(f"/run/netns/{rig.pods[0]}")
    (folder / "c").symlink_to(f"/run/netns/{rig.pods[1]}")
    (folder / "own").symlink_to(f"/run/netns/{rig.node}")
    roots = netns.Roots(netns=(folder, folder, tmp_path / "absent"))

    def find() -> list[str]:
        with netlink.Socket() as sock, netns.Opened() as opened:
            device, inode = netns.identity(sock)
            return [each.name for each in netns.named(roots, opened, {inode}, device)]

    assert rig.inside(find) == ["a", "c"]


def test_roots_under_a_prefix_are_the_hosts(tmp_path: Path) -> None:
    roots = netns.Roots.under(Path("/host"))
    assert roots.netns == (Path("/host/run/netns"), Path("/host/var/run/netns"), Path("/host/run/docker/netns"))
    assert (roots.proc, roots.sysctl) == (Path("/proc"), Path("/proc/sys"))
    (tmp_path / "proc/sys/net").mkdir(parents=True)  # a container that is given the node's, for its own is read-only
    assert netns.Roots.under(tmp_path).sysctl == tmp_path / "proc/sys"
    assert roots.file("/etc/cni/net.d/10-canal.conflist") == Path("/host/etc/cni/net.d/10-canal.conflist")
