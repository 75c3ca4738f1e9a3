"""What Kubernetes takes for a name, a label, or a key, and what it says of anything else.

Each function returns what is wrong, nothing where nothing is. Source: kubernetes/apimachinery
`pkg/util/validation/validation.go`, `pkg/api/validation/path/name.go`.
"""

import ipaddress
import re

_WORD = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_NAME_RULE = f"{_WORD} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME}')"
_VALUE_RULE = (
    f"a valid label must be an empty string or {_WORD.removeprefix('must ')} "
    f"(e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '({_NAME})?')"
)
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN}')"
)
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_KEY = "[-._a-zA-Z0-9]+"
_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' "
    f"(e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '{_KEY}')"
)
_ADDRESS_RULE = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_RULE = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def subdomain(text: str) -> list[str]:
    """Look at a DNS name of several labels (RFC 1123): what most objects are called."""
    long = [_longest(253)] if len(text) > 253 else []
    return long if re.fullmatch(_SUBDOMAIN, text) else [*long, _SUBDOMAIN_RULE]


def label(text: str) -> list[str]:
    """Look at one label of a DNS name (RFC 1123)."""
    long = [_longest(63)] if len(text) > 63 else []
    return long if re.fullmatch(_LABEL, text) else [*long, _LABEL_RULE]


def label_with_dots_told(text: str) -> list[str]:
    """Look at one label of a DNS name, as namespaces and Services say what is wrong with theirs."""
    return ["must not contain dots"] if "." in text and not subdomain(text) else label(text)


def path_segment(text: str) -> list[str]:
    """Look at what may stand in a path: what RBAC objects are called."""
    if text in (".", ".."):
        return [f"may not be '{text}'"]
    return [f"may not contain '{each}'" for each in "/%" if each in text]


def qualified(text: str) -> list[str]:
    """Look at the key of a label or an annotation: a name, with a DNS name before it or without."""
    prefix, slash, name = text.rpartition("/")
    if "/" in prefix:
        optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {_NAME_RULE} {optional}"]
    wrong = []
    if slash:
        wrong = [f"prefix part {each}" for each in subdomain(prefix)] if prefix else ["prefix part must be non-empty"]
    if not name:
        wrong.append("name part must be non-empty")
    elif len(name) > 63:
        wrong.append(f"name part {_longest(63)}")
    return wrong if re.fullmatch(_NAME, name) else [*wrong, f"name part {_NAME_RULE}"]


def label_value(text: str) -> list[str]:
    """Look at the value of a label."""
    long = [_longest(63)] if len(text) > 63 else []
    return long if re.fullmatch(f"({_NAME})?", text) else [*long, _VALUE_RULE]


def config_key(text: str) -> list[str]:
    """Look at a key of a ConfigMap or a Secret."""
    if not re.fullmatch(_KEY, text):
        return [_KEY_RULE]
    return [f"must not be '{text}'"] if text in (".", "..") else []


def address(text: str) -> list[str]:
    """Look at an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return [_ADDRESS_RULE]
    return []


def network(text: str) -> list[str]:
    """Look at an IP network."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return [_CIDR_RULE]
    return [] if "/" in text else [_CIDR_RULE]


def _longest(most: int) -> str:
    return f"must be no more than {most} bytes"
