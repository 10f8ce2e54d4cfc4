"""What ``rootsys run`` was asked for, and the driver that follows from it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import rootsys_dagster.drivers
import rootsys_dagster.sinks  # noqa: F401  (both register their plugins)
from rootsys_dagster.cli.output import warn
from rootsys_dagster.core.driver_config import FILE_KINDS, DriverConfig
from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.ports import Driver
from rootsys_dagster.core.project import Project
from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.pipeline.run import driver_context


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many runs, and the pause between two of them; none when there is only one."""

    runs: int
    interval_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of one command line, as typed. Source: spec/1-reference.md 1.13."""

    names: tuple[str, ...] = ()
    everything: bool = False
    group: str | None = None
    interface: Path | None = None
    output: Path | None = None
    input: str | None = None
    format: Literal["auto", "jsonl", "text", "binary"] = "auto"
    source: str | None = None
    contract_registry: Path | None = None
    dlq_sink: Literal["file", "sqlite"] | None = None
    dlq: Path | None = None
    dlq_table: str = "dead_letters"
    schedule: Schedule = Schedule(1, None)
    replay_dlq: Path | None = None
    replay_dlq_source: Literal["file", "sqlite"] = "file"
    replay_dlq_table: str = "dead_letters"
    enable_product_flow: bool = False
    product_output_dir: Path | None = None
    state_root: Path | None = None
    project: Path | None = None
    json_only: bool = False


def open_driver(
    interface: Interface, chosen: RunOptions, project: Project, *, stateless: bool = False
) -> Driver[DriverConfig]:
    """The driver of *interface*, or the file driver and the input that were asked for instead.

    Args:
        stateless: nothing is kept between runs. A last line without its line end is taken too, unless the interface
            file says otherwise: no later run will come for it.
    Raises:
        ConfigError: the interface is switched off, or no driver of its kind is part of this version.
    """
    if not interface.enabled:
        message = f'{interface.name} is switched off; set "enabled" to true to run it'
        raise ConfigError(message, code="INTERFACE.DISABLED")
    config, context = interface.driver, driver_context(interface, project)
    if chosen.format != "auto":
        config = config.model_copy(update={"kind": chosen.format})
    if chosen.input is not None:
        if config.kind in FILE_KINDS:
            config = config.model_copy(update={"input": chosen.input})
            # A path typed here is the user's own choice and starts where the user is.
            context = replace(context, root=Path.cwd(), data_roots=(Path("/"),))
        else:
            warn(f"--input is not used: {interface.name} is read by its {config.kind} driver", "RUN.INPUT_UNUSED")
    if stateless:
        context = replace(context, state_root=None)
        if config.kind in FILE_KINDS and "eof" not in config.model_fields_set:
            config = config.model_copy(update={"eof": "accept"})
    return DRIVERS.get(config.kind)(config, context)
