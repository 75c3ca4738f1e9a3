"""What can go wrong between us and an API server, as types; each is one sentence.

    core.errors.KubemtuError
    ├── UsageError               2
    │   └── NoCluster                nothing says which cluster is meant
    ├── Unreachable              3
    │   ├── ServerFailing            it answers 429 or 5xx: it is there, but not now
    │   ├── TlsFailure               no trust between the two ends
    │   └── NotAnApi                 something answers, but it is no API server: a proxy, a login page
    ├── Forbidden                4   RBAC or admission says no (403)
    │   └── Unauthenticated          it does not know who we are (401), or no credentials could be had
    ├── Malformed                5
    │   └── Rejected                 the server refuses the object that we sent (400, 413, 415, 422)
    └── Conflict                 7   (409)
        ├── AlreadyThere             created by somebody else meanwhile
        ├── Absent                   the object, or its kind, is not there (404)
        ├── DrivenElsewhere          another kubemtu carries this migration out
        └── Expired                  a resourceVersion or a page token is too old (410); `api` starts over

The original exception is chained. What a server says is printed only when it is a `kind: Status` or short text, on one
line, and never longer than MESSAGE_LIMIT: an unbounded page of HTML helps nobody.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Iterator

import httpx2
import msgspec

from kubemtu.core import errors
from kubemtu.kube.connection import Connection

MESSAGE_LIMIT = 300  # characters
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
_BROKEN_OFF = (  # a connection that ended in the midst of TLS: nobody has distrusted anybody, and it may be tried again
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ssl.SSLSyscallError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)


class NoCluster(errors.UsageError):
    """Nothing says which cluster is meant."""


class ServerFailing(errors.Unreachable):
    """The server answers 429 or 5xx."""


class TlsFailure(errors.Unreachable):
    """The two ends do not trust each other."""


class NotAnApi(errors.Unreachable):
    """Something answers that is no Kubernetes API server."""


class Unauthenticated(errors.Forbidden):
    """The server does not know who we are."""


class Rejected(errors.Malformed):
    """The server refuses the object that we sent."""


class AlreadyThere(errors.Conflict):
    """An object that we wanted to create exists."""


class Absent(errors.Conflict):
    """The object, or the kind of it, is not there."""


class DrivenElsewhere(errors.Conflict):
    """Another kubemtu carries the same migration out."""


class Expired(errors.Conflict):
    """A resourceVersion or a page token is too old."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What we tried: a verb of RBAC and the resource it was about."""

    verb: str  # get, list, watch, create, update, patch, delete
    plural: str
    api_version: str = "v1"
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None

    @property
    def resource(self) -> str:
        """The resource as kubectl names it: `daemonsets.apps`."""
        group = self.api_version.rpartition("/")[0]
        return f"{self.plural}.{group}" if group else self.plural

    @property
    def place(self) -> str:
        """The resource, its name and its namespace, as a sentence names them."""
        name = f" {self.name}" if self.name else ""
        part = f" ({self.subresource})" if self.subresource else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.resource}{name}{part}{where}"

    @property
    def writes(self) -> bool:
        """True when a lost answer leaves open whether something changed."""
        return self.verb in {"create", "update", "patch", "delete"}

    def can_i(self, connection: Connection) -> str:
        """The kubectl command that asks the server for this very right."""
        words = ["kubectl auth can-i", self.verb, f"{self.resource}/{self.name}" if self.name else self.resource]
        if self.subresource:
            words.append(f"--subresource={self.subresource}")
        words.append(f"-n {self.namespace}" if self.namespace else "")
        if connection.context:
            words.append(f"--context {connection.context}")
        if connection.impersonation:
            words.append(f"--as {connection.impersonation.user}")
        return " ".join(word for word in words if word)

    def __str__(self) -> str:
        return f"{self.verb} {self.place}"


def capped(text: str) -> str:
    """The text on one line, no longer than MESSAGE_LIMIT characters."""
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


def from_answer(
    code: int, body: bytes, content_type: str, action: Action, connection: Connection
) -> errors.KubemtuError:
    """The error that an answer with HTTP status `code` (>= 300) stands for, ready to be raised."""
    status = _status(body)
    if status is None:
        return _from_text(code, body, content_type, action, connection)
    return from_status(status, action, connection, code=code)


def from_status(
    status: dict[str, object], action: Action, connection: Connection, *, code: int | None = None
) -> errors.KubemtuError:
    """The error that a `kind: Status` object stands for, ready to be raised."""
    said = capped(str(status.get("message") or status.get("reason") or "no message"))
    found = status.get("code")
    code = code if code is not None else found if isinstance(found, int) else 500
    server = connection.server
    match code:
        case 401:
            return _unauthenticated(said, connection)
        case 403:
            return _forbidden(said, action, connection)
        case 404:
            return Absent(f"{server} has no {action.place}: {said}; check the name, or create it first")
        case 409 if status.get("reason") == "AlreadyExists":
            return AlreadyThere(f"could not {action}, it is already there: {said}; run the same command again")
        case 409:
            return errors.Conflict(
                f"could not {action}, somebody else changed it at the same moment: {said}; run the same command again"
            )
        case 410:
            return Expired(f"{server} no longer keeps the version of {action.place} that was asked for: {said}")
        case 400 | 405 | 406 | 413 | 415 | 422:
            return Rejected(f"{server} refused to {action}: {said}; nothing was changed")
        case _:
            return ServerFailing(
                f"{server} could not {action}, it answered {code}: {said}; wait until it is healthy, then try again"
            )


def from_transport(error: Exception, action: Action, connection: Connection) -> errors.Unreachable:
    """The error that a failure below HTTP stands for, ready to be raised from `error`."""
    server = f"{connection.server} ({connection.who})"
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, _BROKEN_OFF):
            return errors.Unreachable(
                f"the connection to {server} broke off while kubemtu tried to {action} (in the midst of TLS); "
                f"{_then(action)}try again, and if it stays so, check whether a proxy stands in between"
            )
        if isinstance(cause, ssl.SSLError):
            return _tls(cause, server, connection)
    if isinstance(error, httpx2.ConnectTimeout):
        return errors.Unreachable(
            f"{server} did not accept a connection within {CONNECT_SECONDS:g} s; check the address, the VPN and "
            "the firewalls on the way"
        )
    if isinstance(error, httpx2.TimeoutException):
        return errors.Unreachable(
            f"{server} took the request to {action} but did not answer within {READ_SECONDS:g} s; "
            f"{_then(action)}check the load on the API server, then try again"
        )
    if isinstance(error, httpx2.ProxyError):
        return errors.Unreachable(
            f"the proxy {connection.proxy} refused the connection to {server}: {capped(str(error))}; check "
            "proxy-url in the kubeconfig, HTTPS_PROXY and NO_PROXY"
        )
    if isinstance(error, httpx2.ConnectError):
        return _no_connection(causes, server, connection)
    said = capped(str(error)) or type(error).__name__
    return errors.Unreachable(
        f"the connection to {server} broke while kubemtu tried to {action} ({said}); {_then(action)}try again"
    )


def not_json(action: Action, connection: Connection, content_type: str, body: bytes) -> NotAnApi:
    """The error for an answer of 200 that is not a JSON object."""
    return NotAnApi(
        f"{connection.server} answered the request to {action} with {_looks(content_type, body)} instead of an object "
        f"of the Kubernetes API; a proxy or a login page may stand in between: check the server of {connection.who}"
    )


def _status(body: bytes) -> dict[str, object] | None:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) and found.get("kind") == "Status" else None


def _from_text(
    code: int, body: bytes, content_type: str, action: Action, connection: Connection
) -> errors.KubemtuError:
    text = body.decode("utf-8", "replace").strip()
    if code == 400 and "HTTP request to an HTTPS server" in text:
        return TlsFailure(
            f"{connection.server} expects https; write https:// in the server of {connection.who} and try again"
        )
    if code == 404 and (not text or text.startswith("404 page not found")):
        return Absent(f"{connection.server} does not serve {action.resource} of {action.api_version}; install it first")
    if code == 401:
        return _unauthenticated(capped(text) if "<" not in text else "no reason given", connection)
    if code == 429 or code >= 500:
        said = capped(text) if text and "<" not in text else "no reason given"
        return ServerFailing(
            f"{connection.server} could not {action}, it answered {code}: {said}; wait until it is healthy, "
            "then try again"
        )
    return NotAnApi(
        f"{connection.server} answered {code} with {_looks(content_type, body)} to the request to {action}; a proxy "
        f"or a login page may stand in between: check the server of {connection.who}"
    )


def _unauthenticated(said: str, connection: Connection) -> Unauthenticated:
    return Unauthenticated(
        f"{connection.server} does not accept the credentials of {connection.who}: {said}; log in again, then retry"
    )


def _forbidden(said: str, action: Action, connection: Connection) -> errors.Forbidden:
    if "denied the request" in said or "violates PodSecurity" in said or "ValidatingAdmissionPolicy" in said:
        return errors.Forbidden(
            f"a policy of the cluster refused to {action}: {said}; ask whoever owns that policy for an exception"
        )
    named = re.search(r'User "([^"]*)"', said)
    user = named[1] if named else connection.user or "this user"
    return errors.Forbidden(
        f"{user} may not {action} on {connection.server}: {said}; ask for that right, and check it with "
        f"`{action.can_i(connection)}`"
    )


def _tls(cause: ssl.SSLError, server: str, connection: Connection) -> TlsFailure:
    said = capped(getattr(cause, "verify_message", "") or cause.reason or str(cause))
    if isinstance(cause, ssl.SSLCertVerificationError):
        name = f" (tls-server-name {connection.tls_server_name})" if connection.tls_server_name else ""
        return TlsFailure(
            f"the certificate of {server} cannot be trusted{name}: {said}; check certificate-authority and the name of "
            "the server in the kubeconfig, and this machine's clock"
        )
    if "WRONG_VERSION_NUMBER" in str(cause):
        return TlsFailure(f"{server} does not speak TLS on that port; check scheme and port of the server")
    return TlsFailure(
        f"the TLS handshake with {server} failed: {said}; check the client certificate and whether a proxy stands in "
        "between"
    )


def _no_connection(causes: list[BaseException], server: str, connection: Connection) -> errors.Unreachable:
    via = f" by the proxy {connection.proxy}" if connection.proxy_url else ""
    for cause in causes:
        if isinstance(cause, ConnectionRefusedError):
            return errors.Unreachable(
                f"nothing listens at {server}{via}, the connection was refused; check host and port, and whether the "
                "cluster runs"
            )
        if isinstance(cause, socket.gaierror):
            return errors.Unreachable(
                f"the host name of {server}{via} cannot be resolved: {cause.strerror}; check the name, DNS and the VPN"
            )
    said = next((capped(str(cause)) for cause in reversed(causes) if str(cause)), "no reason given")
    return errors.Unreachable(f"no connection to {server}{via}: {said}; check the address, the VPN and the firewalls")


def _then(action: Action) -> str:
    return "it is not known whether the change was made, and running it again is safe: " if action.writes else ""


def _looks(content_type: str, body: bytes) -> str:
    head = body[:200].lstrip().lower()
    if "html" in content_type or head.startswith((b"<!doctype", b"<html")):
        return "a web page"
    start = capped(body[:60].decode("utf-8", "replace"))
    return f"{content_type.partition(';')[0] or 'text'} ({start})" if body else "nothing"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it, outermost first, groups opened."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        here = waiting.pop(0)
        if here is None or id(here) in seen or isinstance(here, asyncio.CancelledError):
            continue
        seen.add(id(here))
        yield here
        if isinstance(here, BaseExceptionGroup):
            waiting.extend(here.exceptions)
        waiting.extend((here.__cause__, here.__context__))
