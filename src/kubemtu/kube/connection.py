"""How one API server is reached and who we are there: a value, worked out from kubeconfig files or from the pod.

Nothing here reads a file or opens a socket. Secrets are fields like all others, so the printed form leaves them out.
"""

from typing import Literal
from urllib.parse import quote, urlsplit

import msgspec

_NAME_SIGNS = "!#$&'*+-.^_`|~"  # RFC 9110, section 5.6.2, beside letters and digits; % is what escapes
Interactive = Literal["Never", "IfAvailable", "Always"]


class ExecPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A command that prints credentials (client.authentication.k8s.io ExecCredential, v1beta1 and v1)."""

    api_version: str
    command: str
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    interactive: Interactive = "IfAvailable"
    provide_cluster: bool = False
    config: object = None  # the cluster's extension client.authentication.k8s.io/exec, handed through
    install_hint: str | None = None


class Impersonation(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to act as: `kubectl --as`, `--as-group`, `--as-uid`."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str | None = None
    extra: tuple[tuple[str, str], ...] = ()

    def headers(self) -> list[tuple[str, str]]:
        """Return the Impersonate-* headers, one per value."""
        fields = [("Impersonate-User", self.user)]
        fields += [("Impersonate-Group", group) for group in self.groups]
        if self.uid:
            fields.append(("Impersonate-Uid", self.uid))
        # client-go (transport/round_trippers.go, headerKeyEscape): a key may hold what a header's name cannot
        fields += [
            (f"Impersonate-Extra-{quote(key, safe=_NAME_SIGNS, errors='replace')}", value) for key, value in self.extra
        ]
        return fields


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that must be known to talk to one API server.

    `certificate`, `key` and `ca` are PEM text; each has a twin that names a file instead, read when the connection is
    opened. `origin` names where all this was found, for sentences.
    """

    server: str
    origin: str
    context: str = ""
    user: str = ""
    namespace: str = "default"
    ca: str | None = None
    ca_file: str | None = None
    insecure: bool = False
    tls_server_name: str | None = None
    proxy_url: str | None = None
    certificate: str | None = None
    certificate_file: str | None = None
    key: str | None = None
    key_file: str | None = None
    token: str | None = None
    token_file: str | None = None
    username: str | None = None
    password: str | None = None
    plugin: ExecPlugin | None = None
    impersonation: Impersonation | None = None

    @property
    def who(self) -> str:
        """User, context and file, as a sentence names them."""
        if not self.context:
            return f"{self.user} ({self.origin})" if self.user else self.origin
        user = f"user {self.user} of " if self.user else ""
        acting = f", acting as {self.impersonation.user}" if self.impersonation else ""
        return f"{user}context {self.context} in {self.origin}{acting}"

    @property
    def proxy(self) -> str:
        """The proxy as a sentence may name it, without its password."""
        whole = self.proxy_url or ""
        scheme, mark, rest = whole.rpartition("://")
        return f"{scheme}{mark}{rest.rpartition('@')[2]}"

    @property
    def host(self) -> str:
        """The host of the server's address, empty when it has none."""
        return urlsplit(self.server).hostname or ""

    @property
    def plain(self) -> bool:
        """True when the server speaks http, without TLS."""
        return urlsplit(self.server).scheme == "http"

    def __repr__(self) -> str:
        return f"Connection({self.server!r}, {self.who!r})"
