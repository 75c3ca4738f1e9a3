"""Files out of lines that have each file's path before them."""

from hypothesis import given
from hypothesis import strategies as st

from kubemtu.core.printed import file_lines

PLACES = {"/host/net.d": "/etc/cni/net.d", "/run/flannel/subnet.env": "/run/flannel/subnet.env"}


def test_lines_become_the_files_of_the_node() -> None:
    seen = file_lines.parse(
        "1700000000 /host/net.d\n1700000000 /host/net.d/10-a.conflist\n1700000005 /host/net.d/empty.conf\n"
        '/host/net.d/10-a.conflist:{\n/host/net.d/10-a.conflist:  "mtu": 1450}\n'
        "/run/flannel/subnet.env:FLANNEL_MTU=1450\n",
        PLACES,
    )
    assert [(file.path, file.text, file.modified) for file in seen.files if file.path != "/etc/cni/net.d"] == [
        ("/etc/cni/net.d/10-a.conflist", '{\n  "mtu": 1450}\n', 1700000000.0),
        ("/etc/cni/net.d/empty.conf", "", 1700000005.0),
        ("/run/flannel/subnet.env", "FLANNEL_MTU=1450\n", 0.0),
    ]


def test_no_line_of_a_file_passes_for_another_file() -> None:
    forged = (
        "/host/net.d/a.conf:/host/net.d/b.conf:{}\n/host/net.d/a.conf:1700000000 /host/net.d/c.conf\n/etc/shadow:x\n"
    )
    seen = file_lines.parse(forged, PLACES)
    assert [file.path for file in seen.files] == ["/etc/cni/net.d/a.conf"]


def test_files_are_bounded() -> None:
    long = "/host/net.d/a.conf:" + "x" * 70_000
    many = "\n".join(f"/host/net.d/{number:03}.conf:x" for number in range(100))
    seen = file_lines.parse(f"{long}\n{many}", PLACES)
    assert len(seen.files) == 32
    assert seen.remarks == ("more than 32 files of the CNI; /etc/cni/net.d/032.conf and those after it were left out",)
    (sentence,) = file_lines.parse(long, PLACES).remarks
    assert sentence.startswith("/etc/cni/net.d/a.conf: longer than 65536 characters")


@given(st.text(max_size=300))
def test_anything_is_taken(text: str) -> None:
    file_lines.parse(text, PLACES)
    file_lines.parse("/host/net.d/" + text, PLACES)
