"""Where the connection comes from: --kubeconfig, KUBECONFIG, ~/.kube/config, or the pod we run in, in that order.

The only file of the project that looks for credentials. Reading is here, understanding is in `kubeconfig`.
"""

import ipaddress
import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from kubemtu import files
from kubemtu.core import errors
from kubemtu.core.text import documents
from kubemtu.kube import kubeconfig as kubeconfigs
from kubemtu.kube.connection import Connection, Impersonation
from kubemtu.kube.errors import NoCluster, Unusable

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
VALUES_MOST = 100_000  # of a kubeconfig, aliases expanded: thousands of clusters
_USERINFO = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)([^/?#]*)@([^@]*)", re.DOTALL)
_SECRET = re.compile(r"://.*@", re.DOTALL)
_BEHIND = re.compile(r"[?#].*", re.DOTALL)
_UNFIT = re.compile(r"[\x00-\x20\x7f\\]")
PIPE_SECONDS = 10.0  # in which whoever writes into `--kubeconfig <(...)` must say something


def settings(
    kubeconfig: str | None = None,
    context: str | None = None,
    *,
    impersonate: str | None = None,
    impersonate_groups: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
    home: Path | None = None,
    account: Path = ACCOUNT,
) -> Connection:
    """Find out which API server is meant and who we are there.

    `kubeconfig` is one file that must exist (--kubeconfig); without it KUBECONFIG is a list of files of which missing
    ones are skipped, then ~/.kube/config, and only where none of these is there the service account of the pod
    (`account`). Raises UsageError when nothing is found, Malformed when a file is not a kubeconfig.
    """
    environ = os.environ if environ is None else environ
    if impersonate_groups and not impersonate:
        raise errors.UsageError("--as-group needs --as: name the user to act as")
    acting = Impersonation(user=impersonate, groups=impersonate_groups) if impersonate else None
    files = _files(kubeconfig, environ, home)
    loaded = [(str(path), decoded) for path in files if (decoded := _load(path)) is not None]
    if loaded:
        connection = kubeconfigs.select(loaded, context, impersonation=acting)
    else:
        connection = _pod(account, environ, context, [str(path) for path in files])
        connection = msgspec.structs.replace(connection, impersonation=acting)
    connection = checked(connection)
    if connection.proxy_url is None:
        connection = checked(
            msgspec.structs.replace(connection, proxy_url=environment_proxy(connection.server, environ))
        )
    return connection


def checked(connection: Connection) -> Connection:
    """Return the connection, user and password taken out of the server's address: sentences name that.

    A query and a fragment go too, which no request has (kubernetes/client-go, rest/client.go: NewRESTClient).
    Raises Unusable when server, proxy or tls-server-name is none: a wrong one must not pass for an empty cluster.
    """
    whole = _USERINFO.fullmatch(connection.server)
    if whole is not None:
        user, _, password = whole[2].partition(":")
        connection = msgspec.structs.replace(
            connection,
            server=f"{whole[1]}{whole[3]}",
            username=connection.username or unquote(user) or None,
            password=connection.password or unquote(password) or None,
        )
    connection = msgspec.structs.replace(connection, server=_BEHIND.sub("", connection.server).rstrip("/"))
    shown = _SECRET.sub("://", connection.server)
    _address_of(connection.server, f"{connection.origin}: the server {shown}", ("https", "http"))
    if connection.proxy_url is not None:
        where = f"{connection.origin}, or the environment: the proxy {connection.proxy}"
        _address_of(connection.proxy_url, where, ("http", "https", "socks5", "socks5h"))
    if connection.tls_server_name is not None and _UNFIT.search(connection.tls_server_name):
        raise Unusable(
            f"{connection.origin}: tls-server-name {connection.tls_server_name!r:.80} is no host name; correct it"
        )
    return connection


def _address_of(url: str, what: str, schemes: tuple[str, ...]) -> None:
    try:
        parts = urlsplit(url)
        fit = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and not _UNFIT.search(url)
    except ValueError as error:
        raise Unusable(f"{what} has no valid host and port; correct it") from error
    if not fit:
        raise Unusable(f"{what} is no address: write it as {schemes[0]}://host:port")


def _files(kubeconfig: str | None, environ: Mapping[str, str], home: Path | None) -> list[Path]:
    if kubeconfig is not None:
        named = _expanded(kubeconfig)
        if not _there(named) or named.is_dir():
            raise errors.UsageError(f"--kubeconfig {kubeconfig} is not a file; name the kubeconfig of the cluster")
        return [named]
    listed = [_expanded(entry) for entry in environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    if not listed:
        try:
            listed = [(home or Path.home()) / ".kube" / "config"]
        except RuntimeError:  # no HOME and no entry in passwd: an arbitrary uid in a container
            listed = []
    return [path for path in listed if _there(path)]


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~somebody who has no home here: a name as any other
        return Path(name)


def _there(path: Path) -> bool:
    """Say whether something of that name is there; what may not be looked at is, and reading it says why not."""
    try:
        return path.exists()
    except PermissionError:
        return True
    except (OSError, ValueError):  # a name too long, or with a NUL
        return False


def _load(path: Path) -> object:
    try:
        text = files.read(path, pipes=PIPE_SECONDS).decode("utf-8-sig")
    except files.TooLong as error:
        raise errors.Malformed(f"{path} {error}; name a kubeconfig") from error
    except files.Unlike as error:
        raise errors.UsageError(f"{path} {error}; name a kubeconfig") from error
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    except UnicodeDecodeError as error:
        raise errors.Malformed(f"{path} is not text in UTF-8; restore the kubeconfig") from error
    found = list(itertools.islice(documents.split(text), 2))
    if len(found) > 1:
        raise errors.Malformed(f"{path}, line {found[1][0]} begins a second document; a kubeconfig has one")
    for line, document in found:
        try:
            return documents.read(document, most=VALUES_MOST)
        except documents.Broken as why:
            raise errors.Malformed(f"{path}, line {line + why.line} {why}; correct the kubeconfig") from why
    return None


def _pod(account: Path, environ: Mapping[str, str], context: str | None, empty: list[str]) -> Connection:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (account / "token").is_file() or context:
        looked = f"{', '.join(empty)} is empty" if empty else "there is no kubeconfig"
        asked = f" for the context {context}" if context else ""
        raise NoCluster(
            f"no cluster to talk to{asked}: {looked}; name one with --kubeconfig or KUBECONFIG, or run where "
            "`kubectl get nodes` works"
        )
    if ":" in host:
        host = f"[{host}]"
    return Connection(
        server=f"https://{host}:{port}",
        origin=f"the service account of this pod, {account}",
        ca_file=str(account / "ca.crt"),
        token_file=str(account / "token"),
        namespace=_namespace(account / "namespace"),
    )


def _namespace(path: Path) -> str:
    try:
        return files.text(path).strip() or "default"
    except (OSError, UnicodeDecodeError):
        return "default"


def environment_proxy(server: str, environ: Mapping[str, str]) -> str | None:
    """Return the proxy that the environment names for `server`, or None, decided as Go's net/http does.

    NO_PROXY may hold host names, domain suffixes, addresses and CIDRs, each with an optional port; loopback is never
    proxied (golang.org/x/net/http/httpproxy, config.useProxy).
    """
    parts = urlsplit(server)
    variable = "HTTPS_PROXY" if parts.scheme == "https" else "HTTP_PROXY"
    proxy = environ.get(variable) or environ.get(variable.lower())
    host = (parts.hostname or "").rstrip(".")
    if not proxy or host == "localhost" or _exempt(host, _port(server), environ):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _port(server: str) -> int:
    return urlsplit(server).port or (443 if server.startswith("https") else 80)


def _exempt(host: str, port: int, environ: Mapping[str, str]) -> bool:
    address = _address(host)
    if address is not None and address.is_loopback:
        return True
    for raw in (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(","):
        entry = raw.strip().lower()
        if entry == "*":
            return True
        name, colon, number = entry.rpartition(":")
        if colon and number.isascii() and number.isdigit() and len(number) <= 5 and _address(entry) is None:
            if int(number) != port:
                continue
            entry = name
        if entry and _matches(entry.strip("[]"), host, address):
            return True
    return False


def _matches(entry: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except (ValueError, TypeError):
            return False
    domain = entry.removeprefix("*")
    return host == domain or host.endswith(domain if domain.startswith(".") else f".{domain}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
