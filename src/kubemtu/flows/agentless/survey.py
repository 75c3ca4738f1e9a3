"""Nodes seen by pods made for it: one on each node, on its own network, unprivileged, from an image that is there.

Nobody knows beforehand which tools an image has, and a container runs one command: so a pod has a container for each
command of the fixed list (`commands`), some of which fail to start, and what the others print is read as --exec reads
it. The pods are removed however this ends; where it is killed they end by their own deadline, and the next survey
removes them.
"""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import msgspec

from kubemtu.cni import registry
from kubemtu.core import errors, net
from kubemtu.core.objects import Object
from kubemtu.core.rights import SURVEY
from kubemtu.core.snapshot import Snapshot, Unread
from kubemtu.core.text.wording import count
from kubemtu.core.text.wording import names as listed
from kubemtu.flows.agentless import commands, execs, places
from kubemtu.flows.agentless.sources import Shown, unread_node
from kubemtu.flows.agentless.survey_pods import (
    DEADLINE,
    LOG_MOST,
    NAME,
    NOBODY,
    PARALLEL,
    WAIT,
    Surveyor,
    SurveyPods,
    codes,
    failure,
    mounted,
)
from kubemtu.kube import api as kube_api
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.exec import CommandOutput

NODES_MOST: Final = 200
IMAGES_MOST: Final = 2  # of a node that are tried
TOOLS: Final = re.compile(r"(?:^|/)(?:busybox|alpine|debian|ubuntu|fedora|netshoot|toolbox)(?:[:@]|$)")
"""Images that are known to have find and grep at least."""
Approve = Callable[[str], Awaitable[None]]


async def observe(
    api: kube_api.Api, snapshot: Snapshot, names: Sequence[str], approve: Approve, namespace: str = ""
) -> Shown:
    """Look at these nodes by a pod on each. Each that could not be looked at is an Unread.

    `approve` is called with what is to be made, and raises where it may not be. `namespace` is where the pods are made:
    one that lets pods use their node's network; empty: the CNI's own. Raises what `approve` does.
    """
    reader, run = execs.NodeReader(api, snapshot), secrets.token_hex(2)
    place = namespace or _namespace(snapshot)
    chosen, unread = await _chosen(api, reader, names[:NODES_MOST], place, run)
    unread += tuple(unread_node(name, f"a survey makes at most {NODES_MOST} pods") for name in names[NODES_MOST:])
    if not chosen:
        return (), unread
    await approve("".join(f"{line}\n" for line in description(chosen)))
    made = SurveyPods(api, place)
    try:
        await made.tidy()
        await made.make(chosen)
        await made.wait()
        seen, more = await _read(api, made, reader)
    except errors.KubemtuError as error:
        entry = _refused(error, place)
        return (), (entry, *unread, *(unread_node(one.node, "its pod could not be made or read") for one in chosen))
    finally:
        await made.remove()
    return seen, (*unread, *more)


def description(surveyors: Sequence[Surveyor]) -> Iterator[str]:
    """Say what is to be made, for who is asked: pods, images with their reasons, commands, and how long they live."""
    first = surveyors[0]
    nodes = listed(one.node for one in surveyors)
    yield f"{count(len(surveyors), 'pod')} in namespace {first.namespace}, one on each of {nodes}:"
    yield (
        f"  named {NAME}-..., on the node's own network, unprivileged (user {NOBODY}, no capability, read-only), gone"
        f" within a minute, and by their own deadline after {DEADLINE} s"
    )
    for (image, why), number in _by_image(surveyors).items():
        yield f"  image {image}, {why} ({count(number, 'node')}); it is there, and never pulled"
    folders = sorted({host for one in surveyors for host in mounted(one)})
    if folders:
        yield f"  they read {listed(folders)} of the node"
    yield "  they run the commands that `kubemtu check --show-commands` prints, each once, in a container of its own"


def _by_image(surveyors: Sequence[Surveyor]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for one in surveyors:
        for image in one.images:
            found[image] = found.get(image, 0) + 1
    return found


# Which image


async def _chosen(
    api: kube_api.Api, reader: execs.NodeReader, names: Sequence[str], namespace: str, run: str
) -> tuple[list[Surveyor], tuple[Unread, ...]]:
    turn = asyncio.Semaphore(PARALLEL)

    async def one(name: str) -> Surveyor | Unread:
        async with turn:
            try:
                found = await _surveyor(api, reader, name, namespace)
                return msgspec.structs.replace(found, run=run) if isinstance(found, Surveyor) else found
            except errors.KubemtuError as error:
                return unread_node(name, str(error).rstrip("."))

    found = await asyncio.gather(*map(one, names))
    surveyors = [each for each in found if isinstance(each, Surveyor)]
    return surveyors, tuple(each for each in found if isinstance(each, Unread))


async def _surveyor(api: kube_api.Api, reader: execs.NodeReader, name: str, namespace: str) -> Surveyor | Unread:
    node = await api.find("v1", "nodes", name)
    if node is None or (why := unfit(node)):
        return unread_node(name, why if node is not None else "it is gone")
    images: dict[str, str] = dict.fromkeys(_with_tools(node), "which has the tools")
    folders: dict[str, str] = {}
    files: dict[str, str] = {}
    for candidate in reader.candidates(name):
        pod = await api.find("v1", "pods", candidate.name, candidate.namespace)
        if pod is None:
            continue
        there = frozenset(_host_paths(pod))
        for container in places.containers(pod, candidate.owner, registry.node_paths()):
            folders |= {path: f"/host{path}" for path in container.folders if path in there}
            files |= {path: f"/host{path}" for path in container.files if path.rpartition("/")[0] in there}
            image = _image(pod, container.place.container)
            if image:
                images.setdefault(image, f"as {candidate.namespace}/{candidate.owner} runs it there")
    if not images:
        return unread_node(
            name, "no pod on its own network runs there whose image could be used, nor has it one with tools"
        )
    best = tuple(images.items())[: 1 if TOOLS.search(next(iter(images))) else IMAGES_MOST]
    return Surveyor(node=name, namespace=namespace, images=best, folders=folders, files=files)


def unfit(node: Object) -> str:
    """Say why no pod can show a node; empty where one can."""
    labels = node.mapping("metadata", "labels")
    if labels.get("kubernetes.io/os", "linux") != "linux":
        return "it does not run Linux"
    if labels.get("type") == "virtual-kubelet" or labels.get("eks.amazonaws.com/compute-type") == "fargate":
        return "it is no machine of its own, and lets no pod see its network"
    conditions = {each.text("type"): each.text("status") for each in node.each("status", "conditions")}
    return "" if conditions.get("Ready") == "True" else "it is not Ready, so a pod there would not begin"


def _with_tools(node: Object) -> Iterator[str]:
    """Yield the images of a node that are known to have tools; it names at most fifty of those that it has."""
    for image in node.each("status", "images"):
        held = image.get("names")
        for name in held if isinstance(held, list) else ():
            if isinstance(name, str) and TOOLS.search(name) and "<none>" not in name:
                yield name
                return


def _host_paths(pod: Object) -> Iterator[str]:
    """Yield the folders of its node that a pod has: they are there, so mounting them makes nothing on the node."""
    for volume in pod.each("spec", "volumes"):
        path = volume.get("hostPath", "path")
        if isinstance(path, str):
            yield path.rstrip("/")


def _image(pod: Object, container: str) -> str:
    images = {each.text("name"): each.text("image") for each in pod.each("spec", "containers")}
    return images.get(container) or ""


def _namespace(snapshot: Snapshot) -> str:
    """Return where the CNI's own pods are: they use the network of their nodes too, so it is allowed there."""
    try:
        daemonset = registry.recognise(snapshot).daemonset
    except errors.KubemtuError:
        daemonset = None
    return (daemonset.namespace if daemonset is not None else None) or "kube-system"


async def _read(api: kube_api.Api, survey_pods: SurveyPods, reader: execs.NodeReader) -> Shown:
    """Return what they printed, as observations; an Unread for each node that showed nothing."""
    turn, refused = asyncio.Semaphore(PARALLEL), []

    async def one(surveyor: Surveyor) -> net.NodeObservation | Unread:
        async with turn:
            try:
                return await _observation(api, survey_pods, reader, surveyor)
            except errors.Forbidden as error:
                refused.append(_refused(error, surveyor.namespace))
                return unread_node(surveyor.node, "the log of its pod may not be read")
            except errors.KubemtuError as error:
                return unread_node(surveyor.node, str(error).rstrip("."))

    shown = await asyncio.gather(*map(one, survey_pods.tried.values()))
    here = {surveyor.node for surveyor in survey_pods.tried.values()}
    left = (unread_node(node, why) for node, why in survey_pods.why.items() if node not in here)
    unread = (*refused[:1], *(each for each in shown if isinstance(each, Unread)), *left)
    return tuple(each for each in shown if isinstance(each, net.NodeObservation)), unread


async def _observation(
    api: kube_api.Api, survey_pods: SurveyPods, reader: execs.NodeReader, surveyor: Surveyor
) -> net.NodeObservation | Unread:
    pod = survey_pods.ended.get(surveyor.name)
    if pod is None:
        return unread_node(
            surveyor.node, survey_pods.why.get(surveyor.node) or f"its pod did not end within {WAIT:g} s"
        )
    look = execs.Look(surveyor.node)
    printing = {name for name, code in codes(pod).items() if code is not None}
    for number in range(len(surveyor.images)):
        mine = {name: argv for name, (_, argv) in surveyor.runs.items() if name.startswith(f"image-{number}-")}
        printed = {
            argv: await api.log(surveyor.namespace, surveyor.name, name, LOG_MOST)
            for name, argv in mine.items()
            if name in printing
        }
        for form, argvs in commands.FORMS:
            if look.output is None and argvs[0] in printed:
                results = [CommandOutput(output=printed.get(argv, b"")) for argv in argvs]
                look.output = execs.read(form, results, big_endian=reader.big_endian(surveyor.node))
        inside = {**surveyor.folders, **surveyor.files}
        wanted = commands.listed(tuple(surveyor.folders.values()), tuple(surveyor.files.values()))
        if inside and wanted in printed:
            look.take_files(printed[wanted].decode("utf-8", "replace"), inside)
        if look.output is not None:
            return reader.observation(look, "survey")
    return unread_node(surveyor.node, failure(pod) or "its images have no tools that show its network")


def _refused(error: errors.KubemtuError, namespace: str) -> Unread:
    if not isinstance(error, errors.Forbidden):
        return Unread(what=f"pods of a survey in namespace {namespace}", why="unreachable", message=str(error))
    advice = f"As a Role there: {rule(namespace)}"
    if isinstance(error, kube_errors.PolicyDenied):
        advice = "Name a namespace whose pods may use their node's network by --survey-namespace."
    return Unread(what=f"pods of a survey in namespace {namespace}", why="forbidden", message=f"{error}. {advice}")


def rule(namespace: str) -> str:
    """Return the right that this needs, as YAML in a line."""
    rules = ", ".join(
        f'{{apiGroups: [""], resources: [{", ".join(each.resources)}], verbs: [{", ".join(each.verbs)}]}}'
        for each in SURVEY
    )
    return f"{{kind: Role, metadata: {{name: {NAME}, namespace: {namespace}}}, rules: [{rules}]}}"
