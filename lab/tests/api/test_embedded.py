"""The embedded server's own life: its sockets, its certificate, its end."""

import socket
from pathlib import Path

import httpx2
import pytest
from tests.support.lab_api import call, connect

from kubemtu_lab.api import ApiBackend, EmbeddedApi, EnvtestApi, api
from kubemtu_lab.api.errors import BackendFailure
from kubemtu_lab.api.store import Store

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


async def test_one_server_answers_on_every_socket() -> None:
    elsewhere = socket.create_server(("127.0.0.2", 0))
    port = elsewhere.getsockname()[1]
    async with EmbeddedApi(sockets=[elsewhere]) as server:
        async with connect(server.kubeconfig()) as here:
            await call(here, "POST", CONFIGMAPS, {"metadata": {"name": "x"}})
        async with connect(server.kubeconfig(f"https://127.0.0.2:{port}")) as there:
            found = await call(there, "GET", f"{CONFIGMAPS}/x")
    assert found["metadata"]["name"] == "x"
    assert elsewhere.fileno() == -1


async def test_the_certificate_is_for_the_addresses_that_were_told() -> None:
    anywhere = socket.create_server(("0.0.0.0", 0))
    port = anywhere.getsockname()[1]
    async with EmbeddedApi(sockets=[anywhere], addresses=["127.0.0.3"]) as server:
        async with connect(server.kubeconfig(f"https://127.0.0.3:{port}")) as told:
            assert (await told.get("/version")).status_code == 200
        async with connect(server.kubeconfig(f"https://127.0.0.4:{port}")) as untold:
            with pytest.raises(httpx2.ConnectError, match="certificate"):
                await untold.get("/version")


async def test_the_objects_of_a_store_outlive_a_server() -> None:
    store = Store()
    async with EmbeddedApi(store=store) as first, connect(first.kubeconfig()) as client:
        await call(client, "POST", CONFIGMAPS, {"metadata": {"name": "x"}})
    async with EmbeddedApi(store=store) as second, connect(second.kubeconfig()) as client:
        assert (await call(client, "GET", f"{CONFIGMAPS}/x"))["metadata"]["name"] == "x"
    assert first.kubeconfig() != second.kubeconfig()


async def test_after_the_end_nobody_answers() -> None:
    async with EmbeddedApi() as server:
        kubeconfig = server.kubeconfig()
    async with connect(kubeconfig) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("/version")


async def test_without_openssl_the_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendFailure, match="install openssl"):
        await EmbeddedApi().start()


@pytest.mark.parametrize(("assets", "kind"), [("", EmbeddedApi), ("/somewhere", EnvtestApi)])
def test_the_environment_chooses_the_server(
    monkeypatch: pytest.MonkeyPatch, assets: str, kind: type[ApiBackend]
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", assets)
    assert type(api()) is kind
