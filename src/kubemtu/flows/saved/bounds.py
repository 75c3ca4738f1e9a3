"""How much is taken of files that nobody vouches for, all of one reading together: names, files, bytes, depth.

An archive of 10 kB may hold 10 GB, a folder may have a link to /, a pipe may have no end.
"""

import msgspec

BYTES_MOST = 64 * 1024 * 1024  # of one file; a dump of 5,000 pods is 20 MB
TOTAL_MOST = 2 * BYTES_MOST  # of all that is read of a folder or an archive
FILES_MOST = 20_000
ENTRIES_MOST = 100_000  # names in all folders and archives: a link to / leads to more
UNPACKED_MOST = 2 * 1024 * 1024 * 1024  # of all archives, what is passed over included: a must-gather has as much
RATIO_MOST = 200  # times an archive's own size; logs are packed to a thirtieth, nothing of use to a two-hundredth
UNPACKED_LEAST = 16 * 1024 * 1024  # bytes before that ratio is looked at
ARCHIVES_DEEP = 2  # an archive in an archive, and no further
FOLDERS_DEEP = 64  # parts of one name
NAME_MOST = 4096  # characters of one name: PATH_MAX


class Enough(Exception):
    """A bound was reached; the text says of what there is too much, to be put after a name."""


class Bounds(msgspec.Struct):
    """What was counted so far. Each method raises Enough where it is too much."""

    names: int = 0
    files: int = 0
    bytes: int = 0
    unpacked: int = 0

    def name(self) -> None:
        """Count a name, of whatever kind of file. Raises Enough."""
        self.names += 1
        if self.names > ENTRIES_MOST:
            raise Enough(f"holds more than {ENTRIES_MOST} names; the rest was left out")

    def file(self, size: int) -> None:
        """Count a file that is read, of so many bytes. Raises Enough."""
        self.files += 1
        self.bytes += size
        if self.files > FILES_MOST:
            raise Enough(f"holds more than {FILES_MOST} files; the rest was left out")
        if self.bytes > TOTAL_MOST:
            raise Enough(f"holds more than {TOTAL_MOST >> 20} MiB; the rest was left out")

    def unpack(self, size: int, out: int, packed: int) -> None:
        """Count bytes that came out of an archive: `out` so far of `packed` of its own. Raises Enough."""
        self.unpacked += size
        if self.unpacked > UNPACKED_MOST:
            raise Enough(f"unpacks to more than {UNPACKED_MOST >> 30} GiB; the rest was left out")
        if out > max(UNPACKED_LEAST, RATIO_MOST * packed):
            raise Enough(f"unpacks to more than {RATIO_MOST} times its size; the rest was left out")
