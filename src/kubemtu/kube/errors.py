"""What can go wrong between us and an API server, as types; each is one sentence.

    core.errors.KubemtuError
    ├── UsageError               2
    ├── Unreachable              3
    │   ├── NoCluster                nothing says which cluster is meant
    │   ├── ServerFailing            it answers 429 or 5xx: it is there, but not now
    │   ├── TlsFailure               no trust between the two ends
    │   ├── TlsSilent                TCP is connected, and TLS is not answered
    │   ├── NotAnApi                 something answers, but it is no API server: a proxy, a login page
    │   ├── TooLarge                 an answer is larger than any of the API, or has no end
    │   ├── NotUpgraded              something on the way does not let a WebSocket through
    │   └── CommandCutOff            a command in a pod did not come to its end, or printed too much
    ├── Forbidden                4   RBAC says no (403)
    │   ├── PolicyDenied             an admission policy says no (403)
    │   └── Unauthenticated          it does not know who we are (401), or no credentials could be had
    ├── Malformed                5
    │   ├── Unusable                 no request can be made of the server's address, the proxy or the credentials
    │   └── Rejected                 the server refuses the object that we sent (400, 413, 415, 422)
    └── Conflict                 7   (409)
        ├── AlreadyThere             created by somebody else meanwhile
        ├── Absent                   the object, or its kind, is not there (404)
        ├── DrivenElsewhere          another kubemtu carries this migration out
        └── Expired                  a resourceVersion or a page token is too old (410); `api` starts over

The original exception is chained. What a server says is printed only when it is a `kind: Status` or short text, on one
line, and never longer than MESSAGE_LIMIT: an unbounded page of HTML helps nobody.
"""

import re

import msgspec

from kubemtu import access
from kubemtu.core import errors
from kubemtu.core.text import json_values
from kubemtu.kube.connection import Connection

MESSAGE_LIMIT = 300  # characters
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
BEGIN_SECONDS = 90.0  # until an answer begins, however slowly; measuring a TLS that hangs takes its time
TOTAL_SECONDS = 60.0  # for the body of an answer, however it trickles in; a watch has no such limit

# What RBAC says of itself adds nothing to the action that was tried; what it says beyond that does.
# The words of etcd and of its client, which a server hands on as a fault of its own, and those of the server itself.
_TOO_LARGE = re.compile(r"etcdserver: request is too large|larger than max|Request entity too large")
# Of a namespace and of a CustomResourceDefinition that go: no right is lacking.
_ENDING = re.compile(r"because it is being terminated|while custom resource definition is terminating")
_RBAC = re.compile(
    r'User "[^"]*" cannot \w+ (?:resource|path) "[^"]*"(?: in API group "[^"]*")?'
    r'(?: at the cluster scope| in the namespace "[^"]*")?(?P<more>.*)',
    re.DOTALL,
)


class NoCluster(errors.Unreachable):
    """Nothing says which cluster is meant."""


class ServerFailing(errors.Unreachable):
    """The server answers 429 or 5xx."""


class TlsFailure(errors.Unreachable):
    """The two ends do not trust each other."""


class TlsSilent(errors.Unreachable):
    """The TCP connection was accepted, and TLS was not answered on it."""


class NotAnApi(errors.Unreachable):
    """Something answers that is no Kubernetes API server."""


class TooLarge(errors.Unreachable):
    """An answer is larger than any of the API, or has no end."""


class NotUpgraded(errors.Unreachable):
    """Something on the way to the server does not let a WebSocket through."""


class CommandCutOff(errors.Unreachable):
    """A command in a pod did not come to its end in time, printed too much, or its connection ended before it."""


class Unusable(errors.Malformed):
    """No request can be made of the server's address, the proxy or the credentials."""


class Unauthenticated(errors.Forbidden):
    """The server does not know who we are."""


class PolicyDenied(errors.Forbidden):
    """A policy of the cluster refuses what RBAC allows."""


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
        """Return the kubectl command that asks the server for this very right."""
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
    """Return the text on one line, no longer than MESSAGE_LIMIT characters."""
    line = " ".join(text.split())
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


def from_answer(
    code: int, body: bytes | bytearray, content_type: str, action: Action, connection: Connection
) -> errors.KubemtuError:
    """Return the error that an answer with HTTP status `code` (>= 300) stands for, ready to be raised."""
    status = _status(body)
    if status is None:
        return _from_text(code, body, content_type, action, connection)
    return from_status(status, action, connection, code=code)


def from_status(
    status: dict[str, object], action: Action, connection: Connection, *, code: int | None = None
) -> errors.KubemtuError:
    """Return the error that a `kind: Status` object stands for, ready to be raised."""
    text = capped(str(status.get("message") or status.get("reason") or "no message"))
    found = status.get("code")
    code = code if code is not None else found if isinstance(found, int) else 500
    server = connection.server
    if code == 500 and _TOO_LARGE.search(text):
        code = 413  # etcd's word comes as a fault of the server's own, but no waiting makes anything smaller
    match code:
        case 401:
            return _unauthenticated(text, connection)
        case 403:
            return _forbidden(text, action, connection)
        case 404:
            return Absent(f"{server} has no {action.place}: {text}; check the name, or create it first")
        case 409 if status.get("reason") == "AlreadyExists":
            return AlreadyThere(f"could not {action}, it is already there: {text}; run the same command again")
        case 409:
            return errors.Conflict(
                f"could not {action}, somebody else changed it at the same moment: {text}; run the same command again"
            )
        case 410:
            return Expired(f"{server} no longer keeps the version of {action.place} that was asked for: {text}")
        case 400 | 405 | 406 | 413 | 415 | 422:
            return _rejected(text, action, server)
        case _:
            return ServerFailing(
                f"{server} could not {action}, it answered {code}: {text}; wait until it is healthy, then try again"
            )


def not_json(action: Action, connection: Connection, content_type: str, body: bytes | bytearray) -> NotAnApi:
    """Return the error for an answer of 200 that is not a JSON object."""
    return NotAnApi(
        f"{connection.server} answered the request to {action} with {_looks(content_type, body)} instead of an object "
        f"of the Kubernetes API; a proxy or a login page may stand in between: check the server of {connection.who}"
    )


def too_large(action: Action, connection: Connection, what: str) -> TooLarge:
    """Return the error for an answer that goes on beyond what is taken."""
    return TooLarge(
        f"{connection.server} answered the request to {action} with {what}, which no API server does; check what "
        f"stands at the server of {connection.who}"
    )


def endless(action: Action, connection: Connection, objects: int) -> NotAnApi:
    """Return the error for a collection whose pages go on and on."""
    return NotAnApi(
        f"{connection.server} goes on and on with pages of what was asked for ({action}), {objects} objects so far, "
        f"which no API server does; check what stands at the server of {connection.who}"
    )


def not_upgraded(action: Action, connection: Connection, code: int) -> NotUpgraded:
    """Return the error for an answer that is none to the request for a WebSocket."""
    between = f"the proxy {connection.proxy}" if connection.proxy_url else "a proxy or load balancer in front of it"
    return NotUpgraded(
        f"{connection.server} answered {code} to the request to {action} and did not change to the WebSocket that was "
        f"asked for: {between} takes the headers Connection and Upgrade off; let it pass them on, or name the API "
        f"server itself in the kubeconfig of {connection.who}"
    )


def perhaps(action: Action) -> str:
    """Say, for a request that may have changed something before its answer got lost, that it may be repeated."""
    return "it is not known whether the change was made, and running it again is safe: " if action.writes else ""


def trickling(action: Action, connection: Connection, what: str) -> errors.Unreachable:
    """Return the error for an answer that comes too slowly to be one."""
    return errors.Unreachable(
        f"{connection.server} ({connection.who}) took the request to {action} and {what}; {perhaps(action)}check the "
        "load on the API server and what stands in between, then try again"
    )


def unusable(connection: Connection, why: Exception) -> Unusable:
    """Return the error for an address of which no request can be made."""
    proxy = f" or the proxy {connection.proxy}" if connection.proxy_url else ""
    return Unusable(
        f"{connection.origin}: {connection.server}{proxy} is no address to connect to ({capped(str(why))}); correct "
        "server, tls-server-name or proxy-url there"
    )


def speaks_socks(proxy: str) -> errors.UsageError:
    """Return the error for a proxy that takes a package which is not installed; `proxy` as a sentence may name it."""
    return errors.UsageError(
        f"the proxy {proxy} speaks SOCKS, for which kubemtu needs the package socksio; install it, or use an HTTP proxy"
    )


def no_root(connection: Connection, where: str, message: str) -> NotAnApi:
    """Return the error for a server that does not have what every API server has."""
    return NotAnApi(
        f"{connection.server} has no {where}, which every API server has ({message}); {_no_api(connection)}"
    )


def no_discovery(connection: Connection, where: str, kind: str) -> NotAnApi | errors.Malformed:
    """Return the error for a server that answers a question for what it serves with something else.

    Of one group others may answer, behind the server (APIService): that is no word about the server itself.
    """
    said = (
        f"{connection.server} answered the request to get {where} with an object that is no {kind}, which every API "
        "server has there; "
    )
    if where.startswith("/apis/"):
        return errors.Malformed(f"{said}whoever serves that group, or what stands in between, is to be looked at")
    return NotAnApi(f"{said}{_no_api(connection)}")


def _no_api(connection: Connection) -> str:
    return (
        "it is none, or its address lacks a path, as /k8s/clusters/... of Rancher: check the server of "
        f"{connection.who}"
    )


def _status(body: bytes | bytearray) -> dict[str, object] | None:
    try:
        found = json_values.decode(body)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) and found.get("kind") == "Status" else None


def _from_text(
    code: int, body: bytes | bytearray, content_type: str, action: Action, connection: Connection
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


def _rejected(message: str, action: Action, server: str) -> Rejected:
    large = _TOO_LARGE.search(message)
    why = f"the object is larger than its etcd takes, which is 1.5 MiB unless somebody has set more ({message})"
    return Rejected(f"{server} refused to {action}: {why if large else message}; nothing was changed")


def _unauthenticated(message: str, connection: Connection) -> Unauthenticated:
    return Unauthenticated(
        f"{connection.server} does not accept the credentials of {connection.who}: {message}; log in again, then retry"
    )


def _forbidden(message: str, action: Action, connection: Connection) -> errors.Forbidden | errors.Conflict:
    if _ENDING.search(message):
        return errors.Conflict(
            f"could not {action}, for what it belongs to is being deleted: {message}; wait until that is gone, then "
            "run the same command again"
        )
    if "denied the request" in message or "violates PodSecurity" in message or "ValidatingAdmissionPolicy" in message:
        return PolicyDenied(
            f"a policy of the cluster refused to {action}: {message}; ask whoever owns that policy for an exception"
        )
    named = re.search(r'User "([^"]*)"', message)
    user = named[1] if named else connection.user or "this user"
    known = _RBAC.search(message)
    more = (known["more"] if known else message).strip(" :")
    plural = f"{action.plural}/{action.subresource}" if action.subresource else action.plural
    ask = access.ask_for(action.api_version.rpartition("/")[0], plural, action.verb, action.name)
    return errors.Forbidden(
        f"{user} may not {action} on {connection.server}{f': {more}' if more else ''}; {ask}, and check it with "
        f"`{action.can_i(connection)}`"
    )


def _looks(content_type: str, body: bytes | bytearray) -> str:
    head = body[:200].lstrip().lower()
    if "html" in content_type or head.startswith((b"<!doctype", b"<html")):
        return "a web page"
    start = capped(body[:60].decode("utf-8", "replace"))
    return f"{content_type.partition(';')[0] or 'text'} ({start})" if body else "nothing"
