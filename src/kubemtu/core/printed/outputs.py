"""Outputs of network tools in one text, as they are pasted: told apart line by line, each read by its own reader."""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from kubemtu.core.printed import addresses, ifconfig, ip_json, ip_routes, ip_text, mtus, sysfs, values
from kubemtu.core.printed.addresses import PrintedRoute
from kubemtu.core.printed.values import Address, Output, PrintedLink, Remarks

Kind = Literal["links", "ifconfig", "routes", "table", "json", "sysfs"]
LOOK_MOST = 400  # lines that are looked at for the first one that a tool prints
LINES_MOST = 200_000  # of one text; a node of 250 pods prints some thousands
SPACES_MOST = 5_000  # network namespaces of one node
LINE_MOST = 65_536  # characters of a line of text; JSON stands in one line
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
PROMPT = re.compile(r"\[?(?:[\w.-]++@([\w.-]++)[^#$%>]{0,200}+[#$%>] |[#$%+>] |[^\s#$]++[#$] )(.*)")
COMMAND = re.compile(
    r"(?:sudo |busybox )*+(?:\S*/)?(?:ip(?: -\S+)*+ [a-z]|ifconfig\b|route\b|netstat\b|hostname\b|nsenter\b)"
    r"|## |==|---|```"
)
BRIEF = re.compile(r"\S+\s+(?:UP|DOWN|UNKNOWN|LOWERLAYERDOWN|DORMANT|TESTING|NOTPRESENT)(?:\s|$)")
OF_NAMESPACE = re.compile(r"netns: (\S+)\s*$")  # ip/ipnetns.c prints it with -all, above what runs there
IN_NAMESPACE = re.compile(
    r"\bnetns exec (\S+) |\bip -n(?:etns)? (\S+) |\bnsenter (?!.*(?:-t|--target[ =]) ?1 )(.*-n.*)"
)
TALOS = re.compile(r"NODE\s+NAMESPACE\s+TYPE\s+ID\s+VERSION\b")
NO_TALOS_MTUS = "`talosctl get` shows no MTUs in a table: `talosctl get links -o yaml` does"
MANIFEST = re.compile(r"(?:apiVersion|kind):")
JSON = re.compile(r'"(?:ifindex|ifname|dst)"\s*:')
JSON_OBJECT = re.compile(r'"(?:apiVersion|kind)"\s*:')
NO_MTUS = "`ip -br` shows no MTUs: `ip -d link` does"


SIGN = re.compile(
    r"^\s*[0-9]{1,10}: .{1,80}<[A-Z_,-]*>.* mtu |^[0-9]{1,10}: \S+ +inet6? |\sLink encap:|^\S+: flags=[0-9]+<"
    r"|^Kernel IP(?:v6)? routing|^(?:default|[0-9a-fA-F.:]+(?:/[0-9]+)?) (?:\x1b\[[0-9;]*m)?(?:via|dev) "
    r"|^\S+ {2,}(?:UP|DOWN|UNKNOWN) {2,}|^NODE +NAMESPACE +TYPE +ID |^/sys/class/net/|^# HELP node_"
    r"|^node_network_mtu_bytes\{",
    re.MULTILINE,
)
"""What stands in an output of text, whatever its file is called; `recognise` says it for sure."""


def recognise(text: str) -> Literal["ip", "ip -j", ""]:
    """Say whether a text is an output of `ip`, `ifconfig` or `route` ("ip"), JSON of `ip -j`, or neither ("")."""
    if mtus.are_metrics(text, LINE_MOST):
        return "ip"
    for count, (_, line) in enumerate(_lines(text)):
        kind = _kind(line)
        if MANIFEST.match(line):
            return ""
        if kind == "json":
            begin = text[: 2 * LINE_MOST]
            return "ip -j" if JSON.search(begin) and not JSON_OBJECT.search(begin) else ""
        if kind == "routes" and not ip_routes.BEGINS.match(line):
            continue
        if kind is not None:
            return "ip"
        if BRIEF.match(line) or TALOS.match(line):
            return "ip"
        if count > LOOK_MOST:
            break
    return ""


class _Space(msgspec.Struct):
    """What was printed in one network namespace."""

    links: list[PrintedLink] = msgspec.field(default_factory=list)
    addresses: list[Address] = msgspec.field(default_factory=list)
    routes: list[PrintedRoute] = msgspec.field(default_factory=list)
    others: list[Output] = msgspec.field(default_factory=list)

    def output(self, remarks: Remarks) -> Output:
        """Return it as an output."""
        led = addresses.routes(self.routes, remarks)
        first = values.output(
            self.links, routes=led.main, vpn_routes=led.vpn, addresses=self.addresses, remarks=remarks
        )
        return values.together([first, *self.others]) if self.others else first


def parse(text: str) -> Output:
    """Read all outputs in a text: JSON and text, of links, addresses and routes, one after another.

    What was printed in a namespace by `ip -all netns exec` or `ip netns exec NAME` is that namespace's. What was not
    understood is in the remarks, with its line. Nothing is raised.
    """
    if mtus.are_metrics(text, LINE_MOST):
        return mtus.of_metrics(text)
    remarks = Remarks()
    spaces = {"": _Space()}
    for space, kind, lines in _parts(text, remarks):
        if len(spaces) > SPACES_MOST:
            remarks.add(f"more than {SPACES_MOST:,} namespaces: the rest was left out", lines[0][0])
            break
        into = spaces.setdefault(space, _Space())
        match kind:
            case "links" | "ifconfig":
                read = ip_text.links if kind == "links" else ifconfig.links
                more, held = read(lines, remarks)
                into.links += more
                into.addresses += held
            case "routes":
                into.routes += ip_routes.routes(lines, remarks)
            case "table":
                into.routes += ip_routes.table(lines, remarks)
            case "sysfs":
                told = "\n".join(line for _, line in lines)
                if "/ifindex:" in told:
                    into.others.append(sysfs.parse(told))
                else:
                    into.links += mtus.of_files(lines, remarks)
            case "json":
                into.others.append(ip_json.parse("\n".join(line for _, line in lines), line=lines[0][0]))
    inside = {name: space.output(Remarks()) for name, space in spaces.items() if name}
    return msgspec.structs.replace(spaces[""].output(remarks), inside=inside)


def host(text: str) -> str:
    """Return the name of the host in the first prompt that was pasted with an output; empty without one."""
    for count, (_, line) in enumerate(_lines(text)):
        prompt = PROMPT.match(line)
        if prompt is not None and prompt[1] and COMMAND.match(prompt[2]):
            return prompt[1].lower()
        if count > LOOK_MOST:
            break
    return ""


def _parts(text: str, remarks: Remarks) -> Iterator[tuple[str, Kind, list[tuple[int, str]]]]:
    """Cut a text into outputs: each begins at a line that only its tool prints, and goes on with what belongs to it.

    Each comes with the namespace in which it was printed; empty is the node's own.
    """
    kind: Kind | None = None
    space = ""
    lines: list[tuple[int, str]] = []
    for number, line in _lines(text):
        if number > LINES_MOST:
            remarks.add(f"more than {LINES_MOST:,} lines: the rest was left out", number)
            break
        begins = _kind(line)
        if kind == "table" and _goes_on(kind, line):
            begins = None
        if begins is None and (kind is None or not _goes_on(kind, line)):
            if kind is not None:
                yield space, kind, lines
            kind, lines = None, []
            named = _space(line)
            if named is None:
                _note(number, line, remarks)
            else:
                space = named
        elif begins is not None and begins != kind:
            if kind is not None:
                yield space, kind, lines
            kind, lines = begins, [(number, line)]
        else:
            lines.append((number, line))
    if kind is not None:
        yield space, kind, lines


def _space(line: str) -> str | None:
    """Return the namespace in which what follows was printed, empty for the node's own; None: the line says nothing."""
    if (header := OF_NAMESPACE.match(line)) is not None:
        return header[1]
    prompt = PROMPT.match(line)
    command = prompt[2] if prompt is not None else line
    if not COMMAND.match(command):
        return None
    inside = IN_NAMESPACE.search(command)
    return (inside[1] or inside[2] or inside[3]) if inside is not None else ""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with their numbers, without colours, CR and what a terminal would obey."""
    place, number = 0, 0
    while place < len(text):
        end = text.find("\n", place)
        end = len(text) if end < 0 else end
        number, line, place = number + 1, text[place:end], end + 1
        if len(line) > LINE_MOST and line.lstrip()[:1] not in {"[", "{"}:
            line = line[:LINE_MOST]
        yield number, (COLOUR.sub("", line) if "\x1b" in line else line).rstrip("\r").lstrip("\ufeff")


def _kind(line: str) -> Kind | None:
    """Return the tool that begins an output, or a part of it, with such a line."""
    first = line[:1]
    if not first or first.isspace():
        return "links" if first and ip_text.HEAD.match(line) else None
    if first == "/" and line.startswith(sysfs.FOLDER):
        return "sysfs"
    if first == "[" and line.lstrip("[ \t")[:1] in {"{", "]", ""}:
        return "json"
    if ip_text.HEAD.match(line) or ip_text.ADDRESS.match(line):
        return "links"
    if ifconfig.NEW.match(line) or ifconfig.OLD.match(line):
        return "ifconfig"
    if ip_routes.TABLE.match(line):
        return "table"
    return "routes" if ip_routes.HEAD.match(line) else None


def _goes_on(kind: Kind, line: str) -> bool:
    if kind == "json":
        return line[:1] in set(' \t[]{}",') or not line
    if kind == "sysfs":
        return line.startswith(sysfs.FOLDER)
    if kind == "table":
        words = line.split()
        return len(words) >= 7 and "dev" not in words
    return not line.strip() or line[0].isspace()


def _note(number: int, line: str, remarks: Remarks) -> None:
    """Note a line that belongs to no output, unless it is empty, a prompt or a command."""
    prompt = PROMPT.match(line)
    if not line.strip() or (prompt is not None) or COMMAND.match(line):
        return
    if TALOS.match(line):
        remarks.add(NO_TALOS_MTUS)
    elif BRIEF.match(line):
        remarks.add(NO_MTUS)
    else:
        remarks.add(f"is not understood: {values.quoted(line)}", number)
