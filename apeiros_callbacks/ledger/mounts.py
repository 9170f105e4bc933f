"""Network file systems, where SQLite's write-ahead log is not safe.

The log needs memory shared by all who use the file, and locks that hold, which several machines do not
have: https://www.sqlite.org/wal.html and https://www.sqlite.org/lockingv3.html
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["MOUNTS", "network_file_system"]

MOUNTS = Path("/proc/self/mounts")
"""The mount table. Linux only; elsewhere nothing is detected."""

# `9p` and `virtiofs` are left out: they are the root of many containers, with one kernel behind them.
_NETWORK = re.compile(
    r"""
    nfs\d? | cifs | smb\w* | ncpfs | afs | coda | gpfs
    | (fuse\.)? (beegfs\w* | ceph\w* | davfs\d? | glusterfs | lustre)
    | fuse\. (blobfuse\d? | gcsfuse | goofys | juicefs | nfs\w* | rclone | s3fs | smbnetfs | sshfs)
    """,
    re.VERBOSE,
)
_OCTAL = re.compile(r"\\([0-7]{3})")


def network_file_system(path: Path, table: str) -> str | None:
    r"""The kind of the network file system a path is on; None when it is a local one.

    Args:
        path: an absolute path without symbolic links.
        table: the text of ``/proc/self/mounts``.

    Example:
        >>> table = "/dev/sda1 / ext4 rw 0 0\nhost:/srv /mnt/team\\040data nfs4 rw 0 0\n"
        >>> network_file_system(Path("/mnt/team data/ledger.db"), table)
        'nfs4'
        >>> network_file_system(Path("/mnt/ledger.db"), table) is None
        True
    """
    kind, depth = "", -1
    for line in table.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = Path(_OCTAL.sub(lambda code: chr(int(code[1], 8)), words[1]))
        # Of two mounts on the same folder the later one is seen.
        if path.is_relative_to(point) and len(point.parts) >= depth:
            kind, depth = words[2], len(point.parts)
    return kind if _NETWORK.fullmatch(kind) else None
