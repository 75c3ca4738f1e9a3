"""MTUs of links and nothing else: `grep . /sys/class/net/*/mtu`, and what node_exporter tells of a node as text.

node_exporter reads the same files (collector/netclass_linux.go: node_network_mtu_bytes).
"""

import re
from collections.abc import Iterable

from kubemtu.core.printed import values
from kubemtu.core.printed.values import Output, PrintedLink, Remarks
from kubemtu.core.text import digits

METRIC = re.compile(
    r'^node_network_mtu_bytes\{[^}\n]{0,400}?device="([^"\n]{1,60})"[^}\n]{0,400}\} (\S+)', re.MULTILINE
)
METRICS = re.compile(r"^# HELP node_", re.MULTILINE)
"""What stands in an output of node_exporter, in its first lines mostly."""
SYSFS = re.compile(r"/sys/class/net/+([^\s/:]{1,60})/mtu:\s*(\S+)")
WHOLE = re.compile(
    r"([0-9]{1,10})(?:\.0+)?|([1-9])(?:\.([0-9]{1,9}))?e\+0?([0-9])"
)  # Go writes 1e+06 from a million on


def are_metrics(text: str, most: int) -> bool:
    """Say whether a text is what node_exporter serves, by its first `most` characters."""
    return bool(METRICS.search(text, 0, most) or METRIC.search(text, 0, most))


def of_metrics(text: str) -> Output:
    """Read the metrics of one node; other metrics are passed over."""
    remarks = Remarks()
    return values.output(_links(((found[1], found[2]) for found in METRIC.finditer(text)), remarks), remarks=remarks)


def of_files(lines: Iterable[tuple[int, str]], remarks: Remarks) -> list[PrintedLink]:
    """Read lines (number, text) of `grep . /sys/class/net/*/mtu`; other files of a device are passed over."""
    return _links(((found[1], found[2]) for _, line in lines if (found := SYSFS.match(line)) is not None), remarks)


def _links(told: Iterable[tuple[str, str]], remarks: Remarks) -> list[PrintedLink]:
    links: list[PrintedLink] = []
    for name, text in told:
        mtu = values.mtu(_number(text))
        if mtu is None or not values.is_name(name):
            remarks.add(f"{values.quoted(name)} has the MTU {values.quoted(text)}, as no link can have")
        elif len(links) < values.LINKS_MOST:
            links.append(PrintedLink(index=0, name=name, mtu=mtu, ends=False))
    return links


def _number(text: str) -> int | None:
    found = WHOLE.fullmatch(text)
    if found is None:
        return None
    if found[1] is not None:
        return digits.number(found[1])
    fraction = found[3] or ""
    zeros = int(found[4]) - len(fraction)
    return int(f"{found[2]}{fraction}") * 10**zeros if zeros >= 0 else None
