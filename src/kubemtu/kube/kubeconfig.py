"""Kubeconfig files to a Connection, as kubectl understands them: a pure function from decoded YAML.

Merging follows client-go (tools/clientcmd/loader.go, ClientConfigLoadingRules): of several files the first that names
an entry gives the whole entry, and the first that sets current-context gives that. File names inside a file are
relative to that file.
"""

import base64
from collections.abc import Sequence
from pathlib import PurePath
from typing import get_args

import msgspec

from kubemtu.core import errors
from kubemtu.core.objects import Object, dotted
from kubemtu.kube.connection import Connection, ExecPlugin, Impersonation, Interactive
from kubemtu.kube.errors import NoCluster

EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
EXEC_EXTENSION = "client.authentication.k8s.io/exec"


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One named entry of one file, read by path so that a wrong type names file and path."""

    document: Object
    base: tuple[str | int, ...]

    def text(self, *path: str | int) -> str | None:
        return self.document.text(*self.base, *path) or None

    def flag(self, *path: str | int) -> bool:
        return bool(self.document.flag(*self.base, *path))

    def texts(self, *path: str | int) -> tuple[str, ...]:
        found = self.document.get(*self.base, *path)
        if found is None:
            return ()
        if not isinstance(found, list):
            raise self.malformed("must be a list of strings", *path)
        return tuple(self.text(*path, index) or "" for index in range(len(found)))

    def file(self, *path: str) -> str | None:
        """Return a file name, relative ones resolved from the folder of the kubeconfig."""
        found = self.text(*path)
        return str(PurePath(self.document.origin).parent / found) if found else None

    def pem(self, *path: str) -> str | None:
        """Decode the Base64 of PEM text."""
        found = self.text(*path)
        if found is None:
            return None
        try:
            return base64.b64decode(found, validate=False).decode("ascii")
        except ValueError as error:  # binascii.Error and UnicodeDecodeError too
            raise self.malformed("is not base64 of a PEM text", *path) from error

    def malformed(self, what: str, *path: str | int) -> errors.Malformed:
        return errors.Malformed(f"{self.document.origin}: {dotted((*self.base, *path))} {what}; correct it there")


def select(
    files: Sequence[tuple[str, object]], context: str | None = None, *, impersonation: Impersonation | None = None
) -> Connection:
    """Work out the connection of one context of the merged kubeconfig `files` (name, decoded YAML), first file first.

    `context` None means current-context. Raises UsageError when the context is not there or none is current, Malformed
    when a file is not what a kubeconfig must be; the sentence names file and path.
    """
    documents = [_document(name, decoded) for name, decoded in files if decoded is not None]
    origin = ":".join(name for name, _ in files)
    wanted = context or next((found for document in documents if (found := document.text("current-context"))), None)
    if wanted is None:
        raise NoCluster(
            f"{origin or 'the kubeconfig'} sets no current-context; choose a context with --context"
            f"{_choices(documents)}, or run `kubectl config use-context`"
        )
    chosen = _find(documents, "contexts", "context", wanted)
    if chosen is None:
        kind = errors.UsageError if context else NoCluster
        raise kind(f"{origin} has no context {wanted}; choose one with --context{_choices(documents)}")
    here = chosen.document.origin
    cluster_name, user_name = chosen.text("cluster"), chosen.text("user")
    if cluster_name is None:
        raise chosen.malformed("must name a cluster", "cluster")
    cluster = _find(documents, "clusters", "cluster", cluster_name)
    if cluster is None:
        raise chosen.malformed(f"names the cluster {cluster_name}, which no entry under clusters describes", "cluster")
    user = _find(documents, "users", "user", user_name) if user_name else None
    if user_name and user is None:
        raise chosen.malformed(f"names the user {user_name}, which no entry under users describes", "user")
    facts = _cluster(cluster, entry=bool(user and user.text("client-certificate-data")))
    if user is not None:
        facts |= _user(user, cluster)
        impersonation = impersonation or _impersonation(user)
    return msgspec.convert(
        facts
        | {
            "origin": here,
            "context": wanted,
            "user": user_name or "",
            "namespace": chosen.text("namespace") or "default",
            "impersonation": impersonation,
        },
        Connection,
    )


def _document(name: str, decoded: object) -> Object:
    if not isinstance(decoded, dict):
        raise errors.Malformed(f"{name}: a kubeconfig must be one mapping of settings; correct the file")
    # Without `kind`, the typed reads name the file and the path, which is what its author looks for.
    return Object.of({key: value for key, value in decoded.items() if key != "kind"}, origin=name)


def _choices(documents: Sequence[Object]) -> str:
    names = [name for document in documents for name, _ in _names(document, "contexts")]
    return f" ({', '.join(dict.fromkeys(names))})" if names else ""


def _names(document: Object, section: str) -> list[tuple[str, int]]:
    found = document.get(section)
    if found is None:
        return []
    if not isinstance(found, list):
        raise errors.Malformed(f"{document.origin}: {section} must be a list; correct it there")
    names: list[tuple[str, int]] = []
    for index in range(len(found)):
        if not isinstance(found[index], dict):
            raise errors.Malformed(f"{document.origin}: {section}[{index}] must be a mapping; correct it there")
        name = document.text(section, index, "name")
        if not name:
            raise errors.Malformed(f"{document.origin}: {section}[{index}] has no name; give it one")
        names.append((name, index))
    return names


def _find(documents: Sequence[Object], section: str, key: str, name: str) -> _Entry | None:
    for document in documents:
        for found, index in _names(document, section):
            if found == name:
                document.mapping(section, index, key)
                return _Entry(document=document, base=(section, index, key))
    return None


def _cluster(cluster: _Entry, *, entry: bool) -> dict[str, object]:
    server = cluster.text("server")
    if server is None:
        raise cluster.malformed("must be the address of the API server", "server")
    ca, ca_file = cluster.pem("certificate-authority-data"), cluster.file("certificate-authority")
    insecure = cluster.flag("insecure-skip-tls-verify")
    if "://" not in server:
        # client-go (rest/url_utils.go, DefaultServerURL): https only if something about TLS is configured
        server = f"{'https' if ca or ca_file or insecure or entry else 'http'}://{server}"
    return {
        "server": server.rstrip("/"),
        "ca": ca,
        "ca_file": None if ca else ca_file,
        "insecure": insecure,
        "tls_server_name": cluster.text("tls-server-name"),
        "proxy_url": cluster.text("proxy-url"),
    }


def _user(user: _Entry, cluster: _Entry) -> dict[str, object]:
    provider = user.text("auth-provider", "name")
    if provider and not user.text("exec", "command"):
        raise user.malformed(
            f"uses the auth-provider {provider}, which Kubernetes 1.26 removed: replace it by an exec plugin "
            "(gke-gcloud-auth-plugin, kubelogin)"
        )
    certificate, key = user.pem("client-certificate-data"), user.pem("client-key-data")
    facts: dict[str, object] = {
        "certificate": certificate,
        "certificate_file": None if certificate else user.file("client-certificate"),
        "key": key,
        "key_file": None if key else user.file("client-key"),
        "token": user.text("token"),
        "token_file": user.file("tokenFile"),
        "username": user.text("username"),
        "password": user.text("password"),
        "plugin": _plugin(user, cluster) if user.document.get(*user.base, "exec") is not None else None,
    }
    has_certificate = facts["certificate"] or facts["certificate_file"]
    has_key = facts["key"] or facts["key_file"]
    if bool(has_certificate) != bool(has_key):
        missing = "client-key" if has_certificate else "client-certificate"
        raise user.malformed(f"has half of a client certificate: {missing} or {missing}-data is missing")
    return facts


def _plugin(user: _Entry, cluster: _Entry) -> ExecPlugin:
    command = user.text("exec", "command")
    version = user.text("exec", "apiVersion")
    if command is None:
        raise user.malformed("must name the program that prints credentials", "exec", "command")
    if version not in EXEC_VERSIONS:
        raise user.malformed(
            f"is {version}, but kubemtu speaks {' and '.join(EXEC_VERSIONS)}: update the plugin {command}",
            "exec",
            "apiVersion",
        )
    interactive = user.text("exec", "interactiveMode") or "IfAvailable"
    if interactive not in get_args(Interactive):
        raise user.malformed("must be Never, IfAvailable or Always", "exec", "interactiveMode")
    if "/" in command:
        command = str(PurePath(user.document.origin).parent / command)
    return msgspec.convert(
        {
            "api_version": version,
            "command": command,
            "arguments": user.texts("exec", "args"),
            "environment": _environment(user),
            "interactive": interactive,
            "provide_cluster": user.flag("exec", "provideClusterInfo"),
            "config": _extension(cluster),
            "install_hint": user.text("exec", "installHint"),
        },
        ExecPlugin,
    )


def _environment(user: _Entry) -> tuple[tuple[str, str], ...]:
    listed = user.document.get(*user.base, "exec", "env")
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise user.malformed("must be a list of name and value", "exec", "env")
    pairs = []
    for index in range(len(listed)):
        name, value = user.text("exec", "env", index, "name"), user.text("exec", "env", index, "value")
        if name is None:
            raise user.malformed("must have a name and a value", "exec", "env", index)
        pairs.append((name, value or ""))
    return tuple(pairs)


def _extension(cluster: _Entry) -> object:
    listed = cluster.document.get(*cluster.base, "extensions")
    for index in range(len(listed) if isinstance(listed, list) else 0):
        if cluster.text("extensions", index, "name") == EXEC_EXTENSION:
            return cluster.document.get(*cluster.base, "extensions", index, "extension")
    return None


def _impersonation(user: _Entry) -> Impersonation | None:
    name = user.text("as")
    if name is None:
        return None
    extra = user.document.mapping(*user.base, "as-user-extra")
    return Impersonation(
        user=name,
        groups=user.texts("as-groups"),
        uid=user.text("as-uid"),
        extra=tuple((key, value) for key in extra for value in user.texts("as-user-extra", key)),
    )
