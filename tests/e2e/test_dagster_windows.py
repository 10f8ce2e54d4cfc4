"""An interface that is read by windows, as time partitions: one, several at once, and a run that names none."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from rootsys_dagster.core.incremental import parse_instant
from rootsys_dagster.defs.build import build_definitions
from rootsys_dagster.defs.windows import cron_of, partitions_of
from tests.command import rootsys
from tests.conftest import ProjectFolder
from tests.services import dagster, dagster_home

SELECT = ("--select", "mes,mes_dead_letters")


@pytest.fixture
def home(project: ProjectFolder) -> ProjectFolder:
    """A row every twenty minutes of one day, and windows of an hour."""
    with closing(sqlite3.connect(project.root / "data" / "s.db")) as connection, connection:
        connection.execute("CREATE TABLE t (id integer PRIMARY KEY, at text)")
        begin = datetime(2026, 1, 1, tzinfo=UTC)
        rows = [(n, (begin + timedelta(minutes=20 * n)).isoformat().replace("+00:00", "Z")) for n in range(72)]
        connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
    window_interface(project)
    dagster_home(project.root)
    return project


def window_interface(project: ProjectFolder, step: str = "PT1H") -> None:
    db = {"kind": "sqlite", "connection": "data/s.db", "table": "t"}
    incremental = {"field": "at", "mode": "window", "start": "2026-01-01T00:00:00Z", "step": step}
    project.interface("mes", driver={"kind": "db", "db": db}, incremental=incremental, record_id_paths=["/id"])


def materialize(home: ProjectFolder, instance: dg.DagsterInstance, partition: str) -> None:
    job = build_definitions(home.root).resolve_job_def("mes")
    assert job.execute_in_process(instance=instance, partition_key=partition).success


def ids(home: ProjectFolder) -> list[int]:
    return [record["payload"]["data"]["id"] for record in home.records()]


def test_a_partition_is_a_window_and_read_again_it_adds_nothing(home: ProjectFolder) -> None:
    with dg.instance_for_test() as instance:
        materialize(home, instance, "2026-01-01T02:00:00Z")
        assert ids(home) == [6, 7, 8]
        materialize(home, instance, "2026-01-01T01:00:00Z")
        materialize(home, instance, "2026-01-01T02:00:00Z")
        assert ids(home) == [6, 7, 8, 3, 4, 5]
        done = instance.get_materialized_partitions(dg.AssetKey("mes"))
    assert done == {"2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"}


def test_a_range_of_partitions_is_one_run_and_one_question(home: ProjectFolder) -> None:
    named = ("--partition-range", "2026-01-01T00:00:00Z...2026-01-01T05:00:00Z")
    done = dagster(home.root, "asset", "materialize", "-m", "rootsys_dagster.definitions", *SELECT, *named)
    assert done.returncode == 0, done.stderr
    assert ids(home) == list(range(18))
    assert home.log().last_seq() == 1


def test_a_run_that_names_no_window_is_refused(home: ProjectFolder) -> None:
    definitions = build_definitions(home.root)
    job = definitions.resolve_job_def("mes")
    result = job.execute_in_process(raise_on_error=False)
    assert not result.success
    assert home.records() == []


def test_the_command_line_reads_every_window_that_is_due_and_dagster_hears_of_each(home: ProjectFolder) -> None:
    # Long windows: there is one for each step until now.
    window_interface(home, "P7D")
    assert rootsys("run", "mes", cwd=home.root).returncode == 0
    assert sorted(ids(home)) == list(range(72))
    definitions = build_definitions(home.root)
    sensor = definitions.resolve_sensor_def("mirror")
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance, definitions=definitions)
        sensor.evaluate_tick(context)
        done = instance.get_materialized_partitions(dg.AssetKey("mes"))
    assert "2026-01-01T00:00:00Z" in done
    assert len(done) > 40
    assert rootsys("run", "mes", cwd=home.root).returncode == 0
    assert len(ids(home)) == 72


@pytest.mark.parametrize(
    ("step", "start", "schedule"),
    [
        (timedelta(minutes=15), "2026-01-01T00:05:00Z", "5,20,35,50 * * * *"),
        (timedelta(hours=1), "2026-01-01T00:30:00Z", "30 " + ",".join(map(str, range(24))) + " * * *"),
        (timedelta(hours=6), "2026-01-01T02:00:00Z", "0 2,8,14,20 * * *"),
        (timedelta(days=1), "2026-01-01T06:30:00Z", "30 6 * * *"),
        (timedelta(days=7), "2026-01-01T00:00:00Z", "0 0 * * 4"),
        (timedelta(hours=7), "2026-01-01T00:00:00Z", None),
        (timedelta(hours=1), "2026-01-01T00:00:30Z", None),
    ],
)
def test_a_step_is_a_schedule_where_a_calendar_has_it(step: timedelta, start: str, schedule: str | None) -> None:
    moment = parse_instant(start)
    assert moment is not None
    assert cron_of(step, moment) == schedule
    if schedule is not None:
        partitions = dg.TimeWindowPartitionsDefinition(start=moment, fmt="%Y-%m-%dT%H:%M:%SZ", cron_schedule=schedule)
        windows = [partitions.time_window_for_partition_key(key) for key in partitions.get_partition_keys()[:5]]
        assert [(one.start, one.end) for one in windows] == [
            (moment + n * step, moment + (n + 1) * step) for n in range(5)
        ]


def test_windows_within_the_lateness_are_no_partitions_yet(home: ProjectFolder) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=10)
    db = {"kind": "sqlite", "connection": "data/s.db", "table": "t"}
    place = {"field": "at", "mode": "window", "start": start.isoformat(), "step": "PT1H", "lateness_s": 5400}
    home.interface("mes", driver={"kind": "db", "db": db}, incremental=place)
    partitions = partitions_of(home.load().interface("mes").require())
    assert partitions is not None
    assert len(partitions.get_partition_keys()) == 8


def test_the_sensor_asks_for_the_windows_that_wait_and_again_only_for_more(home: ProjectFolder) -> None:
    window_interface(home, "P7D")
    sensor = build_definitions(home.root).resolve_sensor_def("new_windows")
    with dg.instance_for_test() as instance:

        def tick(cursor: str | None = None) -> dg.SensorResult:
            result = sensor(dg.build_sensor_context(instance=instance, cursor=cursor))
            assert isinstance(result, dg.SensorResult)
            return result

        first = tick()
        [request] = first.run_requests or []
        assert not tick(first.cursor).run_requests
        named = [request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")]
        assert named[0] == "2026-01-01T00:00:00Z"
        partitions = ("--partition-range", "...".join(named))
        done = dagster(home.root, "asset", "materialize", "-m", "rootsys_dagster.definitions", *SELECT, *partitions)
        assert done.returncode == 0, done.stderr
        assert not tick(first.cursor).run_requests
    assert sorted(ids(home)) == list(range(72))
