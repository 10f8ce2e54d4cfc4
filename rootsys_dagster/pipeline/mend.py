"""Mending dead letters: replay what is open through the interface as it is now, or discard it.

Both are commits of the same log, so a letter is resolved together with its record or not at all, and a replay that was
killed goes on with the letters that are still open. The position of the source never moves.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.record import Message
from rootsys_dagster.log.commit import CommitLog, LogWriter
from rootsys_dagster.log.letters import (
    OPEN_STATES,
    Letter,
    LetterFilter,
    Outcome,
    State,
    open_letters,
    outcome_line,
)
from rootsys_dagster.log.manifest import Counts, Manifest
from rootsys_dagster.pipeline.normalise import Normalised, Normaliser
from rootsys_dagster.pipeline.replay import replayed_batch
from rootsys_dagster.pipeline.run import Line

STILL_FAILING = "still_failing"
"""The name under which letters that are rejected again are counted: they are dead letters already."""


@dataclass(slots=True)
class MendReport:
    """What a replay did, or would do.

    Attributes:
        reasons: of the letters that still fail, by code; one with two codes counts under both.
        stopped: why letters that were meant were left out.
    """

    run_id: str
    resolved: int = 0
    failing: int = 0
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    manifests: list[Manifest] = field(default_factory=list[Manifest])
    elapsed_s: float = 0.0
    stopped: str | None = None


class _Errors(msgspec.Struct):
    reason_codes: list[str]
    errors: msgspec.Raw


class _RecordId(msgspec.Struct):
    record_id: str


_errors = msgspec.json.Decoder(_Errors).decode
_record_id = msgspec.json.Decoder(_RecordId).decode


def replay_letters(
    line: Line,
    wanted: LetterFilter,
    *,
    run_id: str,
    limit: int | None = None,
    progress: Callable[[Counts], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> MendReport:
    """Put the open letters that are meant through the interface again and commit what comes of them.

    Three replays have the effect of one: a letter that is resolved is not open any more, and one that fails for the
    same reasons under the same rules is not committed again.

    Raises:
        LockedError: another process is writing to the log.
    """
    began_s = time.monotonic()
    with line.log.writer(run_id) as writer, open_letters(line.log) as letters:
        replay = _Replay(line, writer, MendReport(run_id))
        for letter, outcome, out in _judged(line, letters.lines(letters.select(_open(wanted), limit))):
            replay.take(letter, outcome, out)
            if progress is not None:
                progress(replay.total)
            if stop is not None and stop():
                replay.report.stopped = "stop requested"
                break
        replay.commit()
        letters.catch_up()
    replay.report.elapsed_s = time.monotonic() - began_s
    return replay.report


def try_letters(line: Line, wanted: LetterFilter, limit: int | None = None) -> Iterator[tuple[Letter, Outcome]]:
    """What a replay would make of each open letter that is meant; nothing is committed."""
    with open_letters(line.log) as letters:
        for letter, outcome, _ in _judged(line, letters.lines(letters.select(_open(wanted), limit))):
            yield letter, outcome


def discard_letters(
    log: CommitLog, wanted: LetterFilter, *, run_id: str, by: str, note: str, interface_sha256: str
) -> int:
    """Close the open letters that are meant without a record; who and why stand in the log. Returns how many.

    Raises:
        ConfigError: nobody or no reason is named.
        LockedError: another process is writing to the log.
    """
    for name, text in (("who decides", by), ("the reason", note)):
        if not text.strip():
            raise ConfigError(f"{name} is blank; a discarded dead letter has to say it", code="DISCARD.BLANK")
    with log.writer(run_id) as writer, open_letters(log) as letters:
        count = 0
        for letter in letters.select(_open(wanted)):
            outcome = Outcome(dead_letter_id=letter.id, outcome="discarded", by=by, note=note)
            writer.write("outcomes", outcome_line(outcome) + b"\n", 1)
            count += 1
        if count:
            writer.commit(
                end=writer.position or {}, counts=Counts(), interface_sha256=interface_sha256, mode="decision"
            )
            letters.catch_up()
    return count


def _open(wanted: LetterFilter) -> LetterFilter:
    states: list[State] = [state for state in wanted.states or OPEN_STATES if state in OPEN_STATES]
    if not states:
        raise ConfigError("only letters that are open or failing can be replayed or discarded", code="LETTERS.CLOSED")
    return replace(wanted, states=states)


def _judged(line: Line, letters: Iterable[tuple[Letter, bytes]]) -> Iterator[tuple[Letter, Outcome, Normalised]]:
    # What a rule asks of a whole commit is asked of a replay from its beginning to its end.
    normaliser = Normaliser(line.interface, line.source, on_fail="quarantine")
    for letter, text in letters:
        out = normaliser.normalise(replayed_batch(text))
        if out.counts.accepted:
            outcome = Outcome(dead_letter_id=letter.id, outcome="replayed", record_id=_record_id(out.records).record_id)
        else:
            found = _errors(out.dead_letters) if out.dead_letters else _blank()
            outcome = Outcome(
                dead_letter_id=letter.id, outcome="failing", reason_codes=found.reason_codes, errors=found.errors
            )
        yield letter, outcome, out


def _blank() -> _Errors:
    """A unit of white space is skipped by a run; as a letter it stays where it is."""
    error = Message("PAYLOAD_DECODE_FAILED", "/payload", "is blank")
    return _Errors([error.code], msgspec.Raw(msgspec.json.encode([error])))


class _Replay:
    def __init__(self, line: Line, writer: LogWriter, report: MendReport) -> None:
        self.line = line
        self.writer = writer
        self.report = report
        self.total = Counts()
        self.open = Counts()
        self.committed_s = time.monotonic()

    def take(self, letter: Letter, outcome: Outcome, out: Normalised) -> None:
        if outcome.outcome == "replayed":
            self.report.resolved += 1
            self.writer.write("records", out.records, 1, out.keys)
        else:
            self.report.failing += 1
            _count(self.report.reasons, outcome.reason_codes)
            if _nothing_new(letter, outcome):
                self.total.add(_failing())
                return
        counts = Counts(fetched=1, accepted=1, warnings=out.counts.warnings) if out.counts.accepted else _failing()
        self.writer.write("outcomes", outcome_line(outcome) + b"\n", 1)
        self.open.add(counts)
        self.total.add(counts)
        every = self.line.interface.commit_every
        if self.open.fetched >= every.records or time.monotonic() - self.committed_s >= every.seconds:
            self.commit()

    def commit(self) -> None:
        if not self.open.fetched:
            return
        manifest = self.writer.commit(
            end=self.writer.position or {},
            counts=self.open,
            interface_sha256=self.line.interface_sha256,
            mode="replay",
            contract_sha256=self.line.contract_sha256,
        )
        self.report.manifests.append(manifest)
        self.open = Counts()
        self.committed_s = time.monotonic()


def _nothing_new(letter: Letter, outcome: Outcome) -> bool:
    """Whether the newest attempt has said the same already."""
    same_codes = msgspec.json.decode(letter.reason_codes) == outcome.reason_codes
    return letter.state == "failing" and same_codes and letter.errors.encode() == bytes(outcome.errors)


def _failing() -> Counts:
    return Counts(fetched=1, skipped={STILL_FAILING: 1})


def _count(into: dict[str, int], names: Sequence[str]) -> None:
    for name in names:
        into[name] = into.get(name, 0) + 1
