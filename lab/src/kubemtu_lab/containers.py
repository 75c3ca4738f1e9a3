"""One container of a pod: its environment, the program behind its name or image, its state as the API tells it.

A container is one of: a program of the CNI's DaemonSets, known by its name and played by `daemons`; a real program
(image lab/exec: its command; image .../kubemtu: this very package, or the
image that the scene names); anything else, which runs and does nothing.
"""

import asyncio
import datetime as dt
import functools
import logging
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar

import msgspec

from kubemtu.core.errors import KubemtuError, Unreachable
from kubemtu.core.objects import Object
from kubemtu.kube.api import Api
from kubemtu_lab import addressing, images, limits, logs, readiness, scene

log = logging.getLogger(__name__)
Started = TypeVar("Started")
RETRY_SECONDS = 0.5
BACKOFF_SECONDS, BACKOFF_MOST = 0.5, 8.0
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class ConfigMissing(KubemtuError):
    """A variable refers to a key or an object that is not there; the message is kubelet's."""

    exit_code = 5


class Running(msgspec.Struct, frozen=True):
    """What a started program is waited for and ended by."""

    ended: Awaitable[int]
    stop: Callable[[], Awaitable[None]]


class Host(Protocol):
    """What a container needs of its node; the kubelet is one."""

    node: str
    addresses: tuple[str, ...]
    api: Api
    image: images.Image | None

    def log(self, pod: Object, spec: Object) -> logs.LogFile:
        """Return the log of a container."""
        ...

    async def play(self, pod: Object, spec: Object, env: Mapping[str, str]) -> float:
        """Do what the container's program does to the node when it starts; returns after how long it is ready, seconds.

        Raises ContainerFailed.
        """
        ...

    async def run(self, pod: Object, spec: Object, argv: list[str], env: Mapping[str, str]) -> Running:
        """Start a real program in the pod's namespaces. Raises OSError, and what kube.errors draws."""
        ...

    def address(self, pod: Object) -> str:
        """Return the first address of a pod that is attached, or of its node."""
        ...


def now() -> str:
    """Return the time as meta/v1 writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Container:
    """The life of one container; `changed` is called after every change of its state."""

    def __init__(self, host: Host, pod: Object, spec: Object, changed: Callable[[], None]) -> None:
        self.host, self.pod, self.spec, self.changed = host, pod, spec, changed
        self.name = spec.text("name") or ""
        self.state: dict[str, object] = {"waiting": {"reason": "ContainerCreating"}}
        self.last: dict[str, object] = {}
        self.restarts = 0
        self.ready = False
        self.log = host.log(pod, spec)
        self.env: Mapping[str, str] = {}
        """The container's variables, as it was started with them."""
        self._backoff = BACKOFF_SECONDS
        self._started = ""

    def status(self) -> dict[str, object]:
        """Return the container's entry in the pod's status."""
        image = self.spec.text("image") or ""
        return {
            "name": self.name,
            "image": image,
            "imageID": "",
            "ready": self.ready,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last,
        }

    async def complete(self) -> None:
        """Run as an init container: until it has ended well, however often that takes."""
        while True:
            env = await self._environment()
            self._enter_running(ready=False)
            try:
                await self._patiently(functools.partial(self.host.play, self.pod, self.spec, env))
            except KubemtuError as failure:
                self.log.write(str(failure))
                await self._crash(1, str(failure))
                continue
            self.ready = True
            self.state = {"terminated": self._ended(0, "Completed", "")}
            self.changed()
            return

    async def live(self) -> None:
        """Run for ever: start, and start again after every end, later and later."""
        while True:
            env = await self._environment()
            argv = self._argv(env)
            try:
                if argv:
                    await self._run(argv, env)
                else:
                    pause = await self._patiently(functools.partial(self.host.play, self.pod, self.spec, env))
                    self._enter_running(ready=not pause)
                    if pause:
                        await asyncio.sleep(pause)
                        self._be_ready(True)
                    await asyncio.Event().wait()
            except KubemtuError as failure:
                self.log.write(str(failure))
                self._started = self._started or now()
                await self._crash(1, str(failure))
            except OSError as error:
                await self._crash(128, f"exec: {argv[0]!r}: {error.strerror}")

    async def _run(self, argv: list[str], env: Mapping[str, str]) -> None:
        running = await self._patiently(functools.partial(self.host.run, self.pod, self.spec, argv, env))
        probe = readiness.Readiness.of(self.spec)
        self._enter_running(ready=probe is None)
        following = probe and asyncio.create_task(probe.follow(self.host.address(self.pod), self._be_ready))
        try:
            code = await running.ended
        except asyncio.CancelledError:
            await running.stop()
            raise
        finally:
            if following:
                following.cancel()
        await self._crash(code if code >= 0 else 128 - code, "")

    async def _patiently(self, start: Callable[[], Awaitable[Started]]) -> Started:
        """Start the program, or play it, once the API gives what is needed for that: nothing has run till then.

        No kubelet begins a container without the files of its account; and what a played program asks the API, a real
        one would wait for (kubernetes/client-go `rest/config.go`, Timeout: zero, which is the default, is none).
        """
        while True:
            try:
                return await start()
            except Unreachable as answer:
                log.warning("%s: %s", self.name, answer)
            await asyncio.sleep(RETRY_SECONDS)

    async def _crash(self, code: int, message: str) -> None:
        self.ready = False
        self.last = {"terminated": self._ended(code, "Error" if code else "Completed", message)}
        pause, self._backoff = self._backoff, min(self._backoff * 2, BACKOFF_MOST)
        told = f"back-off {pause:g}s restarting failed container={self.name} pod={self.pod.name}_{self.pod.namespace}"
        self.state = {"waiting": {"reason": "CrashLoopBackOff", "message": told}}
        self.changed()
        await asyncio.sleep(pause)
        self.restarts += 1
        self._started = ""

    def _enter_running(self, *, ready: bool) -> None:
        self._started = now()
        self.ready = ready
        self.state = {"running": {"startedAt": self._started}}
        self.changed()

    def _be_ready(self, ready: bool) -> None:
        self.ready = ready
        self.changed()

    def _ended(self, code: int, reason: str, message: str) -> dict[str, object]:
        told = {"exitCode": code, "reason": reason, "startedAt": self._started or now(), "finishedAt": now()}
        return told | ({"message": message} if message else {})

    async def _environment(self) -> dict[str, str]:
        """Resolve the variables; waits, saying so in the state, while the container's configuration cannot be."""
        while True:
            try:
                if self._argv({}):
                    limits.of(self.pod, self.spec, self.host.image if is_ours(self.spec) else None)
                return await self._resolve()
            except (ConfigMissing, limits.RootRefused) as missing:
                self.ready = False
                told: dict[str, object] = {"waiting": {"reason": "CreateContainerConfigError", "message": str(missing)}}
                if told != self.state:
                    self.state = told
                    self.changed()
            except KubemtuError as answer:
                log.warning("%s: %s", self.name, answer)
            await asyncio.sleep(RETRY_SECONDS)

    async def _resolve(self) -> dict[str, str]:
        service = addressing.SERVICE[addressing.family(self.host.addresses[0])]
        env = {"KUBERNETES_SERVICE_HOST": service, "KUBERNETES_SERVICE_PORT": "443"}
        for variable in self.spec.each("env"):
            name = variable.text("name") or ""
            reference = Object.of(variable.mapping("valueFrom", "configMapKeyRef"))
            field = variable.text("valueFrom", "fieldRef", "fieldPath")
            if reference.body:
                found = await self._key(reference)
                if found is not None:
                    env[name] = found
            elif field:
                env[name] = self._field(field)
            else:
                env[name] = expand(variable.text("value") or "", env)
        self.env = env
        return env

    async def _key(self, reference: Object) -> str | None:
        namespace, name, key = self.pod.namespace or "", reference.text("name") or "", reference.text("key") or ""
        config = await self.host.api.find("v1", "configmaps", name, namespace)
        if config is not None and (found := config.text("data", key)) is not None:
            return found
        if reference.flag("optional"):
            return None
        if config is None:
            raise ConfigMissing(f'configmaps "{name}" not found')
        raise ConfigMissing(f"Couldn't find key {key} in ConfigMap {namespace}/{name}")

    def _field(self, field: str) -> str:
        if field == "status.hostIP":
            return self.host.node
        return self.pod.text(*field.split(".")) or ""

    def is_program(self) -> bool:
        """Return True where a real program runs; the others are played."""
        return bool(self._argv(self.env))

    def _argv(self, env: Mapping[str, str]) -> list[str]:
        image = (self.spec.text("image") or "").partition("@")[0]
        words = [expand(str(word), env) for part in ("command", "args") for word in _list(self.spec.get(part))]
        if image.partition(":")[0] == scene.EXEC_IMAGE:
            return words
        if is_ours(self.spec):
            arguments = [expand(str(word), env) for word in _list(self.spec.get("args"))]
            head = [*self.host.image.entrypoint] if self.host.image else [sys.executable, "-m", "kubemtu"]
            return [*head, *arguments]
        return []


def is_ours(container: Object) -> bool:
    """Return True for a container of kubemtu's own image, whatever registry it is named after."""
    image = (container.text("image") or "").partition("@")[0]
    return image.rpartition("/")[2].partition(":")[0] == "kubemtu"


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace $(NAME) as Kubernetes does; an unknown name stays as it is."""
    return _VARIABLE.sub(lambda found: env.get(found[1], found[0]), text)


def program_environment(pod: Object, env: Mapping[str, str]) -> dict[str, str]:
    """Return what a program in a pod sees: what runs the lab, and the container's own variables.

    A pod that says nothing about a ServiceAccount is the lab's own, and has a kubeconfig of the node's.
    """
    kept = {
        key: os.environ[key]
        for key in ("PATH", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "KUBEMTU_LAB")
        if key in os.environ
    }
    if not pod.text("spec", "serviceAccountName") and pod.flag("spec", "automountServiceAccountToken") is not False:
        kept["KUBECONFIG"] = scene.IN_CLUSTER
    return kept | {"HOME": "/"} | dict(env)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
