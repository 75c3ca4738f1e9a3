"""Who drives a change, as people call it: what a journal keeps, so that the next one knows whom to ask."""

import getpass
import os
import socket


def me() -> str:
    """This user, host and process: "alice@laptop (process 4711)"; no credential, and no address."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user often has no name
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()} (process {os.getpid()})"
