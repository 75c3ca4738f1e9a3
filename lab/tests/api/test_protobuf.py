"""Protobuf bodies, byte by byte after the encoding's own documentation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemtu_lab.api import protobuf
from kubemtu_lab.api.errors import Refusal


def field(number: int, body: bytes) -> bytes:
    """One field of the wire type 2, LEN; all numbers and sizes here are below 128, one byte each."""
    assert len(body) < 128
    return bytes([number << 3 | 2, len(body)]) + body


def envelope(kind: bytes, raw: bytes) -> bytes:
    return b"k8s\x00" + field(1, field(1, b"v1") + field(2, kind)) + field(2, raw)


def test_a_config_map() -> None:
    labels = field(11, field(1, b"app") + field(2, b"canal"))
    metadata = field(1, field(1, b"x") + field(2, b"") + field(3, b"lab") + labels)
    data = field(2, field(1, b"veth_mtu") + field(2, b"1450")) + field(2, field(1, b"canal_iface") + field(2, b""))
    binary = field(3, field(1, b"b") + field(2, b"\x00\xff"))
    assert protobuf.decode(envelope(b"ConfigMap", metadata + data + binary)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": "lab", "labels": {"app": "canal"}},
        "data": {"veth_mtu": "1450", "canal_iface": ""},
        "binaryData": {"b": "AP8="},
    }


def test_numbers_are_varints_and_unknown_fields_are_passed_over() -> None:
    # 150 is 0x96 0x01 in the documentation's example; field 9 is unknown here in each of its wire types.
    unknown = b"\x48\x96\x01" + b"\x49" + bytes(8) + b"\x4d" + bytes(4) + field(9, b"?")
    options = unknown + b"\x08\x96\x01" + field(2, field(1, b"u-1")) + field(5, b"All")
    assert protobuf.decode(envelope(b"DeleteOptions", options)) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 150,
        "preconditions": {"uid": "u-1"},
        "dryRun": ["All"],
    }


def test_negative_numbers_take_ten_bytes() -> None:
    minus_two = b"\x08\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    assert protobuf.decode(envelope(b"DeleteOptions", minus_two))["gracePeriodSeconds"] == -2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        envelope(b"Deployment", b""),
        envelope(b"ConfigMap", b"\x0a\x05abc"),
        envelope(b"ConfigMap", b"\x0b"),
        envelope(b"ConfigMap", b"\x08\x01"),
        envelope(b"ConfigMap", b"\x0a\xff"),
        b"k8s\x00\x0a",
    ],
)
def test_what_is_malformed_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        protobuf.decode(body)
    assert refused.value.code == 400


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([b"ConfigMap", b"Role", b"DeleteOptions", b"Secret"]), st.binary(max_size=60))
def test_whatever_the_bytes_the_answer_is_an_object_or_a_refusal(kind: bytes, raw: bytes) -> None:
    try:
        found = protobuf.decode(envelope(kind, raw))
    except Refusal:
        return
    assert found["kind"] == kind.decode()
