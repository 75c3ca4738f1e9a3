"""Each way in which a server can refuse or be away, as the one sentence and the exit code that a user gets."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2
import msgspec
import pytest

from kubemtu.core import errors
from kubemtu.core.objects import Ref, Want
from kubemtu.kube import crd
from kubemtu.kube import errors as kube_errors
from kubemtu.kube.api import Api
from kubemtu.kube.connection import Connection, Impersonation

Scripted = Callable[..., tuple[Api, list[httpx2.Request]]]
As = Callable[[str], AbstractAsyncContextManager[Api]]

WHO = "user dev of context prod in /home/me/.kube/config"
REF = Ref(api_version="apps/v1", kind="DaemonSet", plural="daemonsets", name="canal", namespace="kube-system")
PATH = "/apis/apps/v1/namespaces/kube-system/daemonsets/canal"
MAPS = Want(kind="ConfigMap", plural="configmaps", api_versions=("v1",))


async def refusal(api: Api, *, exit_code: int, kind: type[errors.KubemtuError] | None = None) -> str:
    """The sentence with which a read of the DaemonSet ends."""
    with pytest.raises(errors.KubemtuError) as caught:
        async with api:
            await api.get(REF)
    assert caught.value.exit_code == exit_code
    assert kind is None or type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_401_says_who_and_to_log_in_again(scripted: Scripted) -> None:
    api, asked = scripted({f"GET {PATH}": (401, "Unauthorized", "Unauthorized")})
    assert await refusal(api, exit_code=4, kind=kube_errors.Unauthenticated) == (
        f"https://k8s.example:6443 does not accept the credentials of {WHO}: Unauthorized; log in again, then retry"
    )
    assert len(asked) == 1


async def test_401_of_a_rotated_token_is_sent_again(scripted: Scripted, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")

    def rotate(request: httpx2.Request) -> httpx2.Response:
        if request.headers["Authorization"] == "Bearer old":
            token.write_text("new")
            return httpx2.Response(401, text="Unauthorized")
        return httpx2.Response(200, json={"kind": "DaemonSet", "metadata": {"name": "canal"}})

    connection = Connection(server="https://k8s", origin="/k", token_file=str(token))
    async with Api(connection, transport=httpx2.MockTransport(rotate)) as api:
        found = await api.get(REF)
    assert found is not None
    assert found.name == "canal"


async def test_403_names_the_right_and_the_command_that_asks_for_it(scripted: Scripted) -> None:
    message = (
        'daemonsets.apps "canal" is forbidden: User "alice" cannot get resource "daemonsets" in API group "apps" in '
        'the namespace "kube-system"'
    )
    connection = Connection(
        server="https://k8s", origin="/k", context="prod", user="dev", impersonation=Impersonation(user="alice")
    )
    api, _ = scripted({f"GET {PATH}": (403, "Forbidden", message)}, connection)
    assert await refusal(api, exit_code=4, kind=errors.Forbidden) == (
        "alice may not get daemonsets.apps canal in namespace kube-system on https://k8s; ask for the ClusterRole "
        'kubemtu-view, which has it, or the rule {apiGroups: ["apps"], resources: [daemonsets], verbs: [get]}, and '
        "check it with `kubectl auth can-i get daemonsets.apps/canal -n kube-system --context prod "
        "--as alice`"
    )


async def test_403_of_a_real_authorizer(as_user: As) -> None:
    async with as_user("reader") as api:
        with pytest.raises(errors.Forbidden) as caught:
            await api.patch(REF, {"spec": {}}, subresource="status")
    assert str(caught.value).startswith("reader may not patch daemonsets.apps canal (status) in namespace kube-system ")
    assert "`kubectl auth can-i patch daemonsets.apps/canal --subresource=status -n kube-system" in str(caught.value)


async def test_403_of_an_admission_webhook_is_no_lack_of_rights(scripted: Scripted) -> None:
    message = 'admission webhook "policy.example" denied the request: no'
    api, _ = scripted({f"GET {PATH}": (403, "Forbidden", message)})
    said = await refusal(api, exit_code=4, kind=kube_errors.PolicyDenied)
    assert said.startswith("a policy of the cluster refused to get daemonsets.apps canal in namespace kube-system: ")
    assert "can-i" not in said


@pytest.mark.parametrize(
    "why",
    [
        "unable to create new content in namespace kube-system because it is being terminated",
        "create not allowed while custom resource definition is terminating",
    ],
    ids=["namespace", "definition"],
)
async def test_403_of_what_is_being_deleted_is_no_lack_of_rights(scripted: Scripted, why: str) -> None:
    """In the words of kube-apiserver 1.36: NamespaceLifecycle, and the handler of custom resources."""
    message = f'daemonsets.apps "canal" is forbidden: {why}'
    api, _ = scripted({f"GET {PATH}": (403, "Forbidden", message)})
    said = await refusal(api, exit_code=7, kind=errors.Conflict)
    assert f"is being deleted: {message}; wait until that is gone" in said
    assert "can-i" not in said


@pytest.mark.parametrize("kibibytes", [1640, 2300, 3380])
async def test_what_is_too_large_to_be_stored_is_refused_and_not_waited_for(as_user: As, kibibytes: int) -> None:
    """By etcd, by its client, and by the server itself, whose sizes are 1.5, 2 and 3 MiB."""
    async with as_user("admin") as api:
        await crd.install(api)
        small = {"apiVersion": "kubemtu.io/v1alpha1", "kind": "MTUMigration", "metadata": {"name": "m"}}
        made = await api.create({**small, "spec": {"plan": {"cni": "canal"}}})
        large = {"spec": {"plan": {"warnings": ["x" * (kibibytes << 10)]}}}
        ref = Ref(api_version="kubemtu.io/v1alpha1", kind="MTUMigration", plural="mtumigrations", name="m")
        for refused in (api.patch(ref, large), api.create({**small, "metadata": {"name": "n"}, **large})):
            with pytest.raises(kube_errors.Rejected) as caught:
                await refused
            assert caught.value.exit_code == 5
            assert "the object is larger than its etcd takes, which is 1.5 MiB unless somebody" in str(caught.value)
            assert str(caught.value).endswith("; nothing was changed")
        assert await api.get(ref) == made


async def test_404_of_an_object_or_a_kind_is_nothing(scripted: Scripted) -> None:
    api, _ = scripted({f"GET {PATH}": (404, "NotFound", 'daemonsets.apps "canal" not found')})
    async with api:
        assert await api.get(REF) is None
        assert await api.find("example.com/v1", "things", "x") is None


async def test_404_of_a_write_is_a_conflict(scripted: Scripted) -> None:
    api, _ = scripted({f"PATCH {PATH}": (404, "NotFound", 'daemonsets.apps "canal" not found')})
    async with api:
        with pytest.raises(kube_errors.Absent) as caught:
            await api.patch(REF, {})
    assert caught.value.exit_code == 7
    assert str(caught.value) == (
        "https://k8s.example:6443 has no daemonsets.apps canal in namespace kube-system: daemonsets.apps "
        '"canal" not found; check the name, or create it first'
    )


@pytest.mark.parametrize(
    ("code", "reason", "kind", "exit_code", "sentence"),
    [
        (409, "Conflict", errors.Conflict, 7, "somebody else changed it at the same moment"),
        (409, "AlreadyExists", kube_errors.AlreadyThere, 7, "it is already there"),
        (410, "Expired", kube_errors.Expired, 7, "no longer keeps the version"),
        (400, "BadRequest", kube_errors.Rejected, 5, "refused to get"),
        (422, "Invalid", kube_errors.Rejected, 5, "nothing was changed"),
        (429, "TooManyRequests", kube_errors.ServerFailing, 3, "it answered 429: why; wait until it is healthy"),
        (500, "InternalError", kube_errors.ServerFailing, 3, "it answered 500: why; wait until it is healthy"),
        (503, "ServiceUnavailable", kube_errors.ServerFailing, 3, "it answered 503: why; wait until it is healthy"),
    ],
)
async def test_other_refusals(
    scripted: Scripted, code: int, reason: str, kind: type[errors.KubemtuError], exit_code: int, sentence: str
) -> None:
    api, _ = scripted({f"GET {PATH}": (code, reason, "why")})
    assert sentence in await refusal(api, exit_code=exit_code, kind=kind)


async def test_a_long_message_is_capped(scripted: Scripted) -> None:
    api, _ = scripted({f"GET {PATH}": (422, "Invalid", "x y\n" * 10_000)})
    said = await refusal(api, exit_code=5)
    assert len(said) < 500
    assert "…" in said


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (httpx2.Response(200, html="<html>log in</html>"), "with a web page instead of an object of the Kubernetes"),
        (httpx2.Response(302, headers={"Location": "/login"}), "answered 302 with nothing"),
        (httpx2.Response(403, html="<html>denied</html>"), "answered 403 with a web page"),
        (httpx2.Response(200, text="hello"), "with text/plain (hello) instead of an object of the Kubernetes API"),
        (httpx2.Response(200, json=["x"]), 'with application/json (["x"]) instead of an object'),
        (httpx2.Response(200, content=b"\xff"), "instead of an object of the Kubernetes API"),
    ],
)
async def test_answers_that_are_no_api(scripted: Scripted, answer: httpx2.Response, sentence: str) -> None:
    api, _ = scripted({f"GET {PATH}": answer})
    said = await refusal(api, exit_code=3, kind=kube_errors.NotAnApi)
    assert sentence in said
    assert said.endswith(f"a proxy or a login page may stand in between: check the server of {WHO}")


async def test_a_gateway_with_a_web_page(scripted: Scripted) -> None:
    api, _ = scripted({f"GET {PATH}": httpx2.Response(502, html="<html>Bad Gateway</html>")})
    said = await refusal(api, exit_code=3, kind=kube_errors.ServerFailing)
    assert "it answered 502: no reason given; wait until it is healthy" in said


async def test_a_list_that_is_no_list(scripted: Scripted) -> None:
    api, _ = scripted({"GET /api/v1/configmaps": {"hello": "world"}})
    async with api:
        with pytest.raises(kube_errors.NotAnApi):
            await api.list(MAPS)


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (httpx2.ConnectTimeout(""), "did not accept a connection within 5 s; check the address, the VPN and the"),
        (httpx2.ReadTimeout(""), "took the request to get daemonsets.apps canal in namespace kube-system but did not"),
        (httpx2.RemoteProtocolError("Server disconnected"), "broke while kubemtu tried to get daemonsets.apps canal"),
        (httpx2.ConnectError("All connection attempts failed"), "All connection attempts failed; check the address"),
    ],
)
async def test_failures_below_http(scripted: Scripted, failure: Exception, sentence: str) -> None:
    api, _ = scripted({f"GET {PATH}": failure})
    said = await refusal(api, exit_code=3, kind=errors.Unreachable)
    assert sentence in said
    assert WHO in said


async def test_a_proxy_that_refuses_is_named_without_its_password(scripted: Scripted) -> None:
    connection = Connection(server="https://k8s", origin="/k", proxy_url="http://me:s3cret@proxy:3128")
    api, _ = scripted({f"GET {PATH}": httpx2.ProxyError("407 Proxy Authentication Required")}, connection)
    assert await refusal(api, exit_code=3, kind=errors.Unreachable) == (
        "the proxy http://proxy:3128 refused the connection to https://k8s (/k): 407 Proxy Authentication Required; "
        "check proxy-url in the kubeconfig, HTTPS_PROXY and NO_PROXY"
    )


async def test_a_broken_write_says_that_its_outcome_is_unknown(scripted: Scripted) -> None:
    api, asked = scripted({f"PATCH {PATH}": httpx2.ReadError("reset")})
    async with api:
        with pytest.raises(errors.Unreachable, match="it is not known whether the change was made, and running it aga"):
            await api.patch(REF, {})
    assert len(asked) == 1


async def test_a_broken_read_is_sent_again(scripted: Scripted) -> None:
    api, asked = scripted({f"GET {PATH}": [httpx2.ReadError("reset"), {"metadata": {"name": "canal"}}]})
    async with api:
        assert await api.get(REF) is not None
    assert len(asked) == 2


async def test_a_server_that_asks_to_wait_is_waited_for(scripted: Scripted) -> None:
    busy = httpx2.Response(429, headers={"Retry-After": "0"}, text="busy")
    api, asked = scripted({f"PATCH {PATH}": [busy, {"metadata": {"name": "canal"}}]})
    async with api:
        await api.patch(REF, {})
    assert len(asked) == 2


async def test_nobody_listens(unused_port: int) -> None:
    api = Api(Connection(server=f"https://127.0.0.1:{unused_port}", origin="/k", context="c", user="u"))
    assert await refusal(api, exit_code=3, kind=errors.Unreachable) == (
        f"nothing listens at https://127.0.0.1:{unused_port} (user u of context c in /k), the connection was refused; "
        "check host and port, and whether the cluster runs"
    )


async def test_an_unknown_host() -> None:
    api = Api(Connection(server="https://nowhere.invalid:6443", origin="/k"))
    said = await refusal(api, exit_code=3, kind=errors.Unreachable)
    assert said.startswith("the host name of https://nowhere.invalid:6443 (/k) cannot be resolved: ")
    assert said.endswith("; check the name, DNS and the VPN")


async def test_plain_http_to_a_tls_port(scripted: Scripted) -> None:
    answer = httpx2.Response(400, text="Client sent an HTTP request to an HTTPS server.\n")
    api, _ = scripted({f"GET {PATH}": answer}, Connection(server="http://k8s:6443", origin="/k"))
    said = await refusal(api, exit_code=3, kind=kube_errors.TlsFailure)
    assert said == "http://k8s:6443 expects https; write https:// in the server of /k and try again"


async def test_tls_to_a_plain_port(unused_port: int) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", unused_port):
        api = Api(Connection(server=f"https://127.0.0.1:{unused_port}", origin="/k"))
        said = await refusal(api, exit_code=3, kind=kube_errors.TlsFailure)
    assert said.endswith("does not speak TLS on that port; check scheme and port of the server")


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("after", [0, 3, 90, 700])
async def test_a_connection_that_breaks_off_in_the_midst_of_tls(as_user: As, after: int, how: str) -> None:
    """An API server that ends, or a link that is cut: not distrust, so that whoever waits for outages waits."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(host, int(port))
        onward.write(await reader.read(1 << 16))
        writer.write(await there.readexactly(after))
        await writer.drain()
        writer.close() if how == "close" else writer.transport.abort()
        onward.transport.abort()

    async with as_user("admin") as api:
        host, _, port = api.connection.server.removeprefix("https://").rpartition(":")
        async with await asyncio.start_server(cut, "127.0.0.1", 0) as cutting:
            server = f"https://127.0.0.1:{cutting.sockets[0].getsockname()[1]}"
            said = await refusal(
                Api(msgspec.structs.replace(api.connection, server=server)), exit_code=3, kind=errors.Unreachable
            )
    assert f"the connection to {server} (user admin of context " in said
    assert "broke off while kubemtu tried to get daemonsets.apps canal in namespace kube-system (in the midst" in said


async def test_an_untrusted_certificate(as_user: As) -> None:
    async with as_user("admin") as api:
        strange = msgspec.structs.replace(api.connection, ca=None)
        said = await refusal(Api(strange), exit_code=3, kind=kube_errors.TlsFailure)
        assert said.startswith(f"the certificate of {strange.server} (user admin of context ")
        assert "cannot be trusted: self-signed certificate" in said  # of the server, or at the end of its chain
        assert "; check certificate-authority and the name of the" in said


async def test_insecure_skips_the_check(as_user: As) -> None:
    async with as_user("admin") as api:
        connection = msgspec.structs.replace(api.connection, ca=None, insecure=True)
    async with Api(connection) as open_api:
        assert "apps/v1" in await open_api.versions()


async def test_tls_server_name_is_what_the_certificate_is_held_against(as_user: As) -> None:
    async with as_user("admin") as api:
        async with Api(msgspec.structs.replace(api.connection, tls_server_name="localhost")) as open_api:
            assert "apps/v1" in await open_api.versions()
        wrong = Api(msgspec.structs.replace(api.connection, tls_server_name="other"))
        said = await refusal(wrong, exit_code=3, kind=kube_errors.TlsFailure)
    assert "cannot be trusted (tls-server-name other): Hostname mismatch" in said


@pytest.mark.parametrize("ca", ["no certificate", "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n"])
async def test_an_unusable_authority(ca: str) -> None:
    said = await refusal(Api(Connection(server="https://k8s", origin="/k", ca=ca)), exit_code=3)
    assert said.startswith("/k: certificate-authority-data holds no usable certificate (")


async def test_an_authority_that_is_no_file() -> None:
    said = await refusal(Api(Connection(server="https://k8s", origin="/k", ca_file="/nowhere/ca.crt")), exit_code=3)
    assert said == "/k: /nowhere/ca.crt holds no usable certificate (No such file or directory); correct it"


async def test_an_unusable_client_certificate() -> None:
    connection = Connection(server="https://k8s", origin="/k", context="c", user="u", certificate="x", key="y")
    said = await refusal(Api(connection), exit_code=3, kind=kube_errors.TlsFailure)
    assert said.startswith("the client certificate of user u of context c in /k cannot be used (")


async def test_a_client_certificate_is_shown(tmp_path: Path, unused_port: int) -> None:
    assert shutil.which("openssl")
    names = "subjectAltName=IP:127.0.0.1"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=me -keyout key"
    subprocess.run([*command.split(), "-out", "pem", "-addext", names], cwd=tmp_path, check=True, capture_output=True)
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    settings.load_cert_chain(tmp_path / "pem", tmp_path / "key")
    settings.verify_mode = ssl.CERT_REQUIRED
    settings.load_verify_locations(tmp_path / "pem")
    shown: list[object] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown.append(writer.get_extra_info("peercert")["subject"])
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"metadata":{"name":"canal"}}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        writer.close()

    connection = Connection(
        server=f"https://127.0.0.1:{unused_port}",
        origin="/k",
        ca_file=str(tmp_path / "pem"),
        certificate=(tmp_path / "pem").read_text(),
        key=(tmp_path / "key").read_text(),
    )
    async with await asyncio.start_server(answer, "127.0.0.1", unused_port, ssl=settings), Api(connection) as api:
        assert await api.get(REF) is not None
    assert shown == [((("commonName", "me"),),)]


async def test_socks_without_its_package() -> None:
    connection = Connection(server="https://k8s", origin="/k", proxy_url="socks5://p:1080", insecure=True)
    said = await refusal(Api(connection), exit_code=2, kind=errors.UsageError)
    assert said.startswith("the proxy socks5://p:1080 speaks SOCKS, for which kubemtu needs the package socksio")


async def test_a_proxy_of_an_unknown_kind() -> None:
    connection = Connection(server="https://k8s", origin="/k", proxy_url="ftp://p", insecure=True)
    said = await refusal(Api(connection), exit_code=5, kind=kube_errors.Unusable)
    assert "https://k8s or the proxy ftp://p is no address" in said


async def test_a_name_that_is_no_name(scripted: Scripted) -> None:
    api, asked = scripted({})
    async with api:
        with pytest.raises(errors.Malformed, match=r"'\.\./secrets' cannot be part of an address of the API"):
            await api.find("v1", "configmaps", "../secrets", "kube-system")
        with pytest.raises(errors.Malformed, match="an object of kind ConfigMap has no name; give it one"):
            await api.get(Ref(api_version="v1", kind="ConfigMap", plural="configmaps", name=""))
    assert asked == []


async def test_what_is_sent_with_each_request(scripted: Scripted) -> None:
    connection = Connection(
        server="https://rancher/k8s/clusters/c-1",
        origin="/k",
        token="t",
        impersonation=Impersonation(user="a", groups=("g1", "g2")),
    )
    api, asked = scripted({f"GET /k8s/clusters/c-1{PATH}": {"metadata": {"name": "canal"}}}, connection)
    async with api:
        assert await api.get(REF) is not None
    headers = asked[0].headers
    assert headers["Authorization"] == "Bearer t"
    assert headers["User-Agent"].startswith("kubemtu/")
    assert headers.get_list("Impersonate-Group") == ["g1", "g2"]


async def test_basic_credentials(scripted: Scripted) -> None:
    connection = Connection(server="https://k8s", origin="/k", username="u", password="p")
    api, asked = scripted({f"GET {PATH}": {"metadata": {"name": "canal"}}}, connection)
    async with api:
        await api.get(REF)
    assert asked[0].headers["Authorization"] == "Basic dTpw"  # RFC 7617: base64 of "u:p"
