"""Tokens in files and exec plugins, run as the processes they are."""

import base64
import json
import stat
from pathlib import Path

import msgspec
import pytest

from kubemtu.core import errors
from kubemtu.kube import credentials
from kubemtu.kube.connection import Connection, ExecPlugin
from kubemtu.kube.credentials import Credential, Credentials

V1 = "client.authentication.k8s.io/v1"
BASE = Connection(server="https://k8s:6443", origin="/k", context="prod", user="dev", ca="PEM", proxy_url="http://p:1")


def program(tmp_path: Path, body: str) -> str:
    path = tmp_path / "plugin"
    path.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def printing(status: object, version: str = V1, kind: str = "ExecCredential") -> str:
    """A shell line that prints an ExecCredential."""
    return f"echo '{json.dumps({'kind': kind, 'apiVersion': version, 'status': status})}'"


def plugged(command: str, **fields: object) -> Connection:
    facts = {"api_version": V1, "command": command, "interactive": "Never", **fields}
    return msgspec.structs.replace(BASE, plugin=msgspec.convert(facts, ExecPlugin))


async def refused(connection: Connection) -> str:
    with pytest.raises(errors.Forbidden) as caught:
        await Credentials(connection).current()
    assert caught.value.exit_code == 4
    return str(caught.value)


async def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one\n")
    kept = Credentials(msgspec.structs.replace(BASE, token_file=str(path)))
    first = await kept.current()
    assert first.token == "one"
    assert not await kept.renew(first)
    path.write_text("two")
    assert await kept.renew(first)
    assert (await kept.current()).token == "two"
    path.unlink()  # while the kubelet replaces it
    assert (await kept.current()).token == "two"


async def test_a_missing_token_file(tmp_path: Path) -> None:
    said = await refused(msgspec.structs.replace(BASE, token_file=str(tmp_path / "none")))
    assert said.startswith(f"the token file {tmp_path}/none of user dev of context prod in /k cannot be read (")
    assert said.endswith("log in again, then retry")


async def test_a_plain_token_cannot_be_renewed() -> None:
    kept = Credentials(msgspec.structs.replace(BASE, token="t"))
    assert not await kept.renew(await kept.current())


async def test_a_plugin_gets_its_request_and_environment(tmp_path: Path) -> None:
    command = program(
        tmp_path,
        f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info; echo "$REGION $1" > {tmp_path}/env\n'
        + printing({"token": "t"}),
    )
    connection = plugged(
        command, arguments=["arg"], environment=[["REGION", "eu"]], provide_cluster=True, config={"audience": "x"}
    )
    assert (await Credentials(connection).current()).token == "t"
    assert (tmp_path / "env").read_text() == "eu arg\n"
    assert json.loads((tmp_path / "info").read_text()) == {
        "kind": "ExecCredential",
        "apiVersion": V1,
        "spec": {
            "interactive": False,
            "cluster": {
                "server": "https://k8s:6443",
                "certificate-authority-data": base64.b64encode(b"PEM").decode(),
                "proxy-url": "http://p:1",
                "config": {"audience": "x"},
            },
        },
    }


async def test_the_cluster_is_told_only_where_asked(tmp_path: Path) -> None:
    connection = plugged(program(tmp_path, ":"))
    assert connection.plugin is not None
    request = json.loads(credentials.request(connection.plugin, connection, interactive=True))
    assert request["spec"] == {"interactive": True}


async def test_a_plugin_runs_again_when_its_credential_expires_or_is_refused(tmp_path: Path) -> None:
    expires = {"token": "t", "expirationTimestamp": "2026-11-23T12:00:00Z"}  # 1795435200
    command = program(tmp_path, f"echo x >> {tmp_path}/runs\n{printing(expires)}")
    moment = 1795435200.0 - 1
    kept = Credentials(plugged(command), clock=lambda: moment)
    first = await kept.current()
    assert first == Credential(token="t", expires=1795435200.0)
    await kept.current()
    assert (tmp_path / "runs").read_text() == "x\n"
    moment += 1
    await kept.current()
    assert (tmp_path / "runs").read_text() == "x\nx\n"
    assert await kept.renew(first)
    await kept.current()
    assert (tmp_path / "runs").read_text() == "x\nx\nx\n"


async def test_a_plugin_may_give_a_client_certificate(tmp_path: Path) -> None:
    command = program(tmp_path, printing({"clientCertificateData": "CERT", "clientKeyData": "KEY"}))
    found = await Credentials(plugged(command)).current()
    assert (found.certificate, found.key, found.token) == ("CERT", "KEY", None)
    assert "KEY" not in repr(found)


async def test_a_plugin_of_v1beta1(tmp_path: Path) -> None:
    beta = "client.authentication.k8s.io/v1beta1"
    command = program(tmp_path, printing({"token": "t"}, version=beta))
    assert (await Credentials(plugged(command, api_version=beta)).current()).token == "t"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("echo no", "did not print JSON; run it by hand"),
        ("echo '[]'", "did not print an ExecCredential; run it by hand"),
        (printing({"token": "t"}, kind="Other"), "did not print an ExecCredential; run it by hand"),
        (printing({"token": "t"}, version="x/v1"), f"printed 'x/v1', the kubeconfig asks for {V1}; update the plugin"),
        (printing({"token": 7}), "printed a credential that cannot be read (/"),
        (printing({"token": "t", "expirationTimestamp": "soon"}), "printed a credential that cannot be read (Invalid"),
        (printing({}), "printed neither a token nor a client certificate with its key"),
        (printing({"clientKeyData": "K"}), "printed neither a token nor a client certificate with its key"),
        ("echo session expired >&2; exit 3", "ended with code 3: session expired; log in again, then retry"),
        ("exit 1", "ended with code 1; log in again, then retry"),
    ],
)
async def test_a_plugin_that_fails(tmp_path: Path, body: str, sentence: str) -> None:
    command = program(tmp_path, body)
    said = await refused(plugged(command))
    assert said.startswith(f"the credential plugin {command} of user dev of context prod in /k ")
    assert sentence in said


async def test_a_plugin_that_is_not_installed() -> None:
    said = await refused(plugged("/no/such/login", install_hint="install it with\n  brew install login"))
    assert said.endswith("could not be started (No such file or directory); install it with brew install login")


async def test_a_plugin_that_must_ask_needs_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    said = await refused(plugged(program(tmp_path, printing({"token": "t"})), interactive="Always"))
    assert said.endswith("wants to ask something, but there is no terminal; run it from one")


async def test_a_plugin_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "PLUGIN_SECONDS", 8.0)
    command = program(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    said = await refused(plugged(command))
    assert said.endswith("printed nothing within 8 s; run it by hand")
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()


async def test_a_plugin_may_ask_where_somebody_sits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    command = program(tmp_path, f'echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info\n{printing({"token": "t"})}')
    assert (await Credentials(plugged(command, interactive="Always")).current()).token == "t"
    assert json.loads((tmp_path / "info").read_text())["spec"] == {"interactive": True}
