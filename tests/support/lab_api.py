"""Ways to talk to the lab's API server, and the programs that do."""

import os
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import msgspec
import pytest
from tests.support.labs import ANSWERED, reached

from kubemtu.kube import kubeconfig as kubeconfigs
from kubemtu.kube.api import Api, Backoff
from kubemtu_lab.api.resources import Object

Kubectl = Callable[..., subprocess.CompletedProcess[bytes]]
"""Runs a kubectl with these arguments; `stdin` is what it reads, `timeout` seconds, other keywords its environment."""


def connect(kubeconfig: Object) -> httpx2.AsyncClient:
    """Return a bare HTTP client for a kubeconfig document: the tests look at what the server sends, byte for byte."""
    return httpx2.AsyncClient(**reached(kubeconfig), timeout=ANSWERED)


def installed(name: str) -> Path | None:
    """Return where a program is that scripts/setup brings beside the interpreter, or the machine has."""
    found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    return Path(found) if found else None


def kubectl_of(kubeconfig: Path) -> Kubectl:
    """Return the kubectl of the machine, on the cluster of a file; skips the test where there is none."""
    program = installed("kubectl")
    if program is None:
        pytest.skip("there is no kubectl: scripts/setup brings one")

    def run(
        *arguments: str, stdin: bytes = b"", timeout: float = 60, **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        held = os.environ | {"KUBECONFIG": str(kubeconfig)} | environment
        command = [str(program), *arguments]
        return subprocess.run(command, env=held, input=stdin, capture_output=True, timeout=timeout, check=False)

    return run


async def call(
    client: httpx2.AsyncClient,
    method: str,
    path: str,
    body: Object | None = None,
    *,
    content_type: str = "application/json",
) -> Object:
    """Send one request and return the object that answers it. Raises HTTPStatusError."""
    content = None if body is None else msgspec.json.encode(body)
    answer = await client.request(method, path, content=content, headers={"content-type": content_type})
    told: Object = answer.raise_for_status().json()
    return told


class Losing(httpx2.AsyncBaseTransport):
    """Carries requests to a lab's API, and takes for some of them the way back away, or the way there."""

    def __init__(self, kubeconfig: Object) -> None:
        self._way = httpx2.AsyncHTTPTransport(verify=reached(kubeconfig)["verify"])
        self._due: list[tuple[str, str, bool, Callable[[], Awaitable[object]] | None]] = []
        self.carried: list[str] = []
        """The paths of what was answered, in this order."""

    def lose(
        self,
        method: str,
        path: str,
        *,
        carried_out: bool = True,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Lose one answer to a request whose path ends so; `meanwhile` happens before its sender hears of it.

        Without `carried_out` the server never sees the request.
        """
        self._due.append((method, path, carried_out, meanwhile))

    @property
    def all_lost(self) -> bool:
        """Whether everything that was to be lost is."""
        return not self._due

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request (httpx2)."""
        for due in self._due:
            method, path, carried_out, meanwhile = due
            if request.method == method and request.url.path.endswith(path):
                self._due.remove(due)
                if carried_out:
                    answer = await self._way.handle_async_request(request)
                    await answer.aread()
                    await answer.aclose()
                if meanwhile is not None:
                    await meanwhile()
                raise httpx2.ReadError("the connection is lost", request=request)
        answer = await self._way.handle_async_request(request)
        self.carried.append(request.url.path)
        return answer

    async def aclose(self) -> None:
        """Close all connections (httpx2)."""
        await self._way.aclose()


def by(kubeconfig: Object, transport: httpx2.AsyncBaseTransport) -> Api:
    """Return a client as the parts of a lab have it, whose requests go another way."""
    connection = kubeconfigs.select([("the lab's kubeconfig", dict(kubeconfig))])
    return Api(connection, transport=transport, backoff=Backoff(first=0.2, most=0.4), field_manager="kubemtu-lab")
