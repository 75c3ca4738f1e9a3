"""A cluster as it is seen without its agents, beside what they say: the same findings, but for a pod's inside."""

import asyncio
import re
from collections.abc import Collection
from pathlib import Path

import msgspec

from kubemtu.cli import sourceflags
from kubemtu.core.codes import Finding
from kubemtu.core.rules.report import Report
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.flows import decide, observe
from kubemtu.flows.agentless import execs, sources
from kubemtu.kube import connect
from kubemtu.kube.api import Api

INSIDE = frozenset({"MTU105", "MTU114", "MTU115", "MTU116"})
"""What only a pod's own namespace shows: its own end, its IPv6, its routes, and pins on those."""
UNSEEN = "MTU118"
PODS = re.compile(r"( pods?): .*")


class Sides(msgspec.Struct, frozen=True):
    """One cluster, as its agents show it and as commands in its pods do."""

    agents: Report
    outside: Report

    def differences(self, not_seen: Collection[str] = ()) -> list[str]:
        """Return what one side says and the other does not, in a line each; empty: they agree.

        `not_seen` are nodes that commands are known not to show; all others must be.
        """
        hidden = {node.name for node in self.agents.nodes} - {node.name for node in self.outside.nodes}
        if hidden != {*not_seen}:
            return [f"not seen: {sorted(hidden)}; {self.outside.missing}"]
        ours, theirs = set(map(mark, self.agents.findings)), set(map(mark, self.outside.findings))
        inside = {one for one in ours if one.partition(" ")[0] in INSIDE}
        said = {one for one in theirs if one.startswith(UNSEEN)}
        lines = [f"agents alone: {one}" for one in sorted(ours - theirs - inside)]
        lines += [f"outside alone: {one}" for one in sorted(theirs - ours - said)]
        wanted = "incomplete" if self.agents.verdict == "healthy" else self.agents.verdict
        if self.outside.verdict != wanted and not (inside and self.outside.verdict == "incomplete"):
            lines.append(f"{self.outside.verdict}, not {wanted}: {self.outside.summary}")
        if self.outside.recommended_mtu != self.agents.recommended_mtu:
            lines.append(f"{self.outside.recommended_mtu} is recommended, not {self.agents.recommended_mtu}")
        return lines


def mark(finding: Finding) -> str:
    """Return a finding as one line; names of pods are left out, which a bridge does not tell of its ports."""
    place = PODS.sub(r"\1", finding.place)
    return f"{finding.code} {finding.severity}: {place}"


def looked(kubeconfig: Path) -> Sides:
    """Look at a cluster with agents twice: once at what they say, once without them."""
    return asyncio.run(_looked(kubeconfig))


def seen(kubeconfig: Path) -> Snapshot:
    """Look at a cluster without its agents."""
    return asyncio.run(_seen(kubeconfig))[1]


def shown(kubeconfig: Path) -> str:
    """Return what `--show-commands` prints of a cluster without its agents."""

    async def listing() -> str:
        async with Api(connect.settings(str(kubeconfig), None)) as api:
            return await sourceflags.listing(api, blind(await observe.observe(api)))

    return asyncio.run(listing())


async def _looked(kubeconfig: Path) -> Sides:
    snapshot, outside = await _seen(kubeconfig)
    return Sides(decide.check(snapshot), decide.check(outside))


async def _seen(kubeconfig: Path) -> tuple[Snapshot, Snapshot]:
    async with Api(connect.settings(str(kubeconfig), None)) as api:
        snapshot = await observe.observe(api)
        return snapshot, await sources.filled(
            blind(snapshot), [lambda known, silent: execs.observe(api, known, silent)]
        )


def blind(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without what agents say."""
    silent = [Unread(what=f"node {each.node}", why="no agent", message="it has no NodeMTU.") for each in snapshot.nodes]
    return msgspec.structs.replace(snapshot, nodes=(), unread=(*snapshot.unread, *silent))
