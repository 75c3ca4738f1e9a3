"""Servers, plug-ins and files that mean no good, over real sockets, pipes and processes: each ends in a sentence."""

import asyncio
import base64
import contextlib
import gzip
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest

from kubemtu.cli import main
from kubemtu.core import errors
from kubemtu.core.objects import Object, Ref
from kubemtu.kube import connect, credentials, trust, wire
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.api import Api
from kubemtu.kube.connection import Connection, ExecPlugin, Impersonation

PODS = Ref(api_version="v1", kind="ConfigMap", plural="configmaps", name="a", namespace="default")
As = Callable[[str], AbstractAsyncContextManager[Api]]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


@contextlib.asynccontextmanager
async def serving(
    answer: bytes, *, pause: float | None = None, endless: bytes = b""
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that sends a head and, a byte at a time where a pause is named, a body; then others without an end."""
    asked: list[bytes] = []
    stop = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(60)
            with contextlib.suppress(OSError):
                self.serve()

        def serve(self) -> None:
            heard = b""
            while not heard.endswith(b"\r\n\r\n"):
                more = self.request.recv(65536)
                if not more:
                    return
                heard += more
            asked.append(heard)
            head, mark, rest = answer.partition(b"\r\n\r\n")
            at_once, slowly = (head + mark, rest) if mark else (b"", answer)
            for part in [at_once, *([bytes([one]) for one in slowly] if pause else [slowly])]:
                self.request.sendall(part)
                if pause and stop.wait(pause):
                    return
            while endless and not stop.is_set():
                self.request.sendall(endless)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:  # its end waits for its threads
        accepting = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        accepting.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            stop.set()
            await asyncio.to_thread(server.shutdown)
            accepting.join()


async def ended(server: str, kind: type[errors.KubemtuError], **more: object) -> str:
    connection = msgspec.convert({"server": server, "origin": "/k", **more}, Connection)
    with pytest.raises(errors.KubemtuError) as caught:
        async with Api(connection) as api:
            await api.get(PODS)
    assert isinstance(caught.value, kind), repr(caught.value)
    return str(caught.value)


# Answers


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * (200 << 20))
    async with serving(HEAD + b"Content-Encoding: gzip\r\n\r\n" + bomb) as (server, _):
        said = await ended(server, kube_errors.TooLarge)
    assert "with more than 24 MiB, which no API server does" in said


async def test_a_body_without_an_end() -> None:
    async with serving(HEAD + b"\r\n", endless=b" " * 65536) as (server, _):
        assert "with more than 24 MiB" in await ended(server, kube_errors.TooLarge)


async def test_many_values_in_few_bytes() -> None:
    async with serving(HEAD + b"\r\n[" + b"[]," * 1_000_000 + b"[]]") as (server, _):
        assert "with more than 1500000 values" in await ended(server, kube_errors.TooLarge)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HEAD + b"\r\n" + b"{" + b" " * 10_000, "did not end its answer within 3 s"),
        (HEAD + b"X: " + b"y" * 10_000, "began no answer within 3 s"),
    ],
)
async def test_a_byte_at_a_time(monkeypatch: pytest.MonkeyPatch, answer: bytes, said: str) -> None:
    monkeypatch.setattr(wire, "TOTAL_SECONDS", 3.0)
    monkeypatch.setattr(wire, "BEGIN_SECONDS", 3.0)
    async with serving(answer, pause=0.05) as (server, _):
        assert said in await ended(server, errors.Unreachable)


@pytest.mark.parametrize("named", ["²".encode("latin-1"), b"9" * 5000, b"-1", b"1e9", b"\xb2", b""])
async def test_a_pause_that_is_no_number_is_none(named: bytes) -> None:
    body = b'{"kind":"Status","message":"busy"}'
    answer = b"HTTP/1.1 429 No\r\nRetry-After: " + named + b"\r\nConnection: close\r\n\r\n" + body
    async with serving(answer) as (server, asked):
        assert "it answered 429: busy" in await ended(server, kube_errors.ServerFailing)
    assert len(asked) == 1


async def test_pauses_have_an_end_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PATIENCE_TOTAL", 1.5)
    answer = b"HTTP/1.1 429 No\r\nRetry-After: 1\r\nConnection: close\r\n\r\n{}"
    async with serving(answer) as (server, asked), Api(Connection(server=server, origin="/k")) as api:
        for _ in range(4):
            with pytest.raises(kube_errors.ServerFailing):
                await api.get(PODS)
    assert len(asked) <= 6  # without a limit each is sent three times


@pytest.mark.parametrize("opening", [b"[", b'{"kind":"Status","a":', b'{"a":'])
async def test_deep_answers(opening: bytes) -> None:
    body = opening * 100_000
    for code in (b"200", b"500"):
        answer = HEAD.replace(b"200", code) + b"\r\n" + body
        async with serving(answer) as (server, _):
            await ended(server, kube_errors.NotAnApi if code == b"200" else kube_errors.ServerFailing)


def test_an_owner_of_no_kind() -> None:
    owner = next(Object.of({"metadata": {"ownerReferences": [{"kind": 5}]}}).each("metadata", "ownerReferences"))
    with pytest.raises(errors.Malformed, match=r"kind must be a string but is an integer;"):
        _ = owner.kind
    with pytest.raises(errors.Malformed, match=r"metadata.name must be a string but is a mapping"):
        _ = Object.of({"kind": "Pod", "metadata": {"name": {}}}).name
    assert str(Object.of({"kind": [], "metadata": {"name": 5, "namespace": {}}})) == " "


# A wrong address is no empty cluster


def config(tmp_path: Path, server: str, **user: object) -> str:
    cluster = {"server": server, **{key[1:]: user.pop(key) for key in list(user) if key.startswith("_")}}
    body = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path = tmp_path / "config"
    path.write_text(json.dumps(body), "utf-8")
    return str(path)


@pytest.mark.parametrize(
    "server",
    [
        "https://127.0.0.1:abc",
        "https://::1:1",
        "https:\\\\x",
        "https://[::1",
        "https://h:99999",
        "https://h:-1",
        "https://h:0",
        "https://h/\x1b[2J",
        "https://a\nb",
        "ftp://h",
        "https://",
        "https://u:SECRET@[::1",
        "https://u:SECRET/x@h",
    ],
)
@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_server_that_is_none(tmp_path: Path, server: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([command, "--kubeconfig", config(tmp_path, server)]) == 5
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "SECRET" not in err
    assert "\x1b" not in err


@pytest.mark.parametrize(
    "proxy", ["::::", "127.0.0.1:1", "ftp://x", "http://p:99999", "http://p:²", "http://u:SECRET@"]
)
def test_a_proxy_that_is_none(tmp_path: Path, proxy: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(tmp_path, "https://127.0.0.1:1", **{"_proxy-url": proxy})
    assert main.run(["check", "--kubeconfig", path]) == 5
    assert "SECRET" not in capsys.readouterr().err


@pytest.mark.parametrize("no_proxy", ["a:²", f"a:{'9' * 5000}", "[::1", "*,:", "a:٣"])
def test_exemptions_that_are_none(no_proxy: str) -> None:
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": no_proxy}
    assert connect.environment_proxy("https://k8s:6443", environ) == (None if "*" in no_proxy else "http://p:1")


def test_no_kubeconfig_is_unreachable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert main.run(["check"]) == 3


def test_tokens_that_no_header_can_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["check", "--kubeconfig", config(tmp_path, "http://127.0.0.1:1", token="SECRET\nX: y")]) == 5
    err = capsys.readouterr().err
    assert "the token of user u of context c" in err
    assert "SECRET" not in err


async def test_names_beyond_ascii_are_sent_as_kubectl_sends_them() -> None:
    acting = Impersonation(user="Jürgen", extra=(("a/b ü", "ö"),))
    body = HEAD + b"\r\n" + b'{"metadata":{"name":"a"}}'
    async with (
        serving(body) as (server, asked),
        Api(Connection(server=server, origin="/k", impersonation=acting, token="tökén")) as api,
    ):
        assert await api.get(PODS) is not None
    assert "Impersonate-User: Jürgen\r\n".encode() in asked[0]
    assert "Impersonate-Extra-a%2Fb%20%C3%BC: ö\r\n".encode() in asked[0]
    assert "Authorization: Bearer tökén\r\n".encode() in asked[0]


async def test_a_password_in_the_address_is_used_and_not_shown(tmp_path: Path) -> None:
    async with serving(b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\nno") as (server, asked):
        found = connect.settings(config(tmp_path, server.replace("//", "//me:p%40ss@")), environ={})
        assert found.server == server
        with pytest.raises(kube_errors.ServerFailing) as caught:
            async with Api(found) as api:
                await api.get(PODS)
    assert b"authorization: basic " + base64.b64encode(b"me:p@ss").lower() in asked[0].lower()
    assert "p@ss" not in str(caught.value)
    assert "p%40ss" not in str(caught.value)


async def test_nothing_but_404_is_no_api_server(tmp_path: Path) -> None:
    async with serving(b"HTTP/1.1 404 No\r\nConnection: close\r\n\r\n404 page not found\n") as (server, _):
        assert await asyncio.to_thread(main.run, ["check", "--kubeconfig", config(tmp_path, server)]) == 3


# Files and plug-ins


@pytest.mark.parametrize("place", ["tokenFile", "_certificate-authority", "client-certificate"])
@pytest.mark.parametrize("named", ["fifo", "/dev/zero", "/proc/self/mem", "/"])
def test_files_that_are_none(tmp_path: Path, place: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    user: dict[str, object] = {place: str(tmp_path / named)}
    if place == "client-certificate":
        user["client-key"] = str(tmp_path / named)
    assert main.run(["check", "--kubeconfig", config(tmp_path, "https://127.0.0.1:1", **user)]) in {3, 4}
    assert "cannot be" in (err := capsys.readouterr().err) or "holds no usable certificate" in err


@pytest.mark.parametrize("named", ["fifo", "/dev/zero", "/proc/self/mem"])
def test_a_kubeconfig_that_is_no_file(
    tmp_path: Path, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connect, "PIPE_SECONDS", 0.1)
    os.mkfifo(tmp_path / "fifo")
    assert main.run(["check", "--kubeconfig", str(tmp_path / named)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def plugged(tmp_path: Path, body: str, **more: object) -> Connection:
    path = tmp_path / "plugin"
    path.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    path.chmod(0o700)
    facts = {"api_version": "client.authentication.k8s.io/v1", "command": str(path), "interactive": "Never", **more}
    return Connection(server="https://k8s", origin="/k", plugin=msgspec.convert(facts, ExecPlugin))


async def refused(connection: Connection) -> str:
    with pytest.raises(kube_errors.Unauthenticated) as caught:
        await credentials.Credentials(connection).current()
    return str(caught.value)


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie that nobody waits for has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("body", ["sleep 401 & echo $! > {pid}; wait", "sh -c 'echo $$ > {pid}; sleep 401; true'"])
async def test_a_plugin_is_killed_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    monkeypatch.setattr(credentials, "PLUGIN_SECONDS", 8.0)
    pid = tmp_path / "pid"
    said = await refused(plugged(tmp_path, body.format(pid=pid)))
    assert said.endswith("printed nothing within 8 s; run it by hand")
    while not gone(int(pid.read_text())):
        await asyncio.sleep(0.01)


async def test_a_plugin_whose_child_keeps_the_pipes(tmp_path: Path) -> None:
    printed = json.dumps(
        {"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "t"}}
    )
    pid = tmp_path / "pid"
    connection = plugged(tmp_path, f"sleep 401 & echo $! > {pid}; echo '{printed}'")
    try:
        assert (await credentials.Credentials(connection).current()).token == "t"
    finally:
        os.kill(int(pid.read_text()), 9)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("yes", "printed more than a credential has; run it by hand"),
        ("yes >&2 & exit 3", "ended with code 3: y y"),
        ("printf '\\033]0;x\\007' >&2; exit 1", "ended with code 1"),
        ("head -c 200000 /dev/zero | tr '\\0' '['", "did not print JSON; run it by hand"),
        ("kill -9 $$", "ended with code -9; log in again, then retry"),
    ],
)
async def test_what_a_plugin_prints(tmp_path: Path, body: str, said: str) -> None:
    assert said in await refused(plugged(tmp_path, body))


@pytest.mark.parametrize(
    "more",
    [{"arguments": ["a\0b"]}, {"environment": [["A\0", "b"]]}, {"environment": [["A=B", "c"]]}, {"command": "\0"}],
)
async def test_words_that_no_program_can_be_given(tmp_path: Path, more: dict[str, object]) -> None:
    assert "could not be started (" in await refused(plugged(tmp_path, "true", **more))


async def test_a_plugin_that_fails_runs_once_for_all_who_wait(tmp_path: Path) -> None:
    kept = credentials.Credentials(plugged(tmp_path, f"echo x >> {tmp_path}/runs; sleep 0.3; exit 1"))
    outcomes = await asyncio.gather(*(kept.current() for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in outcomes] == [kube_errors.Unauthenticated] * 5
    assert (tmp_path / "runs").read_text() == "x\n"


async def test_a_plugin_that_is_given_up_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    waiting = asyncio.ensure_future(credentials.Credentials(plugged(tmp_path, f"echo $$ > {pid}; sleep 401")).current())
    while not pid.exists() or not pid.read_text():
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    until = time.monotonic() + 60
    while not gone(int(pid.read_text())) and time.monotonic() < until:
        await asyncio.sleep(0.01)
    assert gone(int(pid.read_text()))


# Kubeconfigs that a parser falls for


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int foo",
        "a: !!float",
        "a: !!bool",
        "a: !!timestamp",
        "a: " + "9" * 5000,
        "[" * 100_000,
        "- " * 100_000,
        "a: &a {x: 1}\n"
        + "".join(f"b{n}: &b{n} {{<<: [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]}}\n" for n in range(12)),
        "a: &a [x]\n" + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(12)),
        "a: b\n---\nc: d",
        "? [a]\n: b",
        "\0",
    ],
)
def test_yaml_that_a_parser_falls_for(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config"
    path.write_text(text + "\n", "utf-8")
    assert main.run(["check", "--kubeconfig", str(path)]) in {3, 5}
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert len(err) < 1000


def test_a_date_in_a_kubeconfig_is_text(tmp_path: Path) -> None:
    path = Path(config(tmp_path, "https://k"))
    path.write_text(path.read_text() + "\n", "utf-8")
    path.write_text(
        "created: 2024-13-45\n" + "current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
        "clusters: [{name: k, cluster: {server: 'https://k'}}]\n",
        "utf-8",
    )
    assert connect.settings(str(path), environ={}).server == "https://k"


# All of it, as it is called


@pytest.mark.parametrize(
    "words",
    [["check"], ["plan"], ["why", "a", "b"], ["why", "a"], ["probe", "a", "b"], ["probe"], ["apply"], ["rollback"]],
)
def test_a_server_that_is_away_is_one_sentence(tmp_path: Path, words: list[str], unused_port: int) -> None:
    path = config(tmp_path, f"https://127.0.0.1:{unused_port}")
    command = [sys.executable, "-m", "kubemtu", *words, "--kubeconfig", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: nothing listens at https://127.0.0.1:{unused_port}")
    assert done.stderr.count("\n") == 1


async def test_a_bundle_with_comments_in_any_encoding(tmp_path: Path, as_user: As) -> None:
    async with as_user("admin") as api:
        one = api.connection.ca
    assert one is not None
    path = tmp_path / "ca.crt"
    path.write_bytes("# Aussteller: Zürich\n".encode("latin-1") + one.encode() + b"\xff\n")
    made = trust.context(Connection(server="https://k", origin="/k", ca_file=str(path)), credentials.Credential())
    assert len(made.get_ca_certs()) == 1
