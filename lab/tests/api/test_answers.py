"""What the lab's API answers is what a real kube-apiserver answered, request by request.

`answers/requests.yaml` has the requests, `answers/answers.yaml` what kube-apiserver said to each of them; the latter is
made by no hand: `KUBEBUILDER_ASSETS=... python -m lab.tests.api.test_answers` writes it anew from a real server.
"""

import asyncio
import contextlib
import itertools
import os
import re
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import yaml
from tests.support.lab_api import connect

from kubemtu_lab.api import api
from kubemtu_lab.api.envtest import ASSETS
from kubemtu_lab.api.resources import Object

FOLDER = Path(__file__).parent / "answers"
LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml, where PyYAML was built with it: every worker reads both files, and takes a second for it without."""
REQUESTS: dict[str, list[Object]] = yaml.load((FOLDER / "requests.yaml").read_text("utf-8"), LOADER)
ANSWERS: Object = yaml.load((FOLDER / "answers.yaml").read_text("utf-8"), LOADER)
TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json-patch": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
UNCOMPARED = (400, 415, 500)
"""Answers whose sentence is the one of a decoder, or of nobody in particular; but those of etcd."""
ETCDS = re.compile(r"etcdserver: |rpc error: ")
USERS = {"viewer": ["lab:viewers"]}
LARGE = {f"KiB{size}": "x" * (size << 10) for size in (140, 300, 1100, 1500, 1640, 2300, 3380)}
"""Texts of so many KiB, for what is too large."""
Json = Any
# What differs from one run to the next, and what stands for it.
CHANGING = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uid>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r"\b(current|resourceVersion|ResourceVersion in object meta): \d+"), r"\1: <version>"),
    (re.compile(r"\A\d+s\Z"), "<age>"),
    (re.compile(r"(in the precondition|in record) \(\d+\)"), r"\1 (<version>)"),
    (re.compile(r"larger than max \(\d+ vs\."), "larger than max (<bytes> vs."),
]


def widgets() -> Object:
    """Return the definition of the custom resources that the requests write: a bound of every kind."""
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    row = {"name": {"type": "string"}, "size": {"type": "integer"}}
    spec: Object = {
        "mtu": {"type": "integer", "minimum": 68, "maximum": 65535},
        "phase": {"type": "string", "enum": ["Ready", "Gone"]},
        "node": {"type": "string", "minLength": 1, "maxLength": 10, "pattern": "^[a-z0-9]*$"},
        "list": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "integer"}},
        "rows": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": row},
        },
        "words": texts,
        "names": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "most": {"x-kubernetes-int-or-string": True},
        "maybe": {"type": "string", "nullable": True},
        "when": {"type": "string", "format": "date-time"},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "limit": {"type": "number", "exclusiveMaximum": True, "maximum": 3},
        "base": {"type": "integer", "multipleOf": 2},
        "kept": {"type": "string", "default": "yes"},
        "inner": {"type": "object", "default": {}, "properties": {"deep": {"type": "integer", "default": 7}}},
    }
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "required": ["mtu"], "properties": spec},
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
        },
    }
    column = {"name": "MTU", "type": "integer", "jsonPath": ".spec.mtu"}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.lab.example"},
        "spec": {
            "group": "lab.example",
            "scope": "Namespaced",
            "names": names,
            "versions": [version | {"schema": {"openAPIV3Schema": schema}, "additionalPrinterColumns": [column]}],
        },
    }


class Clients:
    """The users of one server that has the definition."""

    def __init__(self, users: Mapping[str, httpx2.AsyncClient]) -> None:
        self.users = users
        self._numbers = itertools.count()

    async def answers(self, case: str, steps: Iterable[Object]) -> list[Object]:
        """Send the requests of a case in a new namespace; return what is compared of each answer."""
        admin = self.users["admin"]
        namespace = f"{case}-{next(self._numbers)}"
        (await admin.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})).raise_for_status()
        known, found = {"ns": namespace} | LARGE, []
        for number, step in enumerate(steps, 1):
            answer = await self._send(_filled(step, known))
            body = _body(answer)
            metadata = body.get("metadata") or {}
            for name, field in (("rv", "resourceVersion"), ("uid", "uid"), ("continue", "continue")):
                known[f"{name}{number}"] = str(metadata.get(field, ""))
            seen = _stable(_compared(answer, body, step.get("see", ())), namespace)
            if step.get("words") == "theirs":
                seen.pop("message", None)
            found.append({"send": step["send"], "code": answer.status_code} | seen)
        return found

    async def _send(self, step: Object) -> httpx2.Response:
        method, path = step["send"].split(" ", 1)
        body = step.get("body")
        content = body if isinstance(body, str | None) else msgspec.json.encode(body)
        headers = {"accept": step.get("accept", "application/json")} | step.get("headers", {})
        if body is not None:
            headers["content-type"] = TYPES.get(step.get("type", ""), step.get("type", "application/json"))
        return await self.users[step.get("as", "admin")].request(method, path, content=content, headers=headers)


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[Clients]:
    """Start a server, real where KUBEBUILDER_ASSETS is set, with the definition in it."""
    async with api(users=USERS) as server, contextlib.AsyncExitStack() as stack:
        users = {
            user: await stack.enter_async_context(connect(server.kubeconfig(user=user))) for user in ("admin", *USERS)
        }
        admin = users["admin"]
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        (await admin.post(path, json=widgets())).raise_for_status()
        async with asyncio.timeout(60):
            while (await admin.get("/apis/lab.example/v1/widgets")).status_code != 200:
                await asyncio.sleep(0.02)
        yield Clients(users)


def _filled(step: Object, known: Mapping[str, str]) -> Object:
    """Put what earlier answers said where a request names it."""

    def walk(value: Json) -> Json:
        if isinstance(value, str):
            return re.sub(r"\$(\w+)", lambda found: known.get(found[1], found[0]), value)
        if isinstance(value, dict):
            return {walk(key): walk(each) for key, each in value.items()}
        return [walk(each) for each in value] if isinstance(value, list) else value

    return {key: walk(value) for key, value in step.items()}


def _body(answer: httpx2.Response) -> Object:
    try:
        decoded = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _compared(answer: httpx2.Response, body: Object, see: Iterable[str]) -> Object:
    if answer.status_code >= 400:
        return _refusal(answer, body)
    seen: Object = {}
    for path in see:
        if path == "Warning":
            seen[path] = answer.headers.get_list("warning")
        elif path == "events":
            seen[path] = list(map(_event, answer.text.splitlines()))
        else:
            seen[path] = _sorted(_at(body, path.split(".")))
    return seen


def _refusal(answer: httpx2.Response, body: Object) -> Object:
    """Return what counts of a refusal: its reason, each field that is wrong and how, and the sentence.

    The sentence is not compared where it is one of Go's decoders, nor where it lists several fields in no order.
    """
    causes = [
        (each.get("field", ""), each.get("reason", "")) for each in (body.get("details") or {}).get("causes") or ()
    ]
    told = {"reason": body.get("reason", "")} | (
        {"causes": sorted({" ".join(cause) for cause in causes})} if causes else {}
    )
    decoder = answer.status_code in UNCOMPARED and not ETCDS.match(body.get("message", ""))
    decoder = decoder or ("patch", "FieldValueInvalid") in causes
    return told if decoder or len(set(causes)) > 1 else told | {"message": body.get("message", "")}


def _event(line: str) -> list[str]:
    event = msgspec.json.decode(line)
    item = event.get("object") or {}
    return [event.get("type"), item.get("kind"), (item.get("metadata") or {}).get("name")]


def _at(value: Json, path: list[str]) -> Json:
    if isinstance(value, list):
        return [_at(each, path) for each in value]
    if not path or not isinstance(value, dict):
        return value if not path else None
    return _at(value.get(path[0]), path[1:])


def _sorted(value: Json) -> Json:
    """Sort managedFields, the order of whose entries says nothing: a server orders them by time first."""
    if isinstance(value, list) and all(isinstance(each, dict) and "fieldsV1" in each for each in value):
        return sorted(value, key=lambda each: (each["manager"], each["operation"]))
    return value


def _stable(value: Json, namespace: str) -> Json:
    if isinstance(value, str):
        value = value.replace(namespace, "$ns")
        for pattern, name in CHANGING:
            value = pattern.sub(name, value)
        return value
    if isinstance(value, dict):
        return {key: _stable(each, namespace) for key, each in value.items()}
    return [_stable(each, namespace) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", REQUESTS)
async def test_the_answers_are_those_of_a_real_server(case: str) -> None:
    async with served() as clients:
        found = await clients.answers(case, REQUESTS[case])
    real = bool(os.environ.get(ASSETS))
    compared = [place for place, step in enumerate(REQUESTS[case]) if real or "beyond" not in step]
    assert [found[place] for place in compared] == [ANSWERS["cases"][case][place] for place in compared]


async def _record() -> None:
    if not os.environ.get(ASSETS):
        sys.exit(f"set {ASSETS}: only a real server's answers are worth comparing with")
    async with served() as clients:
        version = (await clients.users["admin"].get("/version")).json()["gitVersion"]
        cases = {case: await clients.answers(case, steps) for case, steps in REQUESTS.items()}
    head = f"# What kube-apiserver {version} answered to requests.yaml; written by test_answers.py, by no hand.\n"
    text = yaml.safe_dump({"version": version, "cases": cases}, sort_keys=False, width=120, allow_unicode=True)
    (FOLDER / "answers.yaml").write_text(head + text, "utf-8")


if __name__ == "__main__":
    asyncio.run(_record())
