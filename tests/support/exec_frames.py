"""What an API server sends on a WebSocket of pods/exec, as bytes (RFC 6455; kubernetes/apimachinery, remotecommand)."""

import base64
import hashlib
import json
import struct

SUCCESS = {"metadata": {}, "status": "Success"}


def frame(payload: bytes, opcode: int = 2, *, fin: bool = True) -> bytes:
    """Return one unmasked frame of a server (RFC 6455, section 5.2)."""
    first = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        return first + bytes([len(payload)]) + payload
    if len(payload) < 1 << 16:
        return first + bytes([126]) + struct.pack(">H", len(payload)) + payload
    return first + bytes([127]) + struct.pack(">Q", len(payload)) + payload


def status(body: object) -> bytes:
    return frame(b"\x03" + json.dumps(body).encode())


def failed(code: int) -> dict[str, object]:
    """Return what client-go's remotecommand gets for an exit code."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def upgraded(key: str, protocol: str = "v5.channel.k8s.io") -> bytes:
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    ).encode()
