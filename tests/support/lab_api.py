"""Ways to talk to the lab's API server, and the programs that do."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import msgspec
import pytest
from tests.support.labs import ANSWERED, reached

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
