"""Where the connection comes from, in kubectl's order, and a sentence for each way in which there is none."""

import base64
from pathlib import Path

import pytest
import yaml

from kubemtu.core import errors
from kubemtu.kube import connect
from kubemtu.kube.connection import ExecPlugin, Impersonation

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def config(name: str = "a", **user: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}.example:6443/"}}],
        "users": [{"name": name, "user": user or {"token": f"token-{name}"}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }


def write(path: Path, body: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body if isinstance(body, str) else yaml.safe_dump(body), "utf-8")
    return str(path)


def refused(*args: str | None, kind: type[errors.KubemtuError], **environ: str) -> str:
    """The sentence with which `settings` refuses."""
    with pytest.raises(errors.KubemtuError) as caught:
        connect.settings(*args, environ=environ, home=Path("/nowhere"), account=Path("/nowhere"))
    assert type(caught.value).exit_code == kind.exit_code
    assert isinstance(caught.value, kind)
    return str(caught.value)


def test_kubeconfig_flag_wins_over_environment(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", config("one")), write(tmp_path / "two", config("two"))
    found = connect.settings(one, environ={"KUBECONFIG": two}, home=tmp_path)
    assert (found.server, found.token, found.namespace) == ("https://one.example:6443", "token-one", "default")
    assert found.who == f"user one of context one in {one}"


def test_environment_lists_files_and_the_first_to_name_an_entry_wins(tmp_path: Path) -> None:
    first, second = config("a"), config("b")
    second["users"] = [{"name": "a", "user": {"token": "ignored"}}, {"name": "b", "user": {"token": "token-b"}}]
    paths = [write(tmp_path / "1", first), str(tmp_path / "missing"), "", write(tmp_path / "2", second)]
    environ = {"KUBECONFIG": ":".join(paths)}
    assert connect.settings(environ=environ).token == "token-a"
    assert connect.settings(context="b", environ=environ).token == "token-b"


def test_entries_of_one_context_may_stand_in_different_files(tmp_path: Path) -> None:
    contexts = {"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "a", "user": "b"}}]}
    environ = {
        "KUBECONFIG": ":".join(
            [write(tmp_path / "0", contexts), write(tmp_path / "1", config("a")), write(tmp_path / "2", config("b"))]
        )
    }
    found = connect.settings(environ=environ)
    assert (found.server, found.token) == ("https://a.example:6443", "token-b")


def test_home_is_read_when_nothing_is_named(tmp_path: Path) -> None:
    write(tmp_path / ".kube" / "config", config("h"))
    assert connect.settings(environ={}, home=tmp_path).server == "https://h.example:6443"


def account(tmp_path: Path) -> Path:
    folder = tmp_path / "account"
    write(folder / "token", "pod-token\n")
    write(folder / "namespace", "kubemtu-system\n")
    return folder


def test_a_pod_uses_its_service_account(tmp_path: Path) -> None:
    folder = account(tmp_path)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = connect.settings(environ=environ, home=tmp_path, account=folder)
    assert (found.server, found.namespace) == ("https://[fd00::1]:443", "kubemtu-system")
    assert (found.token_file, found.ca_file) == (str(folder / "token"), str(folder / "ca.crt"))


def test_a_kubeconfig_wins_over_the_pod(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    environ["KUBECONFIG"] = write(tmp_path / "c", config("c"))
    assert connect.settings(environ=environ, account=account(tmp_path)).server == "https://c.example:6443"


def test_every_field_of_a_cluster_and_a_user(tmp_path: Path) -> None:
    body = config("a")
    body["clusters"] = [
        {
            "name": "a",
            "cluster": {
                "server": "https://10.0.0.1:6443/k8s/clusters/c-1",
                "certificate-authority": "pki/ca.crt",
                "tls-server-name": "kubernetes",
                "proxy-url": "http://proxy:3128",
                "insecure-skip-tls-verify": True,
            },
        }
    ]
    encoded = base64.b64encode(PEM.encode()).decode()
    body["users"] = [
        {
            "name": "a",
            "user": {
                "client-certificate-data": encoded,
                "client-key-data": encoded,
                "username": "u",
                "password": "p",
                "tokenFile": "/abs/token",
                "as": "admin",
                "as-groups": ["g1", "g2"],
                "as-uid": "7",
                "as-user-extra": {"scopes": ["s"]},
            },
        }
    ]
    body["contexts"] = [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "ns"}}]
    found = connect.settings(write(tmp_path / "c", body), environ={})
    assert found.ca_file == str(tmp_path / "pki" / "ca.crt")
    assert (found.certificate, found.key, found.token_file) == (PEM, PEM, "/abs/token")
    assert (found.tls_server_name, found.proxy_url, found.insecure) == ("kubernetes", "http://proxy:3128", True)
    assert (found.username, found.password, found.namespace) == ("u", "p", "ns")
    assert found.impersonation is not None
    assert found.impersonation.headers() == [
        ("Impersonate-User", "admin"),
        ("Impersonate-Group", "g1"),
        ("Impersonate-Group", "g2"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-scopes", "s"),
    ]


def test_exec_plugin_of_version_1(tmp_path: Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./bin/login",
        "args": ["get-token"],
        "env": [{"name": "REGION", "value": "eu"}],
        "interactiveMode": "Never",
        "provideClusterInfo": True,
        "installHint": "brew install login",
    }
    body = config("a", exec=plugin)
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    body["clusters"] = [{"name": "a", "cluster": {"server": "https://a", "extensions": [extension]}}]
    assert connect.settings(write(tmp_path / "c", body), environ={}).plugin == ExecPlugin(
        api_version="client.authentication.k8s.io/v1",
        command=str(tmp_path / "bin" / "login"),
        arguments=("get-token",),
        environment=(("REGION", "eu"),),
        interactive="Never",
        provide_cluster=True,
        config={"audience": "x"},
        install_hint="brew install login",
    )


def test_impersonation_of_the_command_line_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "c", config("a", **{"token": "t", "as": "file"}))
    found = connect.settings(path, impersonate="flag", impersonate_groups=("g",), environ={})
    assert found.impersonation == Impersonation(user="flag", groups=("g",))
    assert "acting as flag" in found.who


def test_secrets_are_not_printed(tmp_path: Path) -> None:
    found = connect.settings(write(tmp_path / "c", config("a", token="s3cret", password="s3cret")), environ={})
    assert "s3cret" not in f"{found!r} {found}"


@pytest.mark.parametrize("behind", ["?token=s3cret", "/?token=s3cret", "#s3cret", "/?a=u:s3cret@x", "?a#s3cret"])
def test_what_no_request_has_of_a_servers_address_is_named_nowhere(tmp_path: Path, behind: str) -> None:
    body = config("a")
    body["clusters"] = [{"name": "a", "cluster": {"server": f"https://a.example:6443{behind}"}}]
    assert connect.settings(write(tmp_path / "c", body), environ={}).server == "https://a.example:6443"
    body["clusters"] = [{"name": "a", "cluster": {"server": f"https://a.example:99999{behind}"}}]
    assert "s3cret" not in refused(write(tmp_path / "d", body), kind=errors.Malformed)


@pytest.mark.parametrize(
    ("server", "user", "expected"),
    [
        ("10.0.0.1:8080", {"token": "t"}, "http://10.0.0.1:8080"),
        ("10.0.0.1:6443", {"client-certificate-data": "QQ==", "client-key-data": "QQ=="}, "https://10.0.0.1:6443"),
    ],
)
def test_a_server_without_a_scheme(tmp_path: Path, server: str, user: dict[str, object], expected: str) -> None:
    body = config("a", **user)
    body["clusters"] = [{"name": "a", "cluster": {"server": server}}]
    assert connect.settings(write(tmp_path / "c", body), environ={}).server == expected


def test_no_cluster_at_all() -> None:
    assert refused(kind=errors.Unreachable) == (
        "no cluster to talk to: there is no kubeconfig; name one with --kubeconfig or KUBECONFIG, or run where "
        "`kubectl get nodes` works"
    )


def test_an_empty_kubeconfig_is_no_cluster(tmp_path: Path) -> None:
    path = write(tmp_path / "c", "")
    assert f"{path} is empty" in refused(kind=errors.Unreachable, KUBECONFIG=path)


def test_the_named_kubeconfig_must_exist() -> None:
    assert refused("/no/such", kind=errors.UsageError).startswith("--kubeconfig /no/such is not a file; ")


def test_no_current_context(tmp_path: Path) -> None:
    body = config("a")
    del body["current-context"]
    path = write(tmp_path / "c", body)
    assert refused(path, kind=errors.Unreachable) == (
        f"{path} sets no current-context; choose a context with --context (a), or run `kubectl config use-context`"
    )


def test_an_unknown_context(tmp_path: Path) -> None:
    path = write(tmp_path / "c", config("a"))
    assert refused(path, "b", kind=errors.UsageError) == f"{path} has no context b; choose one with --context (a)"


def test_as_group_needs_as() -> None:
    with pytest.raises(errors.UsageError, match="--as-group needs --as"):
        connect.settings(impersonate_groups=("g",), environ={})


def test_bad_yaml_names_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c", "a: 1\nb: [\n")
    assert refused(path, kind=errors.Malformed).startswith(f"{path}, line 3 is no YAML: ")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"\xff\xfe\x00")
    assert "is not text in UTF-8" in refused(str(tmp_path / "c"), kind=errors.Malformed)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be read: Is a directory" in refused(kind=errors.UsageError, KUBECONFIG=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("- a\n", "a kubeconfig must be one mapping of settings"),
        ({"clusters": {}}, "clusters must be a list"),
        ({"contexts": ["x"]}, "contexts[0] must be a mapping"),
        ({"contexts": [{"context": {}}]}, "contexts[0] has no name"),
        ({"contexts": [{"name": "a", "context": {"user": "a"}}]}, "contexts[0].context.cluster must name a cluster"),
        ({"current-context": 7}, "current-context must be a string but is an integer"),
        ({"clusters": []}, "names the cluster a, which no entry under clusters describes"),
        ({"users": None}, "names the user a, which no entry under users describes"),
        ({"clusters": [{"name": "a", "cluster": {}}]}, "clusters[0].cluster.server must be the address of the API"),
        ({"clusters": [{"name": "a", "cluster": "x"}]}, "clusters[0].cluster must be a mapping but is a string"),
    ],
)
def test_malformed_structure(tmp_path: Path, change: object, sentence: str) -> None:
    path = write(tmp_path / "c", {**config("a"), **change} if isinstance(change, dict) else change)
    said = refused(path, kind=errors.Malformed)
    assert said.startswith(path)
    assert sentence in said


@pytest.mark.parametrize(
    ("user", "sentence"),
    [
        ({"token": 12345}, "users[0].user.token must be a string but is an integer; correct it there"),
        ({"client-certificate-data": "é"}, "users[0].user.client-certificate-data is not base64 of a PEM text"),
        ({"client-certificate": "x"}, "has half of a client certificate: client-key or client-key-data is missing"),
        ({"client-key": "x"}, "client-certificate or client-certificate-data is missing"),
        ({"auth-provider": {"name": "gcp"}}, "uses the auth-provider gcp, which Kubernetes 1.26 removed"),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}, "exec.command must name the program"),
        (
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1alpha1", "command": "aws"}},
            "v1alpha1, but kubemtu speaks client.authentication.k8s.io/v1 and client.authentication.k8s.io/v1beta1: up",
        ),
        (
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "a", "interactiveMode": "Maybe"}},
            "interactiveMode must be Never, IfAvailable or Always",
        ),
        (
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "a", "args": "x"}},
            "exec.args must be a list of strings",
        ),
        (
            {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "a", "env": [{"value": "x"}]}},
            "exec.env[0] must have a name and a value",
        ),
    ],
)
def test_malformed_users(tmp_path: Path, user: dict[str, object], sentence: str) -> None:
    path = write(tmp_path / "c", config("a", **user))
    said = refused(path, kind=errors.Malformed)
    assert said.startswith(path)
    assert sentence in said


@pytest.mark.parametrize(
    ("server", "environ", "proxy"),
    [
        ("https://k8s.corp:6443", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://k8s.corp:6443", {"https_proxy": "p:1"}, "http://p:1"),
        ("https://k8s.corp:6443", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://k8s.corp", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("https://10.1.2.3:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://11.1.2.3:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "10.0.0.0/8, fd00::/8"}, "http://p:1"),
        ("https://[fd00::5]:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "fd00::/8"}, None),
        ("https://k8s.corp:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "corp"}, None),
        ("https://corp:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "corp"}, None),
        ("https://corp:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": ".corp"}, "http://p:1"),
        ("https://k8s.corp:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "*.corp"}, None),
        ("https://notcorp:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "corp"}, "http://p:1"),
        ("https://k8s.corp:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "k8s.corp:443"}, "http://p:1"),
        ("https://k8s.corp:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "k8s.corp:6443"}, None),
        ("https://k8s.corp:6443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "*"}, None),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "p:1"}, None),
        ("https://localhost:6443", {"HTTPS_PROXY": "p:1"}, None),
    ],
)
def test_proxies_of_the_environment(server: str, environ: dict[str, str], proxy: str | None) -> None:
    assert connect.environment_proxy(server, environ) == proxy


def test_a_server_with_a_bad_port(tmp_path: Path) -> None:
    body = config("a")
    body["clusters"] = [{"name": "a", "cluster": {"server": "https://a:port"}}]
    path = write(tmp_path / "c", body)
    assert "has no valid host and port" in refused(path, kind=errors.Malformed, HTTPS_PROXY="p:1")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arbitrary uid in a container has no HOME and no entry in passwd."""

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(errors.Unreachable, match="there is no kubeconfig"):
        connect.settings(environ={}, account=Path("/nowhere"))
