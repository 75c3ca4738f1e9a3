"""The inputs of scripts/fuzz.py: each group makes one from a seed and a number, the same each time.

A well-formed input is taken and a few of its values are replaced, or it is made to be what a parser, a terminal or a
patient client falls for. The first of each group are written by hand: each was a fault once, or is of the kind.
"""

import contextlib
import copy
import functools
import gzip
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2
import msgspec
from tests.support import example

from kubemtu.flows.saved import sources
from kubemtu.kube import api, connect, credentials, mtu, records, wire

ESCAPES = ("\x1b]0;pwn\x07", "\x9b31m", "a\rb", "\u202egnp", "\x7f", "\x1b[2J\x1b[H", "\u2028", "\x00")
SCALARS: tuple[object, ...] = (
    *ESCAPES,
    "",
    " ",
    "a\nb",
    "é",
    "²",
    "٣",
    "9" * 5000,
    "x" * 20_000,
    "\ud800",
    "-1",
    "https://[::1",
    "https://h:99999",
    "https://h:-1",
    "https://127.0.0.1:abc",
    "https://::1:1",
    "https:\\\\x",
    "https://u:SECRET@127.0.0.1:1",
    "http://127.0.0.1:1/\x1b",
    "ftp://x",
    "::::",
    "/dev/zero",
    "/proc/self/mem",
    "/dev/full",
    "~nobody-of-this-name/x",
    None,
    True,
    False,
    0,
    5,
    -1,
    1.5,
    1e400,
    10**30,
    [],
    {},
    ["a"],
    {"a": 1},
    [None],
    [{"kind": 5}],
    {"": {"": []}},
)


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One input: the words of the command line, what is hostile in it, and what is to be set around it."""

    words: tuple[str, ...]
    what: str
    around: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext


def case(group: str, seed: int, number: int, folder: Path) -> Case:
    """Make an input of a group."""
    chance = random.Random(f"{group} {seed} {number}")
    if group == "facts":
        import hostile_facts  # noqa: PLC0415 - it stands on this one

        return hostile_facts.case(chance, number, folder)
    return {
        "answers": _answers,
        "files": _files,
        "kubeconfigs": _kubeconfig,
        "plugins": _plugin,
        "arguments": _arguments,
    }[group](chance, number, folder)


# Values that are replaced


def mutated(whole: object, chance: random.Random, times: int) -> object:
    """Return a copy of a JSON value of which some parts are something else."""
    made = copy.deepcopy(whole)
    for _ in range(times):
        places = list(_places(made))
        if not places:
            return chance.choice(SCALARS)
        holder, key = chance.choice(places)
        match chance.randrange(6):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 0 if isinstance(holder, list):
                holder.append(holder[key])
            case 1 if isinstance(holder, dict):
                holder[chance.choice(ESCAPES)] = holder.pop(key)
            case 2:
                holder[key] = _deep(chance.choice((3, 90, 400, 3000)), chance)
            case 3 if isinstance(holder[key], str):
                holder[key] += chance.choice(ESCAPES)
            case _:
                holder[key] = copy.deepcopy(chance.choice(SCALARS))
    return made


def _places(whole: object, depth: int = 0) -> Iterator[tuple[dict[str, object] | list[object], str | int]]:
    if depth > 60:
        return
    if isinstance(whole, dict):
        for key, each in whole.items():
            yield whole, key
            yield from _places(each, depth + 1)
    elif isinstance(whole, list):
        for index, each in enumerate(whole):
            yield whole, index
            yield from _places(each, depth + 1)


def _deep(levels: int, chance: random.Random) -> object:
    made: object = "end"
    for _ in range(levels):
        made = [made] if chance.random() < 0.5 else {"a": made}
    return made


def as_json(whole: object) -> bytes:
    """Encode what the json module cannot: any depth, and lone surrogates as escapes."""
    parts: list[str] = []
    waiting: list[object] = [whole]
    done = object()
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple) and one and one[0] is done:
            parts.append(one[1])
        elif isinstance(one, dict):
            waiting.append((done, "}"))
            items = list(one.items())
            for index, (key, each) in reversed(list(enumerate(items))):
                waiting += [each, (done, ("," if index else "") + json.dumps(str(key)) + ":")]
            parts.append("{")
        elif isinstance(one, list):
            waiting.append((done, "]"))
            for index, each in reversed(list(enumerate(one))):
                waiting += [each, (done, "," if index else "")]
            parts.append("[")
        else:
            parts.append(json.dumps(one))
    return "".join(parts).encode()


def damaged(text: bytes, chance: random.Random) -> bytes:
    """Return a text of which some bytes are others, or which ends early."""
    held = bytearray(text)
    match chance.randrange(4):
        case 0:
            return bytes(held[: chance.randrange(len(held))])
        case 1:
            at = chance.randrange(len(held))
            return bytes(
                held[:at] + chance.choice((b"\xff\xfe", b"\x00", b"\xed\xa0\x80", b"{{", b"\x1b[2J")) + held[at:]
            )
        case 2:
            for _ in range(chance.randrange(1, 20)):
                held[chance.randrange(len(held))] = chance.randrange(256)
        case _:
            at, size = chance.randrange(len(held)), chance.randrange(1, 200)
            held[at : at + size] = held[at : at + size] * chance.randrange(2, 40)
    return bytes(held)


# Files


def _cluster() -> list[dict[str, object]]:
    return [dict(one.body) for one in example.story(1450, example.trio()).objects]


BY_HAND_FILES: tuple[tuple[str, Callable[[], bytes]], ...] = (
    ("owner.yaml", lambda: b"apiVersion: v1\nkind: Pod\nmetadata: {name: a, ownerReferences: [{kind: 5}]}\n"),
    (
        "kind.json",
        lambda: b'{"apiVersion":"v1","kind":"List","items":[{"kind":{},"apiVersion":"v1","metadata":{"name":{}}}]}',
    ),
    ("names.yaml", lambda: b"apiVersion: v1\nkind: Pod\nmetadata: {name: {a: b}, namespace: [1]}\n"),
    (
        "aliases.yaml",
        lambda: (
            b"a: &a ["
            + b"x" * 900
            + b"]\n"
            + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(7))
        ),
    ),
    (
        "merges.yaml",
        lambda: (
            b"a: &a {x: "
            + b"y" * 500
            + b"}\n"
            + b"".join(
                b"%c: &%c {<<: [%s]}\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(12)
            )
        ),
    ),
    ("deep.yaml", lambda: b"[" * 100_000),
    ("deep-list.yaml", lambda: b"- " * 100_000),
    ("deep.json", lambda: b"[" * 100_000 + b"]" * 100_000),
    ("documents.yaml", lambda: b"---\na\n" * 200_000),
    ("comments.yaml", lambda: b"# nothing\n" * 1_000_000),
    ("lists.json", lambda: b"[" + b"[]," * 3_000_000 + b"[]]"),
    ("mappings.yaml", lambda: b"{" + b"a: {}, " * 300_000 + b"}"),
    ("tags.yaml", lambda: b"a: !!int foo\nb: !!float\nc: !!bool x\nd: !!timestamp y\ne: !!python/object:os.system z\n"),
    ("dates.yaml", lambda: b"kind: Pod\napiVersion: v1\nmetadata: {name: a, creationTimestamp: 2024-13-45}\n"),
    ("digits.yaml", lambda: b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {n: " + b"9" * 5000 + b"}\n"),
    ("surrogate.json", lambda: b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"\\ud800"}}'),
    ("osc.yaml", lambda: b'apiVersion: v1\nkind: "Pod\\e]0;pwn\\a"\nmetadata: {name: "\\x9b31m"}\n'),
    ("10-osc.conflist", lambda: b'{"name":"\x1b]0;pwn\x07","plugins":[{"type":"calico","mtu":"\\u202e"}]}'),
    ("snapshot.json", lambda: b'{"schema":"kubemtu.io/snapshot/\\u001b]0;pwn\\u0007"}'),
    ("nul.yaml", lambda: b"a: \x00\x00"),
    ("utf16.yaml", lambda: "kind: Pod\n".encode("utf-16") + b"\x00"),
    ("emoji.yaml", ("# " + "🙂" * 1_000_000 + "\nkind: Pod\n").encode),
    ("empty.yaml", lambda: b""),
)


def _files(chance: random.Random, number: int, folder: Path) -> Case:
    target = folder / f"files-{number}"
    words = ["check", "--from", str(target), *chance.choice((["-o", "json"], ["-o", "yaml"], []))]
    if chance.random() < 0.3:
        words += ["--save", str(folder / "saved.json")]
    if number < len(BY_HAND_FILES):
        name, make = BY_HAND_FILES[number]
        target = folder / name
        target.write_bytes(make())
        words[2] = str(target)
        return Case(words=tuple(words), what=name)
    special = number - len(BY_HAND_FILES)
    if special < len(SPECIAL):
        name, prepare = SPECIAL[special]
        words[2] = prepare(folder)
        return Case(words=tuple(words), what=name, around=_short)
    if chance.random() < 0.3:
        words[0] = "plan"
        words = [word for word in words if word not in ("--save", str(folder / "saved.json"))]
    snapshot = json.loads(msgspec.json.encode(example.story(1450, example.trio(pod=1500))))
    match chance.randrange(5):
        case 0:
            body = mutated(snapshot, chance, chance.randrange(1, 4))
            text, suffix = as_json(body), ".json"
        case 1:
            text, suffix = damaged(as_json(snapshot), chance), ".json"
        case 2:
            body = mutated({"apiVersion": "v1", "kind": "List", "items": _cluster()}, chance, chance.randrange(1, 6))
            text, suffix = as_json(body), chance.choice((".json", ".yaml"))
        case 3:
            text, suffix = b"\n---\n".join(as_json(mutated(one, chance, 1)) for one in _cluster()), ".yaml"
        case _:
            conflist = json.loads(example.rendered(1450))
            text = (
                as_json(mutated(conflist, chance, 2)) if chance.random() < 0.5 else damaged(as_json(conflist), chance)
            )
            suffix = ".conflist"
    target = folder / f"{number}{chance.choice(('', '', 'ü', chr(0x1B) + ']0;pwn'))}{suffix}"
    target.write_bytes(text)
    words[2] = str(target)
    return Case(words=tuple(words), what=f"mutated {suffix}")


def _fifo(folder: Path) -> str:
    os.mkfifo(folder / "fifo.yaml")
    return str(folder / "fifo.yaml")


def _folder_with(folder: Path, name: str, make: Callable[[Path], None]) -> str:
    below = folder / f"below-{name}"
    below.mkdir()
    make(below)
    return str(below)


def _not_utf8(folder: Path) -> str:
    path = os.fsencode(folder) + b"/name\xff\x1b.yaml"
    with open(path, "wb") as file:  # noqa: PTH123 - bytes
        file.write(b"a: b\n")
    return os.fsdecode(path)


SPECIAL: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("a FIFO", _fifo),
    ("a folder with a FIFO", lambda folder: _folder_with(folder, "fifo", lambda below: os.mkfifo(below / "x.yaml"))),
    ("/dev/zero", lambda _: "/dev/zero"),
    ("/dev/null", lambda folder: "/dev/null"),
    ("/proc/self/mem", lambda _: "/proc/self/mem"),
    ("/proc/self", lambda folder: "/proc/self"),
    (
        "a link to /proc/self",
        lambda folder: _folder_with(folder, "proc", lambda below: (below / "p").symlink_to("/proc/self")),
    ),
    ("a link to itself", lambda folder: _folder_with(folder, "loop", lambda below: (below / "p").symlink_to(below))),
    ("a name that is no UTF-8", _not_utf8),
    ("a name too long", lambda folder: f"{folder}/{'x' * 5000}"),
    ("an empty name", lambda folder: ""),
)


# Kubeconfigs


def _config(server: str = "https://127.0.0.1:1") -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "default"}}],
        "clusters": [
            {
                "name": "k",
                "cluster": {
                    "server": server,
                    "insecure-skip-tls-verify": True,
                    "tls-server-name": "name",
                    "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"a": 1}}],
                },
            }
        ],
        "users": [{"name": "u", "user": {"token": "t", "as": "me", "as-groups": ["g"], "as-user-extra": {"k": ["v"]}}}],
    }


OPTIONAL = {
    "cluster": ("certificate-authority", "certificate-authority-data", "proxy-url", "tls-server-name", "server"),
    "user": (
        "tokenFile",
        "client-certificate",
        "client-key",
        "client-certificate-data",
        "username",
        "password",
        "as",
        "auth-provider",
        "exec",
        "token",
        "as-uid",
    ),
}

BY_HAND_KUBECONFIGS: tuple[bytes, ...] = (
    b"a: 2024-13-45\n",
    b"a: !!int foo\n",
    b"a: !!float\n",
    b"a: !!bool\n",
    b"a: !!timestamp\n",
    b"a: !!binary x\n",
    b"a: " + b"9" * 5000,
    b"[" * 100_000,
    b"- " * 100_000,
    b"a: &a {x: 1}\n"
    + b"".join(b"%c: &%c {<<: [%s]}\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(12)),
    b"a: &a [x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(12)),
    b"a: b\n---\nc: d\n",
    b"\xff\xfe\x00",
    b"\x00",
    b"",
    b"? [a, b]\n: c\n",
    b"*a",
    b"%TAG ! tag:x\n---\na: !foo b\n",
    b"a: " + b"x" * (2 << 20),
)


def _kubeconfig(chance: random.Random, number: int, folder: Path) -> Case:
    path = folder / f"kubeconfig-{number}"
    if number < len(BY_HAND_KUBECONFIGS):
        path.write_bytes(BY_HAND_KUBECONFIGS[number])
    else:
        whole = _config()
        part = chance.choice(("cluster", "user", "any", "bytes"))
        if part in OPTIONAL:
            held = whole["clusters" if part == "cluster" else "users"][0][part]  # type: ignore[index]
            for _ in range(chance.randrange(1, 3)):
                held[chance.choice(OPTIONAL[part])] = chance.choice((*SCALARS, str(folder / "pipe")))
        text = as_json(whole if part in OPTIONAL else mutated(whole, chance, chance.randrange(1, 4)))
        path.write_bytes(damaged(text, chance) if part == "bytes" else text)
    pipe = folder / "pipe"
    if not pipe.exists():
        os.mkfifo(pipe)
    environ = {}
    if chance.random() < 0.3:
        environ["HTTPS_PROXY"] = chance.choice(("::::", "127.0.0.1:1", "http://u:SECRET@127.0.0.1:1", "ftp://x", "²"))
        environ["NO_PROXY"] = chance.choice(("a:²", f"a:{'9' * 5000}", "*", "[::1]:x", ""))
    words = ("check", "--kubeconfig", str(path), *chance.choice(((), ("-o", "json"))))
    return Case(words=words, what=f"kubeconfig, {environ}", around=lambda: _short(environ))


@contextlib.contextmanager
def _short(environ: dict[str, str] | None = None) -> Iterator[None]:
    """Shorten the waits: what is tried is that they end, not how long they are."""
    kept = dict(os.environ)
    held = [(module, name, getattr(module, name)) for module, name, _ in SHORT]
    try:
        for module, name, value in SHORT:
            setattr(module, name, value)
        os.environ.update(environ or {})
        yield
    finally:
        for module, name, value in held:
            setattr(module, name, value)
        os.environ.clear()
        os.environ.update(kept)


SHORT: tuple[tuple[object, str, float], ...] = (
    (credentials, "PLUGIN_SECONDS", 1.0),
    (connect, "PIPE_SECONDS", 0.2),
    (sources, "PIPE_SECONDS", 0.2),
    (wire, "TOTAL_SECONDS", 1.0),
    (wire, "BEGIN_SECONDS", 2.0),
    (wire, "PATIENCE_TOTAL", 1.0),
)


# Plug-ins

VERSION = "client.authentication.k8s.io/v1"
PROGRAMS: tuple[str, ...] = (
    "sleep 401; true",
    "yes",
    "yes >&2",
    "sleep 400 & echo {}",
    "sleep 400 & wait",
    "setsid sleep 30 & exit 1",
    "printf '\\033]0;pwn\\007' >&2; exit 1",
    "printf '\\033]0;pwn\\007'",
    "printf '%100000s' x >&2; exit 3",
    "kill -9 $$",
    "kill -STOP $$",
    "exit 0",
    "exec 1>&-; sleep 401",
    "python3 -c 'print(\"[\" * 100000)'",
    "head -c 3000000 /dev/zero",
)
CREDENTIALS: tuple[object, ...] = (
    {"token": "a\nb"},
    {"token": "é"},
    {"token": "x" * 100_000},
    {"token": 5},
    {"token": "t", "expirationTimestamp": "0001-01-01T00:00:00"},
    {"token": "t", "expirationTimestamp": "9999-99-99"},
    {"clientCertificateData": "é", "clientKeyData": "k"},
    {"clientCertificateData": "c\x00", "clientKeyData": "k"},
    {},
    None,
    [],
)


def _plugin(chance: random.Random, number: int, folder: Path) -> Case:
    body = (
        PROGRAMS[number]
        if number < len(PROGRAMS)
        else "cat <<'END'\n"
        + as_json(
            {
                "apiVersion": VERSION,
                "kind": "ExecCredential",
                "status": CREDENTIALS[(number - len(PROGRAMS)) % len(CREDENTIALS)],
            }
            if number < len(PROGRAMS) + len(CREDENTIALS)
            else mutated({"apiVersion": VERSION, "kind": "ExecCredential", "status": {"token": "t"}}, chance, 1)
        ).decode()
        + "\nEND"
    )
    program = folder / f"plugin-{number}"
    program.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    program.chmod(0o700)
    plugin: dict[str, object] = {
        "apiVersion": VERSION,
        "command": str(program),
        "args": chance.choice((["a"], ["a\0b"], ["x" * 3000], ["\x1b]0;p"])) if number >= len(PROGRAMS) else ["a"],
        "env": [{"name": chance.choice(("A", "A=B", "A\0")), "value": chance.choice(ESCAPES)}] if number >= 20 else [],
        "interactiveMode": "Never",
        "provideClusterInfo": True,
        "installHint": "\x1b]0;pwn\x07",
    }
    whole = _config()
    whole["users"] = [{"name": "u", "user": {"exec": plugin}}]
    path = folder / f"plugin-{number}.config"
    path.write_bytes(as_json(whole))
    return Case(words=("check", "--kubeconfig", str(path)), what=body[:60], around=_short)


# Arguments


def _arguments(chance: random.Random, number: int, folder: Path) -> Case:
    saved = folder / "snapshot.json"
    if not saved.exists():
        saved.write_bytes(msgspec.json.encode(example.story(1450, example.trio())))
    drawn = [one for one in SCALARS if isinstance(one, (str, int)) and one not in ("\ud800", "\x00")]  # no argv has NUL
    hostile = str(chance.choice(drawn))
    source = ["--from", str(saved)]
    words = chance.choice(
        (
            ["check", *source, "--nic-mtu", hostile],
            ["check", *source, "-n", hostile],
            ["check", *source, "--save", hostile],
            ["check", *source, "-o", hostile],
            ["check", "--from", hostile],
            ["check", "--kubeconfig", hostile],
            ["check", "--context", hostile],
            ["check", "--as", hostile],
            ["plan", *source, "--mtu", hostile],
            ["plan", *source, "--out", f"{folder}/{hostile}"],
            ["plan", *source, "--mtu", hostile, "-o", "json"],
            ["calc", hostile],
            ["calc", "--nic", hostile, "--encap", hostile],
            ["why", hostile, "--kubeconfig", "/nowhere"],
            ["apply", hostile],
            ["apply", "--mtu", hostile],
            ["lab", "up", "--pod-mtu", hostile, "--scene", "none"],
            ["lab", "exec", hostile],
            [hostile],
        )
    )
    return Case(words=tuple(words), what="arguments")


# Answers


def _lists() -> dict[str, list[dict[str, object]]]:
    story = example.story(1450, example.trio(pod=1500))
    held: dict[str, list[dict[str, object]]] = {}
    for one in story.objects:
        held.setdefault(one.kind, []).append(dict(one.body))
    held["NodeMTU"] = [
        {
            "apiVersion": mtu.API_VERSION,
            "kind": "NodeMTU",
            "metadata": {"name": seen.node, "generation": 1, "resourceVersion": "5"},
            "spec": {},
            "status": {
                "observation": msgspec.to_builtins(seen),
                "observedAt": records.moment(time.time()),
                "observedGeneration": 1,
            },
        }
        for seen in story.nodes
    ]
    return held


PLURALS = {
    "v1": {"Pod": "pods", "Node": "nodes", "ConfigMap": "configmaps", "Service": "services"},
    "apps/v1": {"DaemonSet": "daemonsets", "Deployment": "deployments"},
    mtu.API_VERSION: {"NodeMTU": "nodemtus", "MTUMigration": "mtumigrations", "MTUPolicy": "mtupolicies"},
}


class Server:
    """Answers as an API server does, but for what a case makes of it."""

    def __init__(self, spoil: Callable[[str, dict[str, object]], httpx2.Response | None]) -> None:
        self._spoil = spoil
        self._lists = _lists()

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        whole = self._whole(path)
        spoilt = self._spoil(path, whole or {})
        if spoilt is not None:
            return spoilt
        return httpx2.Response(404, text="404 page not found\n") if whole is None else httpx2.Response(200, json=whole)

    def _whole(self, path: str) -> dict[str, object] | None:
        for version, kinds in PLURALS.items():
            base = f"/api/{version}" if "/" not in version else f"/apis/{version}"
            if path == base:
                named = [{"kind": kind, "name": plural, "namespaced": kind != "Node"} for kind, plural in kinds.items()]
                return {"kind": "APIResourceList", "groupVersion": version, "resources": named}
            for kind, plural in kinds.items():
                held = self._lists.get(kind, [])
                if path.endswith(f"/{plural}") and path.startswith(base):
                    return {"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": held}
                name = path.rpartition("/")[2]
                if f"/{plural}/" in path and path.startswith(base):
                    return next((one for one in held if one["metadata"]["name"] == name), None)  # type: ignore[index]
        return None


async def _trickle(text: bytes) -> AsyncIterator[bytes]:
    import asyncio  # noqa: PLC0415

    for index in range(len(text)):
        yield text[index : index + 1]
        await asyncio.sleep(0.05)


async def _endless(chunk: bytes) -> AsyncIterator[bytes]:
    while True:
        yield chunk


@functools.cache
def _many() -> bytes:
    return b"[" + b"[]," * 3_000_000 + b"[]]"


@functools.cache
def _bomb() -> bytes:
    return gzip.compress(b"[" + b"[]," * 20_000_000)


def _status(code: int, message: object) -> httpx2.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}
    return httpx2.Response(code, content=as_json(body), headers={"Content-Type": "application/json"})


BODIES: tuple[tuple[str, Callable[[], httpx2.Response]], ...] = (
    ("a gzip bomb", lambda: httpx2.Response(200, stream=_Once(_bomb()), headers={"Content-Encoding": "gzip"})),
    ("endless", lambda: httpx2.Response(200, stream=_Stream(_endless(b"x" * 65536)))),
    ("endless white space", lambda: httpx2.Response(200, stream=_Stream(_endless(b" " * 65536)))),
    ("a trickle", lambda: httpx2.Response(200, stream=_Stream(_trickle(b"{" + b" " * 1000)))),
    ("no gzip", lambda: httpx2.Response(200, stream=_Once(b"{}"), headers={"Content-Encoding": "gzip"})),
    ("deep", lambda: httpx2.Response(200, content=b"[" * 100_000 + b"]" * 100_000)),
    ("deep mappings", lambda: httpx2.Response(200, content=b'{"a":' * 5000 + b"1" + b"}" * 5000)),
    (
        "deep, a Status",
        lambda: httpx2.Response(500, content=b'{"kind":"Status","a":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    ),
    ("many values", lambda: httpx2.Response(200, content=_many())),
    ("Retry-After ²", lambda: httpx2.Response(429, headers={"Retry-After": "²".encode("latin-1")})),
    ("Retry-After of 5000 digits", lambda: httpx2.Response(429, headers={"Retry-After": "9" * 5000})),
    ("Retry-After for ever", lambda: httpx2.Response(429, headers={"Retry-After": "0"})),
    (
        "a page of HTML",
        lambda: httpx2.Response(200, content=b"<html>\x1b]0;pwn\x07", headers={"Content-Type": "text/html"}),
    ),
    ("a hostile type", lambda: httpx2.Response(200, content=b"x", headers={"Content-Type": b"te\x1bxt\x9b"})),
    ("a redirect", lambda: httpx2.Response(302, headers={"Location": "file:///etc/passwd"})),
    ("401", lambda: _status(401, ESCAPES[0])),
    ("403", lambda: _status(403, f'User "{ESCAPES[0]}" cannot\nlist')),
    ("500", lambda: _status(500, "x" * 100_000)),
    ("a Status of no text", lambda: _status(403, {"a": [1]})),
    ("a code of no kind", lambda: _status(599, None)),
    ("404", lambda: httpx2.Response(404, text="404 page not found\n")),
    ("404 in HTML", lambda: httpx2.Response(404, text="<html>not found")),
    ("a hostile Date", lambda: httpx2.Response(500, headers={"Date": f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT"})),
    ("an older Date", lambda: httpx2.Response(500, headers={"Date": "Mon, 01 Jan 0001 00:00:00 GMT"})),
)


class _Stream(httpx2.AsyncByteStream):
    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            yield chunk


class _Once(_Stream):
    def __init__(self, text: bytes) -> None:
        async def once() -> AsyncIterator[bytes]:
            yield text

        super().__init__(once())


def _answers(chance: random.Random, number: int, folder: Path) -> Case:
    path = folder / "answers.config"
    path.write_bytes(as_json(_config("http://127.0.0.1:1")))
    spoil, what = _spoiler(chance, number)
    words = ["check", "--kubeconfig", str(path), *chance.choice((["-o", "json"], ["-o", "yaml"], []))]
    drawn = chance.random()
    if number >= 2 * len(BODIES) and drawn < 0.35:
        words[0] = "plan"
    elif number >= 2 * len(BODIES) and drawn < 0.45:
        words[0:1] = ["why", "n1", "n2"]
    elif drawn > 0.9 and words[0] == "check":
        words += ["--save", str(folder / "saved.json")]
    return Case(words=tuple(words), what=what, around=lambda: _served(Server(spoil)))


def _spoiler(
    chance: random.Random, number: int
) -> tuple[Callable[[str, dict[str, object]], httpx2.Response | None], str]:
    if number < 2 * len(BODIES):
        what, make = BODIES[number // 2]
        if number % 2:
            return (lambda path, whole: make()), f"{what}, everywhere"
        return (lambda path, whole: make() if path.endswith("/pods") else None), f"{what}, for pods"
    if number == 2 * len(BODIES):
        return _pages({"metadata": {"continue": "more"}}), "pages without an end"
    if number == 2 * len(BODIES) + 1:
        return _pages({"items": [], "metadata": {"continue": "\x1b]0;p"}}), "empty pages without an end"
    place = chance.choice(("pods", "nodes", "configmaps", "daemonsets", "nodemtus", "v1", "everywhere", "config"))
    how = chance.choice(("values", "values", "values", "bytes", "status"))
    seed = chance.random()

    def spoil(path: str, whole: dict[str, object]) -> httpx2.Response | None:
        if place != "everywhere" and place not in path.rpartition("/")[2]:
            return None
        again = random.Random(f"{seed} {path}")
        if how == "status":
            return _status(again.choice((400, 401, 403, 404, 409, 410, 422, 429, 500, 503)), again.choice(SCALARS))
        if how == "bytes":
            return httpx2.Response(200, content=damaged(as_json(whole or {"a": 1}), again))
        return httpx2.Response(200, content=as_json(mutated(whole, again, again.randrange(1, 6))))

    return spoil, f"{how} of {place}"


def _pages(more: dict[str, object]) -> Callable[[str, dict[str, object]], httpx2.Response | None]:
    made: dict[str, bytes] = {}

    def page(path: str, whole: dict[str, object]) -> httpx2.Response | None:
        if "items" not in whole:
            return None
        made.setdefault(path, as_json(whole | more))
        return httpx2.Response(200, content=made[path])

    return page


@contextlib.contextmanager
def _served(server: Server) -> Iterator[None]:
    """Have every request answered by the server of the case."""
    kept = api.wire.Transport
    try:
        api.wire.Transport = lambda *_args, **_more: httpx2.MockTransport(server)  # type: ignore[assignment,misc]
        with _short():
            yield
    finally:
        api.wire.Transport = kept  # type: ignore[misc]
