"""A change under the demo's traffic, and what that lost."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from tests.support.scenes.cluster import Cluster

from kubemtu.kube import api as kube_api
from kubemtu.kube import connect
from kubemtu_lab.demo import story
from kubemtu_lab.traffic.tally import Tally

T = TypeVar("T")

AFTER = 2.0
"""Seconds of traffic after a change: each flow sends dozens of packets in them, and a lost segment is sent again."""


def apply_under_traffic(cluster: Cluster, *words: str) -> story.StoryRow:
    """Run `kubemtu apply --yes` with these words while pods talk; it must end with 0. Return what was counted."""
    return asyncio.run(_measured(cluster, words, story.measured))


def lossless(counted: story.StoryRow) -> bool:
    """Say whether traffic ran, and nothing of it was lost, reset, refused or started anew."""
    lost = (counted.udp_lost_silently, counted.tcp_resets, counted.connect_failures, counted.pods_restarted)
    return counted.udp_sent > 0 and lost == (0, 0, 0, 0)


def tally_of_apply(cluster: Cluster, *words: str) -> Tally:
    """Do the same; return the books, which say who lost what, and when."""
    return asyncio.run(_measured(cluster, words, story.tallied))[0]


async def _measured(cluster: Cluster, words: Sequence[str], measure: Callable[..., Awaitable[T]]) -> T:
    async with kube_api.Api(connect.settings(str(cluster.lab.kubeconfig), None)) as api:

        async def change() -> None:
            ended = await asyncio.to_thread(cluster.run, "apply", "--yes", *words)
            assert ended.code == 0, ended.err

        return await measure(cluster.lab, api, change, after=AFTER)
