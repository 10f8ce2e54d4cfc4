"""File systems that can be filled or cut off: a small tmpfs, and ext4 in a file whose bytes are the disk."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from crash.conftest import unavailable

IMAGE_BYTES = 96 << 20


def _command(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, check=False)


@contextmanager
def _mounted(point: Path, *arguments: str | Path) -> Generator[Path]:
    point.mkdir(parents=True, exist_ok=True)
    done = _command("mount", *arguments, point)
    if done.returncode:
        unavailable(f"a kernel that mounts {' '.join(map(str, arguments))}: {done.stderr.decode().strip()}")
    try:
        yield point
    finally:
        # Lazily: a test that failed may have left a process behind in there.
        _command("umount", "--lazy", point)


@contextmanager
def tmpfs(point: Path, options: str) -> Generator[Path]:
    """An empty tmpfs, small by *options*."""
    with _mounted(point, "-t", "tmpfs", "-o", options, "tmpfs"):
        yield point


def remount(point: Path, options: str) -> None:
    """Give a tmpfs other limits."""
    done = _command("mount", "-o", f"remount,{options}", point)
    assert done.returncode == 0, done.stderr


def make_ext4(image: Path) -> None:
    """A sparse file that holds an empty ext4, nothing of it left to be initialised while it is used."""
    with image.open("wb") as stream:
        stream.truncate(IMAGE_BYTES)
    options = "lazy_itable_init=0,lazy_journal_init=0"
    done = _command("mkfs.ext4", "-q", "-F", "-E", options, image)
    if done.returncode:
        unavailable(f"mkfs.ext4 (apt-get install e2fsprogs): {done.stderr.decode().strip()}")


@contextmanager
def ext4(image: Path, point: Path) -> Generator[Path]:
    """The file system in *image*; its journal is committed every second, synced or not."""
    with _mounted(point, "-t", "ext4", "-o", "loop,commit=1", image):
        yield point


def cut_power(image: Path, copy: Path) -> None:
    """What is on the disk if the power goes now: what the loop device was given, nothing of the page cache above.

    Nobody may be writing: the copy is not made in one instant, and an order of writes that no disk has seen would be
    no power cut.
    """
    done = _command("cp", "--sparse=always", "--reflink=never", image, copy)
    assert done.returncode == 0, done.stderr
