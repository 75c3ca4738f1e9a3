"""What broke below HTTP, as one sentence that names the stage at which it broke."""

import socket
import ssl

import httpx2

from kubemtu.core import errors
from kubemtu.kube import narrowing, sockets, stalling, transport
from kubemtu.kube.connection import Connection
from kubemtu.kube.errors import CONNECT_SECONDS, READ_SECONDS, Action, TlsFailure, TlsSilent, capped, perhaps

_BROKEN_OFF = (  # a connection that ended in the midst of TLS: nobody has distrusted anybody, and it may be tried again
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ssl.SSLSyscallError,
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
)


def from_transport(error: Exception, action: Action, connection: Connection) -> errors.Unreachable:
    """Return the error that a failure below HTTP stands for, ready to be raised from `error`."""
    server = f"{connection.server} ({connection.who})"
    causes = list(sockets.causes(error))
    if isinstance(error, httpx2.TimeoutException):
        return _waited(error, sockets.stalled(error), action, connection)
    for cause in causes:
        if isinstance(cause, _BROKEN_OFF):
            return errors.Unreachable(
                f"the connection to {server} broke off while kubemtu tried to {action} (in the midst of TLS); "
                f"{perhaps(action)}try again, and if it stays so, check whether a proxy stands in between"
            )
        if isinstance(cause, ssl.SSLError):
            return _tls(cause, server, connection)
    if isinstance(error, httpx2.ProxyError):
        return errors.Unreachable(
            f"the proxy {connection.proxy} refused the connection to {server}: {capped(str(error))}; check "
            "proxy-url in the kubeconfig, HTTPS_PROXY and NO_PROXY"
        )
    if isinstance(error, httpx2.ConnectError):
        return _no_connection(causes, server, connection)
    said = capped(str(error)) or type(error).__name__
    return errors.Unreachable(
        f"the connection to {server} broke while kubemtu tried to {action} ({said}); {perhaps(action)}try again"
    )


def _waited(
    error: httpx2.TimeoutException, stall: sockets.Stalled | None, action: Action, connection: Connection
) -> errors.Unreachable:
    connecting = isinstance(error, httpx2.ConnectTimeout)
    if stall is None:
        stall = sockets.Stalled("connect" if connecting else "read", CONNECT_SECONDS if connecting else READ_SECONDS)
    server = f"{connection.server} ({connection.who})"
    first = f"the proxy {connection.proxy}" if connection.proxy_url else server
    within = f"within {stall.seconds:.0f} s"
    match stall.stage:
        case "resolve":
            return errors.Unreachable(
                f"the host name of {first} was not resolved {within}; check the name, DNS and the VPN"
            )
        case "connect":
            return errors.Unreachable(
                f"{first} did not accept a connection {within}; check the address, the VPN and the firewalls on the way"
            )
        case "tls" | "proxy tls":
            bracket = error.bracket if isinstance(error, transport.Hanging) else narrowing.Bracket()
            return _silent(stall, bracket, first if stall.stage == "proxy tls" else server, connection)
        case "tunnel":
            return errors.Unreachable(
                f"{first} accepted a connection but did not open the way to {server} {within}; check whether the proxy "
                "reaches it, and NO_PROXY"
            )
        case _:
            return _unanswered(stall, action, server)


def _silent(stall: sockets.Stalled, bracket: narrowing.Bracket, who: str, connection: Connection) -> TlsSilent:
    family = stall.shown.family if stall.shown else 4
    through = f" through the proxy {connection.proxy}" if connection.proxy_url and stall.stage == "tls" else ""
    begun = f"{who} accepted the TCP connection{through}, but TLS was not answered on it within {stall.seconds:.0f} s"
    if bracket.by_size and bracket.answered is not None and bracket.hung is not None:
        return TlsSilent(
            f"{begun}: it is in packets of at most {stalling.packet(bracket.answered, family)} bytes, and hangs in "
            f"packets of {stalling.packet(bracket.hung, family)}; something on the way drops large packets and does "
            "not say so, so its MTU is the likely cause: compare it with the MTU of the interfaces at both ends"
        )
    if bracket.hung is not None and bracket.answered is None:
        return TlsSilent(
            f"{begun}, and not in packets of {stalling.packet(sockets.SMALLEST, family)} bytes either, so this is no "
            "matter of packet size; check the load on the API server, and whether a proxy or a firewall accepts "
            "connections in its place"
        )
    return TlsSilent(
        f"{begun}; check the load on the API server, and whether a proxy or a firewall accepts connections in its "
        "place, then try again"
    )


def _unanswered(stall: sockets.Stalled, action: Action, server: str) -> errors.Unreachable:
    state, within = stall.shown, f"within {stall.seconds:.0f} s"
    if stall.by_size and state is not None:
        what = "the answer of" if stall.by_size == "inbound" else "the request to"
        size = stalling.packet(state.segment if stall.by_size == "inbound" else state.sends, state.family)
        return errors.Unreachable(
            f"{what} {server} stopped in the midst while kubemtu tried to {action}: a packet of up to {size} bytes did "
            f"not arrive {within}, and shorter ones after it did; something on the way may drop large packets, so its "
            f"MTU is the likely cause; {perhaps(action)}try again, which kubemtu does in smaller packets"
        )
    if stall.stage == "write" or (state is not None and state.unacked and state.retransmits):
        return errors.Unreachable(
            f"the request to {action} did not reach {server} {within}, on a connection that stood; {perhaps(action)}"
            "check the network on the way and the VPN, then try again"
        )
    return errors.Unreachable(
        f"{server} took the request to {action} but did not answer {within}; {perhaps(action)}check the load on the "
        "API server, then try again"
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
    first = f"the proxy {connection.proxy} of {server}" if connection.proxy_url else server
    for cause in causes:
        if isinstance(cause, ConnectionRefusedError):
            return errors.Unreachable(
                f"nothing listens at {first}, the connection was refused; check host and port, and whether the "
                f"{'proxy' if connection.proxy_url else 'cluster'} runs"
            )
        if isinstance(cause, socket.gaierror):
            return errors.Unreachable(
                f"the host name of {first} cannot be resolved: {cause.strerror}; check the name, DNS and the VPN"
            )
    said = next((capped(str(cause)) for cause in reversed(causes) if str(cause)), "no reason given")
    return errors.Unreachable(f"no connection to {first}: {said}; check the address, the VPN and the firewalls")
