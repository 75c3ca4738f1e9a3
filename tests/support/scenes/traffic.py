"""A change under the demo's traffic, and what that lost."""

import asyncio

from tests.support.scenes.cluster import Cluster

from kubemtu.kube import api as kube_api
from kubemtu.kube import connect
from kubemtu_lab.demo import story


def apply_under_traffic(cluster: Cluster, *words: str) -> story.StoryRow:
    """Run `kubemtu apply --yes` with these words while pods talk; it must end with 0. Return what was counted."""

    async def measured() -> story.StoryRow:
        async with kube_api.Api(connect.settings(str(cluster.lab.kubeconfig), None)) as api:

            async def change() -> None:
                ended = await asyncio.to_thread(cluster.run, "apply", "--yes", *words)
                assert ended.code == 0, ended.err

            return await story.measured(cluster.lab, api, change)

    return asyncio.run(measured())
