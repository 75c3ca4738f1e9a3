"""The HTTP API of a Prometheus, or of what speaks as one: one query at an instant, within bounds, and each failure as a
sentence. It is reached by its own address, or through the API server as `kubectl proxy` does (services/proxy).

Source: prometheus.io/docs/prometheus/latest/querying/api (instant queries, format overview).
"""

import asyncio
import math
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import httpx2
import msgspec

import kubemtu
from kubemtu import files
from kubemtu.core import errors
from kubemtu.core.text import printable
from kubemtu.kube import api as kube_api
from kubemtu.kube import connect
from kubemtu.kube.connection import Connection
from kubemtu.kube.errors import speaks_socks

CONNECT_SECONDS = 5.0
SECONDS = 30.0  # for one query, from its first byte to its last
ANSWER_MOST = 64 << 20  # bytes; 200,000 series of an interface's labels have 30 MB
MESSAGE_MOST = 300  # characters of what the server says
TOKEN: Final = "KUBEMTU_PROMETHEUS_TOKEN"  # noqa: S105 - the name of the variable
SERVICE: Final = re.compile(r"([a-z0-9-]+)/((?:https?:)?[a-z0-9-]+(?::[a-z0-9-]+)?)(/[\w./-]*)?")
"""NAMESPACE/SERVICE[:PORT][/PATH], with https: before a service that speaks TLS, as in addresses of services/proxy."""
_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")
_PAGES: Final = re.compile(r"/(?:graph|query|targets|alerts|api/v1(?:/.*)?)?/*$")


class Series(msgspec.Struct, frozen=True, gc=False):
    """One series at an instant: its labels, and its value as text."""

    metric: dict[str, str]
    value: tuple[float, str]

    @property
    def number(self) -> float | None:
        """The value; None for what is no number, or has no end."""
        try:
            number = float(self.value[1])
        except ValueError:
            return None
        return number if math.isfinite(number) else None


class _Vector(msgspec.Struct, rename="camel"):
    result_type: str = ""
    result: msgspec.Raw = msgspec.Raw(b"[]")


class _QueryAnswer(msgspec.Struct, rename="camel"):
    status: str = ""
    data: _Vector | None = None
    error: str = ""


class Prometheus(Protocol):
    """Something that answers queries; `where` names it in a sentence, without credentials."""

    @property
    def where(self) -> str:
        """Its address."""
        ...

    async def query(self, query: str) -> list[Series]:
        """Return the series that a query has now. Raises Unreachable, Forbidden, Malformed."""
        ...


class PrometheusAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a Prometheus is, by which proxy it is reached, and who we are there. Its printed form has no credential."""

    url: str
    proxy: str | None = None
    ca: Path | None = None
    token: str = ""
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"PrometheusAddress({self.url!r})"


def target(
    address: str, environ: Mapping[str, str], *, ca: Path | None = None, token_file: Path | None = None
) -> PrometheusAddress:
    """Return where an address leads, with the credentials of it, of a file or of the environment.

    The address of a page of its own site is taken for the site's. Proxies are the environment's, as for an API server.
    Raises UsageError for what no request can be made of, Malformed for a proxy that is none.
    """
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:  # whose text may be a part of the password
        raise errors.UsageError("--prometheus: this is no address; give one like https://host:9090") from error
    if parts.scheme not in {"http", "https"} or not host or not _SENDABLE.fullmatch(address):
        raise errors.UsageError(
            "--prometheus takes an address like https://host:9090/path, or NAMESPACE/SERVICE:PORT, which is asked "
            "through the API server"
        )
    named = f"[{host}]" if ":" in host else host
    url = urlunsplit((parts.scheme, f"{named}:{port}" if port else named, _PAGES.sub("", parts.path), "", ""))
    token = environ.get(TOKEN, "").strip()
    if token_file is not None:
        try:
            token = files.read(token_file, pipes=5.0).decode("ascii", "replace").strip()
        except OSError as error:
            raise errors.UsageError(
                f"--prometheus-token-file: {token_file} cannot be read: {error.strerror or error}; name another file"
            ) from error
    if token and not _SENDABLE.fullmatch(token):
        source = f"the file {token_file}" if token_file is not None else TOKEN
        raise errors.UsageError(f"the token in {source} holds a character that no header can: write it there anew")
    way = connect.checked(
        Connection(server=url, origin="--prometheus", proxy_url=connect.environment_proxy(url, environ))
    )
    return PrometheusAddress(
        url=url,
        proxy=way.proxy_url,
        ca=ca,
        token=token,
        user=parts.username or "",
        password=parts.password or "",
    )


class Direct:
    """A Prometheus at its own address."""

    def __init__(self, target: PrometheusAddress) -> None:
        self._target = target
        self._trust: ssl.SSLContext | None = None

    @property
    def where(self) -> str:
        """Its address, without credentials."""
        return self._target.url

    async def query(self, query: str) -> list[Series]:
        """Return the series that a query has now. Raises Unreachable, Forbidden, Malformed, each a sentence."""
        one = self._target
        headers = {"User-Agent": f"kubemtu/{kubemtu.__version__}", "Accept": "application/json"}
        if one.token:
            headers["Authorization"] = f"Bearer {one.token}"
        auth = httpx2.BasicAuth(one.user, one.password) if one.user and not one.token else None
        limits, trust = httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS), self._context()
        try:
            async with (
                asyncio.timeout(SECONDS),
                httpx2.AsyncClient(
                    verify=trust, headers=headers, auth=auth, timeout=limits, proxy=one.proxy, trust_env=False
                ) as client,
                client.stream("POST", f"{one.url}/api/v1/query", data={"query": query}) as response,
            ):
                body = bytearray()
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_MOST:
                        raise errors.Unreachable(
                            f"Prometheus at {self.where} answered more than {ANSWER_MOST >> 20} MiB: narrow it by "
                            "--prometheus-match"
                        )
                return self._series(response.status_code, response.headers.get("Location", ""), body)
        except ImportError as error:
            raise speaks_socks(Connection(server=one.url, origin="", proxy_url=one.proxy).proxy) from error
        except (httpx2.TimeoutException, TimeoutError) as error:
            raise errors.Unreachable(
                f"Prometheus at {self.where} did not answer within {SECONDS:g} s; try again, or narrow it by "
                "--prometheus-match"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
            advice = "correct --prometheus, or open a way there (kubectl port-forward)"
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                advice = "give the certificates to trust by --prometheus-ca"
            said = _short(str(error) or type(error).__name__)
            raise errors.Unreachable(f"Prometheus at {self.where} cannot be reached ({said}); {advice}") from error

    def _context(self) -> ssl.SSLContext:
        """Return whom to trust: this machine's authorities, or those of a file. Raises Malformed for none in it."""
        if self._trust is None:
            if self._target.url.startswith("http:"):
                self._trust = httpx2.create_ssl_context(verify=False)  # nothing is read for what speaks no TLS
            elif self._target.ca is None:
                self._trust = ssl.create_default_context()
            else:
                try:
                    held = files.read(self._target.ca, pipes=5.0).decode("ascii", "ignore")
                    if not held.strip():
                        raise ValueError("it is empty")  # noqa: TRY301 - which OpenSSL takes for "all that are known"
                    self._trust = ssl.create_default_context(cadata=held)
                except (OSError, ssl.SSLError, ValueError) as error:
                    raise errors.Malformed(
                        f"--prometheus-ca: {self._target.ca} holds no usable certificate ({error}); correct it"
                    ) from error
                self._trust.verify_flags &= ~ssl.VERIFY_X509_STRICT  # many authorities of clusters lack what it asks
        return self._trust

    def _series(self, status: int, location: str, body: bytearray) -> list[Series]:
        if status in {401, 403}:
            raise errors.Forbidden(
                f"Prometheus at {self.where} does not let us in ({status}); give a token in the variable {TOKEN} or in "
                "--prometheus-token-file, or a user and a password in its address"
            )
        if 300 <= status < 400:
            raise errors.Unreachable(
                f"Prometheus at {self.where} leads elsewhere ({status}, {_short(location)}): a login, or another path; "
                "give the address of its API"
            )
        return decoded(body, self.where, status)


class ByService:
    """A Prometheus behind a Service, asked through the API server: `NAMESPACE/[https:]SERVICE[:PORT][/PATH]`."""

    def __init__(self, api: kube_api.Api, address: str) -> None:
        found = SERVICE.fullmatch(address)
        if found is None:
            raise errors.UsageError(f"--prometheus: {address!r:.80} is no NAMESPACE/SERVICE:PORT; correct it")
        self._api, self._namespace, self._name, self._path = api, found[1], found[2], (found[3] or "").rstrip("/")

    @property
    def where(self) -> str:
        """Its Service."""
        return f"Service {self._namespace}/{self._name}"

    async def query(self, query: str) -> list[Series]:
        """Return the series that a query has now. Raises what kube.errors draws, and Malformed."""
        body = await self._api.proxied(
            self._namespace, self._name, f"{self._path}/api/v1/query", {"query": query}, seconds=SECONDS
        )
        return decoded(body, self.where)


def decoded(body: bytes | bytearray, where: str, status: int = 200) -> list[Series]:
    """Return the series of an answer. Raises Malformed, with what the server says where it says something."""
    try:
        answer = _ANSWERS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = _QueryAnswer()
    if answer.status == "error" or (answer.status and answer.data is None):
        raise errors.Malformed(f"Prometheus at {where} refuses the query ({_short(answer.error)}); correct it there")
    if answer.data is None:
        what = (
            "has no /api/v1/query: does its path need a prefix?" if status == 404 else "answers what no Prometheus does"
        )
        raise errors.Malformed(f"What is at {where} {what} ({status}); correct --prometheus")
    if answer.data.result_type != "vector":
        raise errors.Malformed(
            f"Prometheus at {where} answers no vector ({_short(answer.data.result_type)}); try again"
        )
    try:
        return _RESULTS.decode(answer.data.result)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise errors.Malformed(
            f"Prometheus at {where} answers series that cannot be read ({error}); try again"
        ) from error


def _short(text: str) -> str:
    return printable.one_line(text[:MESSAGE_MOST])


_ANSWERS: Final = msgspec.json.Decoder(_QueryAnswer)
_RESULTS: Final = msgspec.json.Decoder(list[Series])
