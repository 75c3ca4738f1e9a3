"""Starting a real control plane: its arguments, its failures, and with stand-ins its whole course."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest
from tests.support.lab_api import connect, installed

from kubemtu_lab.api import EnvtestApi, envtest
from kubemtu_lab.api.errors import BackendFailure, EnvtestMissing

ETCD_PROGRAM = installed("etcd")

# A stand-in says with the flags it was given what the real program would do with them: listen, with this certificate.
ETCD = """
import http.server, sys
flags = dict(each[2:].split("=", 1) for each in sys.argv[1:])
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
host, port = flags["listen-client-urls"].removeprefix("http://").split(":")
http.server.HTTPServer((host, int(port)), Health).serve_forever()
"""
APISERVER = """
import csv, http.server, pathlib, ssl, sys, urllib.request
flags = dict(each[2:].split("=", 1) for each in sys.argv[1:])
urllib.request.urlopen(flags["etcd-servers"] + "/health")
assert "PRIVATE KEY" in pathlib.Path(flags["service-account-signing-key-file"]).read_text()
users = {row[0]: row for row in csv.reader(open(flags["token-auth-file"]))}
class Whoami(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        row = users.get(self.headers.get("authorization", "").removeprefix("Bearer "))
        body = "|".join(row or []).encode()
        self.send_response(200 if row else 401)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer((flags["bind-address"], int(flags["secure-port"])), Whoami)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(flags["tls-cert-file"], flags["tls-private-key-file"])
server.socket = tls.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(0o755)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(("there", "lacking"), [((), "etcd"), (("etcd",), "kube-apiserver")])
async def test_a_folder_without_a_program_is_told(tmp_path: Path, there: tuple[str, ...], lacking: str) -> None:
    for name in there:
        program(tmp_path, name, "")
    with pytest.raises(EnvtestMissing) as missing:
        await EnvtestApi(assets=tmp_path).start()
    assert str(missing.value) == (
        f"KUBEBUILDER_ASSETS names {tmp_path}, which has no program {lacking}: put etcd and kube-apiserver there "
        "(setup-envtest does), or unset KUBEBUILDER_ASSETS for the built-in API"
    )
    assert missing.value.exit_code == 2


async def test_the_whole_course_with_stand_ins(tmp_path: Path) -> None:
    program(tmp_path, "etcd", ETCD)
    program(tmp_path, "kube-apiserver", APISERVER)
    elsewhere = socket.create_server(("127.0.0.2", 0))
    url = f"https://127.0.0.2:{elsewhere.getsockname()[1]}"
    api = EnvtestApi(assets=tmp_path, sockets=[elsewhere], users={"viewer": ["lab:viewers", "lab:others"]})
    async with api:
        pids = api.pids
        assert len(pids) == 2
        assert all(map(is_alive, pids))
        async with connect(api.kubeconfig()) as admin:
            assert (await admin.get("/whoami")).text.split("|")[1:] == ["admin", "0", "system:masters"]
        async with connect(api.kubeconfig(url, user="viewer")) as viewer:
            assert (await viewer.get("/whoami")).text.split("|")[1:] == ["viewer", "1", "lab:viewers,lab:others"]
            assert (await viewer.get("/whoami", headers={"authorization": "Bearer x"})).status_code == 401
    assert not any(map(is_alive, pids))


async def test_a_program_that_ends_at_once_is_quoted_and_nothing_stays(tmp_path: Path) -> None:
    program(tmp_path, "etcd", ETCD)
    program(tmp_path, "kube-apiserver", "import sys; sys.exit('Error: unknown flag: --nonsense')")
    api = EnvtestApi(assets=tmp_path)
    with pytest.raises(BackendFailure, match="kube-apiserver ended at once; its last words: Error: unknown flag"):
        await api.start()
    assert len(api.pids) == 2
    assert not any(map(is_alive, api.pids))


async def test_a_file_that_is_no_program_is_told(tmp_path: Path) -> None:
    program(tmp_path, "etcd", "")
    (tmp_path / "etcd").write_bytes(b"\x00not a program")
    program(tmp_path, "kube-apiserver", "")
    with pytest.raises(BackendFailure, match="etcd cannot be run: Exec format error"):
        await EnvtestApi(assets=tmp_path).start()


async def test_children_die_with_their_parent(tmp_path: Path) -> None:
    program(tmp_path, "etcd", ETCD)
    script = f"""
import asyncio, os, pathlib
from kubemtu_lab.api import envtest
async def main():
    client, peer = envtest.free_ports(2)
    folder = pathlib.Path({str(tmp_path)!r})
    child = envtest.Child(folder / "etcd", folder / "log")
    await child.start(envtest.etcd_arguments(folder, client, peer))
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    pid = int((await process.communicate())[0])
    for _ in range(100):
        if not is_alive(pid) or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail(f"process {pid} outlived its parent")


@pytest.mark.skipif(ETCD_PROGRAM is None, reason="there is no etcd: scripts/setup brings one")
async def test_a_real_etcd_takes_the_arguments(tmp_path: Path) -> None:
    assert ETCD_PROGRAM is not None
    etcd = envtest.Child(ETCD_PROGRAM, tmp_path / "log")
    client, peer = envtest.free_ports(2)
    await etcd.start(envtest.etcd_arguments(tmp_path, client, peer), {"ETCD_UNSAFE_NO_FSYNC": "true"})
    try:
        await etcd.until(f"http://127.0.0.1:{client}/health")
        assert (tmp_path / "etcd" / "member").is_dir()
    finally:
        await etcd.stop()
    assert not is_alive(etcd.pid)


def test_the_arguments_let_a_pod_network_be_installed(tmp_path: Path) -> None:
    flags = envtest.apiserver_arguments(tmp_path, 6443, "http://127.0.0.1:2379", tmp_path / "c", tmp_path / "k")
    assert {"--allow-privileged=true", "--authorization-mode=RBAC", "--secure-port=6443"} <= set(flags)
    assert "--disable-admission-plugins=ServiceAccount" in flags
    assert len({flag.partition("=")[0] for flag in flags}) == len(flags)
