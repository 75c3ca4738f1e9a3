"""Where the connection comes from: --kubeconfig, KUBECONFIG, ~/.kube/config, or the pod we run in, in that order.

The only file of the project that looks for credentials. Reading is here, understanding is in `kubeconfig`.
"""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import yaml

from kubemtu.core import errors
from kubemtu.kube import kubeconfig as kubeconfigs
from kubemtu.kube.connection import Connection, Impersonation
from kubemtu.kube.errors import NoCluster

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_Loader: type[yaml.CSafeLoader] | type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
        found = kubeconfigs.select(loaded, context, impersonation=acting)
    else:
        found = _pod(account, environ, context, [str(path) for path in files])
        found = msgspec.structs.replace(found, impersonation=acting)
    if found.proxy_url is None:
        found = msgspec.structs.replace(found, proxy_url=environment_proxy(found.server, environ))
    return found


def _files(kubeconfig: str | None, environ: Mapping[str, str], home: Path | None) -> list[Path]:
    if kubeconfig is not None:
        named = Path(kubeconfig).expanduser()
        if not named.is_file():
            raise errors.UsageError(f"--kubeconfig {kubeconfig} is not a file; name the kubeconfig of the cluster")
        return [named]
    listed = [Path(entry).expanduser() for entry in environ.get("KUBECONFIG", "").split(os.pathsep) if entry]
    if not listed:
        try:
            listed = [(home or Path.home()) / ".kube" / "config"]
        except RuntimeError:  # no HOME and no entry in passwd: an arbitrary uid in a container
            listed = []
    return [path for path in listed if path.exists()]


def _load(path: Path) -> object:
    try:
        return yaml.load(path.read_text("utf-8"), Loader=_Loader)  # noqa: S506 - both are safe loaders
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    except UnicodeDecodeError as error:
        raise errors.Malformed(f"{path} is not text in UTF-8; restore the kubeconfig") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        said = getattr(error, "problem", None) or "not YAML"
        raise errors.Malformed(f"{path}{line} is not valid YAML ({said}); correct the kubeconfig") from error


def _pod(account: Path, environ: Mapping[str, str], context: str | None, empty: list[str]) -> Connection:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (account / "token").is_file() or context:
        looked = f"{', '.join(empty)} is empty" if empty else "there is no kubeconfig"
        asked = f" for the context {context}" if context else ""
        raise NoCluster(
            f"no cluster to talk to{asked}: {looked}; name one with --kubeconfig or KUBECONFIG, or run where "
            "`kubectl get nodes` works"
        )
    namespace = account / "namespace"
    if ":" in host:
        host = f"[{host}]"
    return Connection(
        server=f"https://{host}:{port}",
        origin=f"the service account of this pod, {account}",
        ca_file=str(account / "ca.crt"),
        token_file=str(account / "token"),
        namespace=namespace.read_text("utf-8").strip() if namespace.is_file() else "default",
    )


def environment_proxy(server: str, environ: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for `server`, or None, decided as Go's net/http does.

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
    try:
        found = urlsplit(server).port
    except ValueError as error:
        raise errors.Malformed(f"the server {server} has no valid port; correct it in the kubeconfig") from error
    return found or (443 if server.startswith("https") else 80)


def _exempt(host: str, port: int, environ: Mapping[str, str]) -> bool:
    address = _address(host)
    if address is not None and address.is_loopback:
        return True
    for raw in (environ.get("NO_PROXY") or environ.get("no_proxy") or "").split(","):
        entry = raw.strip().lower()
        if entry == "*":
            return True
        name, colon, number = entry.rpartition(":")
        if colon and number.isdigit() and _address(entry) is None:
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
