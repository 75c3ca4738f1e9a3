"""What of a node's file may leave the node: the members that a rule uses; of everything else, only that it is there.

The folder of the CNI holds credentials beside configurations (a kubeconfig has a ServiceAccount's token), and
configurations hold some themselves (`k8s_auth_token`, `etcd_key`, keys of WireGuard). So nothing is published because
it looks harmless: a file goes by its name, a value by the name of its member and by its shape. The text is struck out
where it stands, so that lines, layout, placeholders and faults of the syntax stay.
"""

import re
from collections.abc import Callable, Iterator

CNI_FOLDER = "/etc/cni/net.d/"
"""Where the reference runtimes look; k3s and others have a folder of their own that ends alike."""
SUFFIXES = (".conf", ".conflist", ".json")  # containernetworking/cni: libcni/conf.go ConfFiles
LONGEST = 128
"""Characters of a value, or of the name of a member, that is shown; a token is longer, a device or a CIDR is not."""

CNI_MEMBERS = frozenset(
    {
        # containernetworking/cni, SPEC.md: the list and what it is made of
        *("cniVersion", "cniVersions", "name", "type", "mtu", "MTU"),
        # containernetworking/plugins: bridge, ptp, macvlan, portmap, bandwidth, and what hands on to them
        *("bridge", "master", "mode", "isGateway", "isDefaultGateway", "hairpinMode", "forceAddress", "ipMasq"),
        *("promiscMode", "portMappings", "bandwidth", "ips", "snat", "subnetFile", "dataDir", "subnet"),
        # projectcalico/calico: cni-plugin/pkg/types/types.go, what is no credential
        *("log_level", "datastore_type", "nodename", "k8s_api_root", "assign_ipv4", "assign_ipv6"),
        *("include_default_routes", "allow_ip_forwarding"),
        # k8snetworkplumbingwg/multus-cni: pkg/types/types.go, whose configuration is gone by
        *("clusterNetwork", "readinessindicatorfile"),
        # k8snetworkplumbingwg/multi-net-spec: what a pod selects and was given; the plugins of such networks
        *("namespace", "interface", "vlanId", "vlanID", "device", "provider", "vethMTU", "interfaces"),
    }
)
NETCONF_MEMBERS = frozenset(
    {
        # flannel-io/flannel: pkg/subnet/config.go and the backends' own configurations; PSK is left out on purpose
        *(
            "Network",
            "IPv6Network",
            "EnableIPv4",
            "EnableIPv6",
            "EnableNFTables",
            "SubnetLen",
            "SubnetMin",
            "SubnetMax",
        ),
        *("IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax", "Type", "VNI", "Port", "MTU", "GBP", "Learning"),
        *("DirectRouting", "Mode", "ListenPort", "ListenPortV6", "PersistentKeepaliveInterval"),
    }
)
_TOKEN = re.compile(
    r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d[\d.eE+-]*)|__[A-Z0-9_]+?__|true|false|null|\s+|[{}\[\],:]'
)
_PLACEHOLDER = re.compile(r"__[A-Z0-9_]{1,60}__", re.ASCII)  # what an installer puts a value in place of
_COLON = re.compile(r"\s*:")
_HARMLESS = re.compile(r"[\w .,:/%+*=-]*", re.ASCII)  # no @, for https://user:password@host
_STRUCK = re.compile(r"\((\d{1,9}) characters not shown\)", re.ASCII)
_ENV_LINE = re.compile(  # sizes and networks, whoever writes them (flannel-io/flannel: pkg/subnet/subnet.go)
    r"[A-Z][A-Z0-9_]*_(?:MTU|NETWORK|SUBNET)=\"?[0-9a-fA-F.:/,]*\"?|[A-Z][A-Z0-9_]*_IPMASQ=(?:true|false)"
)


def struck(length: int) -> str:
    """Return the text that replaces a value of that many characters."""
    return f"({length} characters not shown)"


def length(value: object) -> int | None:
    """Say how many characters a value had before it was struck out; None: it was not."""
    found = _STRUCK.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) if found is not None else None


def shown(path: str, text: str) -> str | None:
    """Return the file at that path of a node as it may leave the node, None where it has no business elsewhere.

    A CNI configuration and a net-conf.json keep the members that rules use; a subnet.env its lines of
    sizes and networks; a file named mtu its number.
    """
    name = path.rpartition("/")[2]
    if name.endswith("net-conf.json"):
        return strike(text, NETCONF_MEMBERS)
    if "/cni/net.d/" in path:
        return strike(text, CNI_MEMBERS) if name.endswith(SUFFIXES) else None
    if name == "subnet.env":
        return _lines(text, lambda line: _ENV_LINE.fullmatch(line) is not None)
    if name == "mtu":
        return _lines(text, lambda line: line.isdecimal() and line.isascii() and len(line) <= 10)
    return None


def strike(text: str, members: frozenset[str]) -> str:
    """Strike out each string and number of a JSON text that stands in none of these members, and whatever is no JSON.

    The names of all members stay, and so do placeholders, true, false and null.
    """
    return "".join(_struck(text, members))


def _struck(text: str, members: frozenset[str]) -> Iterator[str]:
    """Yield the text, with the values of all but `members` struck out.

    A value is shown right behind the colon of a member alone, a name only where one can stand: a lost mark hides.
    """
    member, before, at = "", "", 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:  # no JSON: a comment, a lost quote, another language
            after = _TOKEN.search(text, at)
            end = after.start() if after is not None else len(text)
            yield struck(end - at)
            member, before, at = "", "?", end
            continue
        at, token = found.end(), found[0]
        value = token[1:-1] if found["string"] is not None else found["number"]
        if value is None:
            yield token
            before = before if token.isspace() else token
            continue
        if found["string"] is not None and before in {"{", ","} and _COLON.match(text, at) is not None:
            member, keep = value, True
        else:
            keep = before == ":" and member in members
            member = ""
        keep = keep and len(value) <= LONGEST and _HARMLESS.fullmatch(value) is not None
        keep = keep or (found["string"] is not None and _PLACEHOLDER.fullmatch(value) is not None)
        yield token if keep else f'"{struck(len(value))}"'
        before = "value"


def _lines(text: str, keep: Callable[[str], bool]) -> str:
    return "".join(
        line if keep(line.strip()) or not line.strip() else f"{struck(len(line.strip()))}\n"
        for line in text.splitlines(keepends=True)
    )
