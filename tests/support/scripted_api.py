"""An API server that says what a test tells it to say: for what no healthy server does."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

import httpx2

from kubemtu.kube.api import Api, Backoff
from kubemtu.kube.connection import Connection

QUICK = Backoff(first=0.01, most=0.02)
CONNECTION = Connection(server="https://k8s.example:6443", origin="/home/me/.kube/config", context="prod", user="dev")
As = Callable[[str], AbstractAsyncContextManager[Api]]
Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]


class Script:
    """Answers by method and path, in order; the last one of a list is repeated.

    A mapping is an object, bytes are a body as it is, (code, reason, message) is a refusal in a Status.
    """

    def __init__(self, answers: Mapping[str, object]) -> None:
        self.asked: list[httpx2.Request] = []
        self._answers = {key: list(value) if isinstance(value, list) else [value] for key, value in answers.items()}

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        waiting = self._answers.get(f"{request.method} {request.url.path}")
        if waiting is None:
            return httpx2.Response(404, text="404 page not found\n")
        match waiting.pop(0) if len(waiting) > 1 else waiting[0]:
            case Exception() as error:
                raise error
            case bytes() as body:
                return httpx2.Response(200, content=body)
            case (int() as code, reason, message):
                status = {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}
                return httpx2.Response(code, json=status)
            case httpx2.Response() as answer:
                return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)
            case found:
                return httpx2.Response(200, json=found)


def _resources(*kinds: str) -> dict[str, object]:
    listed = [{"kind": kind, "name": f"{kind.lower()}s", "namespaced": kind != "Node"} for kind in kinds]
    return {"kind": "APIResourceList", "resources": listed}


def scripted(answers: Mapping[str, object], connection: Connection = CONNECTION) -> tuple[Api, list[httpx2.Request]]:
    """Make an Api whose server says just that, and the list of what it was asked."""
    discovery = {
        "GET /api/v1": _resources("ConfigMap", "Pod", "Node"),
        "GET /apis/apps/v1": _resources("DaemonSet"),
    }
    script = Script({**discovery, **answers})
    return Api(connection, transport=httpx2.MockTransport(script), backoff=QUICK), script.asked
