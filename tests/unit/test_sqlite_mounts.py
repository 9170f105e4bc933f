"""Network file systems: found in the mount table, and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from apeiros_callbacks.errors import LedgerUnavailable
from apeiros_callbacks.ledger import mounts, open_ledger
from apeiros_callbacks.ledger.mounts import network_file_system

MOUNT_TABLE = r"""
sysfs /sys sysfs rw 0 0
/dev/vda / ext4 rw,relatime 0 0
fs:/home /home nfs4 rw,vers=4.2 0 0
//nas/team\040data /mnt/team\040data cifs rw 0 0
ann@host:/srv /mnt/ssh fuse.sshfs rw 0 0
/dev/vdb /home/ann/local ext4 rw 0 0
/dev/fuse /mnt/disk fuseblk rw 0 0
overlay /merged overlay rw 0 0
old:/x /over nfs rw 0 0
tmpfs /over tmpfs rw 0 0
broken
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/home/ann/ledger.db", "nfs4"),
        ("/home/ann/local/ledger.db", None),
        ("/home/ann/localized/ledger.db", "nfs4"),
        ("/mnt/team data/ledger.db", "cifs"),
        ("/mnt/team/ledger.db", None),
        ("/mnt/ssh/deep/er/ledger.db", "fuse.sshfs"),
        ("/mnt/disk/ledger.db", None),
        ("/merged/ledger.db", None),
        ("/over/ledger.db", None),
        ("/homework/ledger.db", None),
        ("/ledger.db", None),
    ],
)
def test_what_a_path_is_on(place: str, kind: str | None) -> None:
    assert network_file_system(Path(place), MOUNT_TABLE) == kind


@pytest.mark.parametrize(
    "kind",
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "fuse.sshfs",
        "fuse.s3fs",
        "ceph",
        "lustre",
        "fuse.glusterfs",
        "afs",
        "davfs",
    ],
)
def test_kinds_of_network_file_systems(kind: str) -> None:
    assert network_file_system(Path("/net/ledger.db"), f"x /net {kind} rw 0 0") == kind


@pytest.mark.parametrize(
    "kind",
    ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "9p", "virtiofs", "fuse.grpcfuse", "fuseblk", "apfs"],
)
def test_kinds_of_local_file_systems(kind: str) -> None:
    assert network_file_system(Path("/net/ledger.db"), f"x /net {kind} rw 0 0") is None


@pytest.fixture
def on_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    share, table = tmp_path / "share", tmp_path / "mounts"
    share.mkdir()
    table.write_text(f"/dev/vda / ext4 rw 0 0\nfs:/share {share.resolve()} nfs4 rw 0 0\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    return share


def test_a_network_file_system_is_refused(on_the_network: Path) -> None:
    with pytest.raises(
        LedgerUnavailable, match=r"network file system \(nfs4\).* Use a path on a local disk."
    ):
        open_ledger(f"sqlite:///{on_the_network}/ledger.db")
    assert list(on_the_network.iterdir()) == []


def test_a_link_to_a_network_file_system_is_refused(on_the_network: Path, tmp_path: Path) -> None:
    link = tmp_path / "ledger.db"
    link.symlink_to(on_the_network / "ledger.db")
    with pytest.raises(LedgerUnavailable, match=r"network file system"):
        open_ledger(f"sqlite:///{link}")
