"""Units that a read brings again: a source that is read with some overlap must not be committed twice."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Any

from rootsys_dagster.core.errors import LogDamagedError
from rootsys_dagster.core.ports import Batch, Driver, Locators
from rootsys_dagster.core.record import KEY_BYTES, unit_fingerprint
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.manifest import Manifest


@dataclass(frozen=True, slots=True)
class KeptLocators:
    """The places of those units of a batch that are kept."""

    all: Locators
    units: Sequence[bytes]
    kept: Sequence[bool]

    @property
    def source_type(self) -> str:
        return self.all.source_type

    @property
    def locator(self) -> str | None:
        return self.all.locator

    @property
    def content_type(self) -> str | None:
        return self.all.content_type

    @property
    def filename(self) -> str | None:
        return self.all.filename

    def positions(self, units: Sequence[bytes]) -> Iterable[bytes]:
        """Those of the kept units, which *units* are."""
        return compress(self.all.positions(self.units), self.kept)

    def to_json(self) -> dict[str, Any]:
        """Nobody spools what was fetched, judged and committed before."""
        raise NotImplementedError


class CommittedUnits:
    """The fingerprints of what the commits before a run have, as far back as its read may reach.

    Memory: about 100 bytes for each unit within the overlap.
    """

    def __init__(self, log: CommitLog, driver: Driver[Any], head: Manifest | None) -> None:
        self._log = log
        self._driver = driver
        self._head = head
        self._known: set[bytes] | None = None

    def without_known(self, batch: Batch) -> tuple[Batch, int]:
        """The batch without the units that are committed, and how many those are."""
        if self._known is None:
            self._known = set(self._load())
        if not self._known:
            return batch, 0
        kept = [unit_fingerprint(unit) not in self._known for unit in batch.units]
        units = list(compress(batch.units, kept))
        known = len(batch.units) - len(units)
        if not known:
            return batch, 0
        return replace(batch, units=units, locators=KeptLocators(batch.locators, batch.units, kept)), known

    def _load(self) -> Iterator[bytes]:
        manifest = self._head
        while manifest is not None and manifest.seq > manifest.replaced:
            if self._head is not None and self._driver.rereads(self._head.end, manifest.end):
                yield from self._fingerprints(manifest)
            elif manifest.mode == "ingest":
                return
            manifest = self._log.manifest(manifest.seq - 1) if manifest.seq > 1 else None

    def _fingerprints(self, manifest: Manifest) -> Iterator[bytes]:
        file = manifest.file("units")
        if file is None:
            return
        try:
            data = self._log.path(file).read_bytes()
        except OSError as error:
            message = f"{self._log.stream}: cannot read {file.name}: {error.strerror}; restore it from a backup"
            raise LogDamagedError(message) from error
        for start in range(0, len(data), KEY_BYTES):
            yield data[start : start + KEY_BYTES]
