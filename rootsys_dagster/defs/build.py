"""A project folder as Dagster definitions: a file is an asset pair, a broken one says what is wrong."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import dagster as dg

from rootsys_dagster.core.connections import CONNECTIONS
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.project import FabricFile, InterfaceFile, Project
from rootsys_dagster.defs.assets import SpecOf, interface_assets, interface_spec, why_not_executable
from rootsys_dagster.defs.broken import STATUS_TAG, broken_assets, broken_pair, broken_specs
from rootsys_dagster.defs.controls import controls_sensor
from rootsys_dagster.defs.fabric import fabric_assets
from rootsys_dagster.defs.freshness import lag_check
from rootsys_dagster.defs.jobs import is_wanted, jobs
from rootsys_dagster.defs.ops import fetch_op_of
from rootsys_dagster.defs.pairs import AssetPair, Role, fabric_pair, interface_pair
from rootsys_dagster.defs.replay import replay_job, replayed_assets
from rootsys_dagster.defs.resources import Execute, current_project, resources
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
    sources: set[dg.AssetKey] = field(default_factory=set)
    checks: list[dg.AssetChecksDefinition] = field(default_factory=list)
    record_keys: dict[Path, dg.AssetKey] = field(default_factory=dict)
    """By file, for the fabrics downstream."""


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
    if not isinstance(project, Project):
        project = current_project(project)
    _refuse_broken_files_when_validating(project)
    found = _Found()
    for entry in project.interfaces:
        if not entry.problems:
            _add_interface(project, entry, found, spec_of)
    _add_broken_files(project, found)
    for entry in project.fabrics:
        if not entry.problems:
            pair = fabric_pair(entry.require())
            found.record_keys[entry.path] = pair.keys["records"]
    for entry in project.fabrics:
        if not entry.problems:
            inputs = [found.record_keys[file.path] for file in project.inputs(entry)]
            pair = fabric_pair(entry.require())
            found.runnable.append(pair)
            _watch(found, entry, pair)
            found.assets.append(fabric_assets(project, entry, pair, inputs))
    sensors = [mirror_sensor(project, found.runnable + found.shown)] if found.runnable or found.shown else []
    sensors += [controls_sensor(project, found.runnable + found.shown)] if sensors else []
    sensors += [watch_sensor(name, project, watched) for name, watched in found.watched.items()]
    interfaces = [pair for pair in found.runnable if "dead_letters" in pair.keys]
    replays = [replayed_assets(interfaces)] if interfaces and is_wanted(job_per_interface, interfaces) else []
    replay_jobs = [replay_job(interfaces)] if interfaces else []
    return dg.Definitions(
        assets=[*found.assets, *replays],
        asset_checks=found.checks,
        jobs=[
            *jobs(found.runnable + found.broken, job_per_interface),
            *replay_jobs,
        ],
        sensors=sensors,
        resources=resources(project, execute),
        # A step costs some milliseconds instead of a process; runs, not steps, are what works in parallel.
        executor=dg.in_process_executor,
    )


def _add_interface(project: Project, entry: InterfaceFile, found: _Found, spec_of: SpecOf) -> None:
    interface = entry.require()
    pair = interface_pair(interface)
    specs: dict[Role, dg.AssetSpec] = {role: spec_of(project, entry, pair, role) for role in pair.keys}
    pair = replace(pair, keys={role: spec.key for role, spec in specs.items()}, partitions=partitions_of(interface))
    found.record_keys[entry.path] = pair.keys["records"]
    source = source_spec(interface)
    if source.key not in found.sources:
        found.sources.add(source.key)
        found.assets.append(source)
    reason = why_not_executable(interface)
    if reason is None:
        found.assets.append(interface_assets(fetch_op_of(interface), pair, specs, with_columns=has_columns(interface)))
        found.runnable.append(pair)
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
    """After the good interfaces: a broken file never takes the place of a good one."""
    good = [*found.runnable, *found.shown]
    good += [fabric_pair(file.require()) for file in project.fabrics if not file.problems]
    taken = {key for pair in good for key in pair.keys.values()}
    nodes = {pair.node for pair in good}
    for entry in (*project.interfaces, *project.fabrics):
        if entry.problems:
            pair = broken_pair(entry, taken, nodes)
            taken.update(pair.keys.values())
            nodes.add(pair.node)
            found.record_keys[entry.path] = pair.keys["records"]
            if isinstance(entry, InterfaceFile) and entry.interface is not None and not entry.interface.enabled:
                # Nobody wants it to run, so nothing has to turn red for it.
                found.assets += broken_specs(project, entry, pair).values()
            else:
                found.broken.append(pair)
                found.assets.append(broken_assets(project, entry, pair))


def _refuse_broken_files_when_validating(project: Project) -> None:
    if os.environ.get(VALIDATION_VARIABLE) != "1":
        return
    found = {entry.path: entry.problems for entry in (*project.interfaces, *project.fabrics)}
    found[project.root / CONNECTIONS] = project.connections.problems
    lines = [f"{path}: {problem}" for path, problems in found.items() for problem in problems]
    if lines:
        count = sum(map(bool, found.values()))
        raise ConfigError("\n".join([f"{count} of the project's files cannot be used", *lines]))
