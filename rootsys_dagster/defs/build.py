"""A project folder as Dagster definitions: a file is an asset pair, a broken one says what is wrong."""

import gc
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import dagster as dg

from rootsys_dagster.core.connections import CONNECTIONS
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.order import upstream_of
from rootsys_dagster.core.project import FabricFile, InterfaceFile, Project, ProjectFile
from rootsys_dagster.defs.assets import SpecOf, interface_assets, interface_spec, why_not_executable
from rootsys_dagster.defs.broken import STATUS_TAG, broken_assets, broken_pair, broken_specs
from rootsys_dagster.defs.controls import controls_sensor
from rootsys_dagster.defs.fabric import fabric_assets
from rootsys_dagster.defs.freshness import lag_check
from rootsys_dagster.defs.groups import groups_of, member_op
from rootsys_dagster.defs.jobs import is_wanted, jobs
from rootsys_dagster.defs.ops import fetch_op_of
from rootsys_dagster.defs.pairs import AssetPair, Role, fabric_pair, interface_pair
from rootsys_dagster.defs.replay import replay_job, replayed_assets
from rootsys_dagster.defs.resources import Execute, current_project, resources
from rootsys_dagster.defs.scheduled import automation_sensor, eager, interface_schedules
from rootsys_dagster.defs.sensors import mirror_sensor, watch_of, watch_sensor
from rootsys_dagster.defs.sources import has_columns, source_spec
from rootsys_dagster.defs.windows import partitions_of
from rootsys_dagster.pipeline.run import run_fetched

VALIDATION_VARIABLE = "DAGSTER_IS_DEFS_VALIDATION_CLI"


@dataclass(slots=True)
class _Found:
    """What the files of a project come to."""

    assets: list[dg.AssetsDefinition | dg.AssetSpec] = field(default_factory=list)
    runnable: list[AssetPair] = field(default_factory=list)
    shown: list[AssetPair] = field(default_factory=list)
    """Not run from here, but their commits are."""
    broken: list[AssetPair] = field(default_factory=list)
    """Of files that cannot be used: their runs say why."""
    watched: dict[str, list[tuple[InterfaceFile | FabricFile, AssetPair]]] = field(default_factory=dict)
    """Runnable, and a sensor can tell cheaply whether there is something new: by the name of the sensor."""
    automated: list[dg.AssetKey] = field(default_factory=list)
    """Assets that run behind what they need."""
    sources: set[dg.AssetKey] = field(default_factory=set)
    checks: list[dg.AssetChecksDefinition] = field(default_factory=list)
    pairs: dict[Path, AssetPair] = field(default_factory=dict)
    """Of every file, for what is downstream of it and for the groups that it is in."""

    parents: dict[Path, list[dg.AssetKey]] = field(default_factory=dict)
    """What the assets of a file are made of."""

    def record_keys(self, files: Iterable[ProjectFile]) -> list[dg.AssetKey]:
        """The record assets of *files*."""
        return [self.pairs[file.path].keys["records"] for file in files]


def build_definitions(
    project: Project | Path | None = None,
    *,
    spec_of: SpecOf = interface_spec,
    execute: Execute = run_fetched,
    job_per_interface: bool | None = None,
) -> dg.Definitions:
    """Everything that Dagster knows of a project. Reads its files; opens no connection and needs no secret.

    Args:
        project: or its root folder; None looks for it as the command line does.
        spec_of: how one asset of an interface looks.
        execute: how what was fetched is normalised and committed.
        job_per_interface: None switches jobs per interface off above some hundreds.
    Raises:
        ConfigError: there is no project; or, while definitions are being validated, any file of it is broken.
    """
    with _nothing_to_collect():
        if not isinstance(project, Project):
            project = current_project(project)
        return _build(project, spec_of, execute, job_per_interface)


@contextmanager
def _nothing_to_collect() -> Generator[None]:
    """Everything that is made here stays: to look for garbage in it again and again takes a quarter of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _build(project: Project, spec_of: SpecOf, execute: Execute, job_per_interface: bool | None) -> dg.Definitions:
    _refuse_broken_files_when_validating(project)
    found = _Found()
    upstream = upstream_of([*project.interfaces, *project.fabrics])
    specs = {entry.path: _specs(project, entry, found, spec_of) for entry in project.interfaces if not entry.problems}
    for entry in project.fabrics:
        if not entry.problems:
            found.pairs[entry.path] = fabric_pair(entry.require())
    _add_broken_files(project, found)
    for entry in project.interfaces:
        if not entry.problems:
            _add_interface(entry, found, specs[entry.path], found.record_keys(upstream[entry.path]))
    for entry in project.fabrics:
        if not entry.problems:
            pair = found.pairs[entry.path]
            found.runnable.append(pair)
            found.automated += pair.keys.values() if entry.require().automation is not None else ()
            _watch(found, entry, pair)
            found.parents[entry.path] = found.record_keys(upstream[entry.path])
            found.assets.append(fabric_assets(project, entry, pair, found.parents[entry.path]))
    sensors = [mirror_sensor(project, found.runnable + found.shown)] if found.runnable or found.shown else []
    sensors += [controls_sensor(project, found.runnable + found.shown)] if sensors else []
    sensors += [watch_sensor(name, project, watched) for name, watched in found.watched.items()]
    interfaces = [pair for pair in found.runnable if "dead_letters" in pair.keys]
    replays = [replayed_assets(interfaces)] if interfaces and is_wanted(job_per_interface, interfaces) else []
    replay_jobs = [replay_job(interfaces)] if interfaces else []
    asset_jobs = jobs(found.runnable + found.broken, job_per_interface)
    member = member_op(found.pairs, found.parents)
    groups = groups_of(project, member, {job.name for job in asset_jobs})
    taken = {job.name for job in (*asset_jobs, *groups.jobs)}
    window_jobs, schedules = interface_schedules(project, found.pairs, member, taken)
    if found.automated:
        sensors.append(automation_sensor(found.automated))
    return dg.Definitions(
        assets=[*found.assets, *replays],
        asset_checks=found.checks,
        jobs=[
            *asset_jobs,
            *replay_jobs,
            *groups.jobs,
            *window_jobs,
        ],
        schedules=[*groups.schedules, *schedules],
        sensors=[*sensors, *groups.sensors],
        resources=resources(project, execute),
        # A step costs some milliseconds instead of a process; runs, not steps, are what works in parallel.
        executor=dg.in_process_executor,
    )


def _specs(project: Project, entry: InterfaceFile, found: _Found, spec_of: SpecOf) -> dict[Role, dg.AssetSpec]:
    interface = entry.require()
    pair = interface_pair(interface)
    specs: dict[Role, dg.AssetSpec] = {role: spec_of(project, entry, pair, role) for role in pair.keys}
    keys = {role: spec.key for role, spec in specs.items()}
    found.pairs[entry.path] = replace(pair, keys=keys, partitions=partitions_of(interface))
    return specs


def _add_interface(
    entry: InterfaceFile, found: _Found, specs: Mapping[Role, dg.AssetSpec], upstream: Sequence[dg.AssetKey]
) -> None:
    interface, pair = entry.require(), found.pairs[entry.path]
    if upstream:
        condition = eager(upstream) if interface.automation is not None else None
        specs = {
            role: spec.replace_attributes(deps=[*spec.deps, *upstream], automation_condition=condition)
            for role, spec in specs.items()
        }
    source = source_spec(interface)
    if source.key not in found.sources:
        found.sources.add(source.key)
        found.assets.append(source)
    reason = why_not_executable(interface)
    if reason is None:
        found.assets.append(interface_assets(fetch_op_of(interface), pair, specs, with_columns=has_columns(interface)))
        found.parents[entry.path] = [dep.asset_key for dep in specs["records"].deps]
        found.runnable.append(pair)
        found.automated += pair.keys.values() if interface.automation is not None else ()
        _watch(found, entry, pair)
        if check := lag_check(entry, pair):
            found.checks.append(check)
    else:
        found.assets += [_not_executable(spec, reason) for spec in specs.values()]
        found.shown.append(pair)


def _watch(found: _Found, entry: InterfaceFile | FabricFile, pair: AssetPair) -> None:
    if name := watch_of(entry):
        found.watched.setdefault(name, []).append((entry, pair))


def _not_executable(spec: dg.AssetSpec, reason: str) -> dg.AssetSpec:
    return spec.replace_attributes(
        description=f"{reason}. {spec.description or ''}".strip(), tags={**spec.tags, STATUS_TAG: "not-executable"}
    )


def _add_broken_files(project: Project, found: _Found) -> None:
    """After the good files: a broken one never takes the place of a good one."""
    taken = {key for pair in found.pairs.values() for key in pair.keys.values()}
    nodes = {pair.node for pair in found.pairs.values()}
    for entry in (*project.interfaces, *project.fabrics):
        if entry.problems:
            pair = broken_pair(entry, taken, nodes)
            taken.update(pair.keys.values())
            nodes.add(pair.node)
            found.pairs[entry.path] = pair
            if isinstance(entry, InterfaceFile) and entry.interface is not None and not entry.interface.enabled:
                # Nobody wants it to run, so nothing has to turn red for it.
                found.assets += broken_specs(project, entry, pair).values()
            else:
                found.broken.append(pair)
                found.assets.append(broken_assets(project, entry, pair))


def _refuse_broken_files_when_validating(project: Project) -> None:
    if os.environ.get(VALIDATION_VARIABLE) != "1":
        return
    found = {entry.path: entry.problems for entry in (*project.interfaces, *project.fabrics, *project.groups)}
    found[project.root / CONNECTIONS] = project.connections.problems
    lines = [f"{path}: {problem}" for path, problems in found.items() for problem in problems]
    if lines:
        count = sum(map(bool, found.values()))
        raise ConfigError("\n".join([f"{count} of the project's files cannot be used", *lines]))
