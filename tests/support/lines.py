"""A line of two hosts and two routers, as the tests of probes speak of it."""

import subprocess

from kubemtu.core.path import verdict as path_verdict
from kubemtu.node.probe import channel, paths
from kubemtu_lab.line import faults, stations
from kubemtu_lab.line.network import Line

B4, B6 = "10.9.3.1", "fd09:3::1"


class Net(Line):
    """A line that is changed and measured in one call each."""

    def middle(self, mtu: int) -> None:
        """Give the link between the routers another MTU."""
        faults.Middle(mtu).commit(self)

    def mute(self) -> None:
        """Keep the routers from saying anything to the hosts: a black hole for path MTU discovery."""
        faults.Muted().commit(self)

    def lose(self, percent: int) -> None:
        """Loses packets at random, so many of a hundred, each way."""
        faults.Lossy(percent).commit(self)

    def second_path(self, mtu: int) -> None:
        """Add an equal path between the routers, of another MTU and silent; flows are spread by their ports."""
        faults.EqualPaths((mtu,)).commit(self)
        self.mute()

    def allow_ping(self) -> None:
        """Lets everybody at a open ping sockets."""
        self.sysctl("a", {"ipv4/ping_group_range": "0 2147483647"})

    def serve(self, secret: bytes = stations.SECRET) -> subprocess.Popen[str]:
        """Start a station at b and wait until it listens."""
        process = stations.serve(self, secret)
        stations.wait(process)
        return process

    def measure(
        self,
        address: str = B4,
        *,
        back: bool = False,
        expected: int | None = None,
        secret: bytes = stations.SECRET,
        over: type[channel.Channel] = channel.Channel,
    ) -> paths.Path:
        """Measures from a to b."""
        target = paths.Target(address=address, both_ways=back, expected=expected)
        return stations.measure(self, [target], secret=secret, over=over)[0]

    def verdict(self, address: str = B4, *, back: bool = True, expected: int | None = None) -> path_verdict.Verdict:
        """Measures from a to b and judges."""
        return paths.judge(self.measure(address, back=back, expected=expected))
