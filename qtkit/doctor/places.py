"""Where the home lies: room on its disk, kind of file system, who may read its keys."""

import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qtkit.doctor.finding import Finding, Limits, count, fine, graded, look, size, told_by, wrong
from qtkit.home import Paths

# Kinds of file systems as the kernel names them. SQLite's write-ahead log needs shared memory between its users, which none of these has.
NETWORK = frozenset(
    {
        "9p", "afs", "afpfs", "beegfs", "ceph", "cifs", "davfs", "drvfs", "fuse.davfs2", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs",
        "fuse.sshfs", "fuse.vmhgfs-fuse", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "smb2", "smb3", "smbfs", "vboxsf",
        "virtiofs", "webdav",
    }
)  # fmt: skip
MEMORY = frozenset({"tmpfs", "ramfs"})
# Folders that a program copies elsewhere file by file: by their name, or by the mark that the program leaves in the topmost one.
SYNCED_NAMES = (
    "dropbox",
    "google drive",
    "googledrive",
    "icloud drive",
    "mobile documents",
    "cloudstorage",
    "nextcloud",
    "owncloud",
    "onedrive",
)
SYNCED_MARKS = (".stfolder", ".dropbox", ".owncloudsync.log", ".nextcloudsync.log")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFacts:
    """The disk under a home: bytes free and in all, kind of file system ("" where the system does not tell), the synced folder if any."""

    place: Path
    free: int
    total: int
    kind: str
    synced: Path | None


def read_disk(home: Path) -> DiskFacts:
    """The disk under a home, or under where it would be made."""
    import psutil

    place = next(folder for folder in (home, *home.parents) if folder.is_dir())
    room = shutil.disk_usage(place)
    mounts = [(Path(row.mountpoint), row.fstype) for row in psutil.disk_partitions(all=True)]
    return DiskFacts(place=home, free=room.free, total=room.total, kind=kind_of(place.resolve(), mounts), synced=synced_of(place.resolve()))


def kind_of(place: Path, mounts: Iterable[tuple[Path, str]]) -> str:
    """File system of a place: that of the longest mount point above it, of equal ones the newest; "" if none is known."""
    kind, depth = "", -1
    for point, name in mounts:
        if place.is_relative_to(point) and len(point.parts) >= depth:
            kind, depth = name.lower(), len(point.parts)
    return kind


def synced_of(place: Path) -> Path | None:
    """The folder at or above a place that a program of synchronisation keeps, or None."""
    for folder in (place, *place.parents):
        named = folder.name.lower()
        if any(named == word or named.startswith((f"{word} ", f"{word}-")) for word in SYNCED_NAMES):
            return folder
        if any((folder / mark).exists() for mark in SYNCED_MARKS):
            return folder
    return None


def disk(facts: DiskFacts, limits: Limits) -> Finding:
    """Is there room for the journal to grow."""
    found = f"{size(facts.free)} of {size(facts.total)} free under {facts.place}"
    remedy = f"free some space on the disk of {facts.place}; on a full one nothing new is opened and intents go to the reserve"
    return graded("disk", found, remedy, is_wrong=facts.free < limits.disk_wrong, is_look=facts.free < limits.disk_look)


def file_system(facts: DiskFacts) -> Finding:
    """Does the journal lie where SQLite can keep it whole."""
    name = "file system"
    move = f"move {facts.place} to a local disk and name it in QTKIT_HOME"
    if facts.kind in NETWORK:
        return wrong(name, f"{facts.place} is on {facts.kind}, a network file system: the journal's log may be lost there", move)
    if facts.synced is not None:
        return wrong(name, f"{facts.synced} is copied elsewhere by a program: half-written journals, and keys in other places", move)
    if facts.kind in MEMORY:
        return look(name, f"{facts.place} is on {facts.kind}: it is gone after a restart of the computer", move)
    return fine(name, f"{facts.kind or 'kind not told by this system'}, on this computer, in no synchronised folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFile:
    """A file that opens doors, or a folder of such files: its permission bits."""

    path: Path
    mode: int

    @property
    def is_open(self) -> bool:
        """True if others than its owner may do anything with it."""
        return bool(self.mode & 0o077)


def read_key_files(paths: Paths) -> tuple[KeyFile, ...]:
    """The key files of a home, the desk's door, and the folders above them."""
    doors = [place for account in paths.accounts() for place in (account.folder, account.endpoint_token)]
    places = [paths.home, paths.keys, *(sorted(paths.keys.glob("*.json")) if paths.keys.is_dir() else ()), *doors]
    return tuple(KeyFile(path=place, mode=stat.S_IMODE(place.stat().st_mode)) for place in places if place.exists())


def key_files(files: tuple[KeyFile, ...], fault: str | None, used: str) -> Finding:
    """Can others read the keys. ``fault`` is what the keys of the account lack, None if they could be used; ``used`` says which are."""
    name = "keys file"
    secret = [file for file in files if not file.path.is_dir() and file.is_open]
    if secret:
        told = ", ".join(f"{file.path} ({file.mode:04o})" for file in secret)
        return wrong(name, f"others than their owner can read {told}", f"chmod 600 {' '.join(str(file.path) for file in secret)}")
    if fault is not None:
        return wrong(name, *told_by(fault))
    writable = [file for file in files if file.path.is_dir() and file.mode & 0o022]
    if writable:
        told = ", ".join(f"{file.path} ({file.mode:04o})" for file in writable)
        return look(name, f"others may put files into {told}", f"chmod 700 {' '.join(str(file.path) for file in writable)}")
    closed = count(sum(not file.path.is_dir() for file in files), "file")
    return fine(name, f"{closed} for their owner alone{f'; the account uses {used}' if used else ''}")
