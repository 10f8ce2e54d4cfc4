"""``rootsys run --interface FILE``: one interface file with no project around it."""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from rootsys_dagster.cli.events import Totals
from rootsys_dagster.cli.ingest import files_read, ingest_interface, new_run_id, report_followers, spare
from rootsys_dagster.cli.output import note
from rootsys_dagster.cli.progress import LiveLine
from rootsys_dagster.cli.run_options import RunOptions, open_driver
from rootsys_dagster.cli.stop import Stop
from rootsys_dagster.cli.summary import summarise
from rootsys_dagster.core.contract import load_registry
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.ports import SinkPlace
from rootsys_dagster.core.project import InterfaceFile, Project, read_interface_file, secrets_root
from rootsys_dagster.core.registry import SINKS
from rootsys_dagster.pipeline.replay import read_dead_letters
from rootsys_dagster.pipeline.stateless import (
    Output,
    default_dead_letter_path,
    file_output,
    run_stateless,
    sink_output,
)

REGISTRIES = (Path("system/contracts/reference/allowlist.json"), Path("contracts/allowlist.json"))
"""Looked for from the working folder: where the reference has it, then where this product has it."""


ANYWHERE = (Path("/"),)
"""Whoever names an interface file on the command line vouches for the paths in it."""


def run_file(chosen: RunOptions, stop: Stop) -> int:
    """As often as the schedule says: into plain files, or through a commit log when there is a state root."""
    entry, contracts_path = allowed_interface(chosen)
    totals = Totals(lines=not chosen.json_only)
    code = 0
    for index in range(chosen.schedule.runs):
        if index and not pause(chosen, stop):
            break
        if chosen.state_root is None:
            run_into_files(entry, chosen, contracts_path, stop, totals, append=index > 0)
        else:
            code = max(code, run_into_log(entry, chosen, contracts_path, stop, totals))
        if stop.requested:
            break
    totals.finish()
    return code


def allowed_interface(chosen: RunOptions) -> tuple[InterfaceFile, Path]:
    """The interface file and the contract registry that allows it.

    Raises:
        InvalidFileError: either has problems, or the registry does not name the interface.
    """
    assert chosen.interface is not None
    entry = read_interface_file(chosen.interface)
    interface = entry.require()
    path = chosen.contract_registry or next(filter(Path.is_file, REGISTRIES), REGISTRIES[-1])
    load_registry(path).require(interface, str(chosen.interface))
    return entry, path


def pause(chosen: RunOptions, stop: Stop) -> bool:
    """Wait for the next run; False when the user asks to stop first."""
    until_s = time.monotonic() + (chosen.schedule.interval_s or 0)
    while not stop.requested and (left_s := until_s - time.monotonic()) > 0:
        time.sleep(min(left_s, 0.2))
    return not stop.requested


def run_into_log(entry: InterfaceFile, chosen: RunOptions, contracts_path: Path, stop: Stop, totals: Totals) -> int:
    """One run that goes on from the last commit; 1 when a file behind it could not be brought up to it."""
    assert chosen.state_root is not None
    project = project_around(entry, chosen.state_root, contracts_path)
    outcome = ingest_interface(entry, project, chosen, stop, events=True)
    totals.add(outcome.source, outcome.report.counts, **outcome.members())
    if not chosen.json_only:
        note(summarise(outcome, chosen.state_root))
    report_followers(outcome)
    return 1 if outcome.failed else 0


def project_around(entry: InterfaceFile, state_root: Path, contracts_path: Path) -> Project:
    """What stands for a project when there is only one interface file."""
    return Project(
        root=Path.cwd(),
        state_root=state_root.resolve(),
        data_roots=ANYWHERE,
        secrets_root=secrets_root(Path.cwd()),
        contracts_path=contracts_path.resolve(),
        interfaces=(entry,),
    )


def run_into_files(
    entry: InterfaceFile, chosen: RunOptions, contracts_path: Path, stop: Stop, totals: Totals, *, append: bool
) -> None:
    """One run of the reference: everything, into files that are replaced, or added to by later runs."""
    interface = entry.require()
    project = project_around(entry, Path(), contracts_path)
    driver = open_driver(interface, chosen, project, stateless=True)
    records, dead_letters = outputs(chosen, append, files_read(entry, driver, chosen))
    if chosen.replay_dlq is not None:
        batches = read_dead_letters(chosen.replay_dlq, chosen.replay_dlq_source, chosen.replay_dlq_table)
    else:
        batches = driver.read(None)
    source = chosen.source or interface.name
    with live_line(interface.name, not chosen.json_only) as live:
        report = run_stateless(
            interface,
            source,
            stop.until_requested(batches),
            records,
            dead_letters,
            progress=live,
            stop=lambda: stop.requested,
        )
    if not report.published:
        note(f"stopped: nothing was written, {chosen.output} is as it was; running again starts from the beginning")
        return
    if report.stopped:
        note(f"{interface.name}: stopped by {report.stopped}; the rest of the source was not read")
    totals.add(source, report.counts)


def outputs(
    chosen: RunOptions, append: bool, read: Iterable[Path]
) -> tuple[AbstractContextManager[Output], AbstractContextManager[Output]]:
    """Where records and dead letters go.

    Raises:
        ConfigError: there is no name to make the one for dead letters from, or one of the files is among those *read*.
    """
    output = chosen.output
    assert output is not None
    kind = chosen.dlq_sink or "file"
    if output.is_dir():
        raise ConfigError(f"output {output} is a folder; name a file in it", code="OUTPUT.NOT_A_FILE")
    if chosen.dlq is None and output.exists() and not output.is_file():
        message = f"output {output} is no file to name the dead letters after; add --dlq"
        raise ConfigError(message, code="OUTPUT.NOT_A_FILE")
    path = chosen.dlq or default_dead_letter_path(output, kind)
    if path.resolve() == output.resolve():
        message = f"records and dead letters would both go to {output}; name another --dlq"
        raise ConfigError(message, code="OUTPUT.SHARED")
    spare([output, path], read)
    if kind == "sqlite":
        sink = SINKS.get(kind)(SinkPlace(path=path, table=chosen.dlq_table))
        return file_output(output, append=append), sink_output(sink, path, new_run_id())
    return file_output(output, append=append), file_output(path, append=append)


@contextmanager
def live_line(name: str, wanted: bool) -> Iterator[LiveLine]:
    """A line of progress that is gone at the end."""
    live = LiveLine(name, wanted=wanted)
    try:
        yield live
    finally:
        live.clear()
