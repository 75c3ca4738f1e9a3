"""Whom we trust and what we show: the TLS settings of a connection."""

import contextlib
import ssl
import tempfile
from pathlib import Path

from kubemtu import files
from kubemtu.kube.connection import Connection
from kubemtu.kube.credentials import Credential
from kubemtu.kube.errors import TlsFailure


def _why(error: Exception) -> str:
    """Return what is wrong as a person reads it: without number and name of the file, which is named already."""
    return str(error.strerror) if isinstance(error, OSError) and error.errno else str(error)


def context(connection: Connection, credential: Credential) -> ssl.SSLContext:
    """Return the TLS settings of a connection. Raises TlsFailure when a certificate or key cannot be used."""
    try:
        context = ssl.create_default_context(cadata=_authorities(connection))
    except (OSError, ssl.SSLError, ValueError) as error:
        named = connection.ca_file or "certificate-authority-data"
        raise TlsFailure(
            f"{connection.origin}: {named} holds no usable certificate ({_why(error)}); correct it"
        ) from error
    # Python 3.13 began to demand what many cluster CAs lack (an authority key identifier); Go does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if connection.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = credential.certificate or connection.certificate
    key = credential.key or connection.key
    with contextlib.ExitStack() as folder:
        try:
            shown = _as_file(certificate, connection.certificate_file, folder)
            secret = _as_file(key, connection.key_file, folder)
            if shown:
                # A password callback, because OpenSSL would otherwise ask the terminal for an encrypted key's.
                context.load_cert_chain(shown, secret, password="")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise TlsFailure(
                f"the client certificate of {connection.who} cannot be used ({_why(error)}); log in again, then retry"
            ) from error
    return context


def _authorities(connection: Connection) -> str | None:
    """Return the certificates to trust, as PEM; None for this machine's own. Raises OSError, ValueError for none."""
    held = connection.ca
    if connection.ca_file is not None:
        # Between the certificates of a bundle may stand what it likes, in any encoding.
        held = files.read(connection.ca_file).decode("ascii", "ignore")
    if held is not None and not held.strip():
        raise ValueError("it is empty")
    return held


def _as_file(text: str | None, named: str | None, stack: contextlib.ExitStack) -> str | None:
    """Put PEM text into a private file that lives as long as `stack`: OpenSSL's loader takes nothing else.

    A file that is named is copied, so that a pipe or a device of that name is a sentence and no hang. Raises OSError.
    """
    if text is None and named is None:
        return None
    held = files.read(named or "") if text is None else text.encode("ascii")
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kubemtu-"))) / "pem"
    path.touch(mode=0o600)
    path.write_bytes(held)
    return str(path)
