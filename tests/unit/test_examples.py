import gzip
import json
import re
import tarfile
import tomllib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import jsonschema_rs
import pytest

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.project import load_project
from rootsys_dagster.examples import example_files, mes_rows, qms_rows, write_example_project

ROOT = Path(__file__).parents[2]
EARTHQUAKES = sorted((ROOT / "data" / "earthquakes").glob("*.jsonl.gz"))


def documented(table_row: str) -> list[int]:
    """The numbers in the first row of data/README.md that starts with *table_row*."""
    line = next(line for line in (ROOT / "data" / "README.md").read_text().splitlines() if line.startswith(table_row))
    return [int(cell.strip().replace(",", "")) for cell in line.split("|") if re.fullmatch(r" [\d,]+ ", cell)]


def events(path: Path) -> list[dict]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line]


def is_located(event: dict) -> bool:
    properties = event["properties"]
    figures = [properties[name] for name in ("time", "mag", "rms", "gap")]
    return None not in [event["id"], event["geometry"]["coordinates"][2], *figures]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(1, ("DEF-1001", "LOT-77", "EQ-02", "2026-02-14T09:01:00Z", "SCRATCH"), id="the first is row 1"),
        pytest.param(2, ("DEF-1002", "LOT-78", "EQ-03", "2026-02-14T09:02:00Z", "CRACK"), id="even rows are cracks"),
        pytest.param(12, ("DEF-1012", "LOT-88", "EQ-01", "2026-02-14T09:12:00Z", "CRACK"), id="equipment starts over"),
        pytest.param(60, ("DEF-1060", "LOT-136", "EQ-01", "2026-02-14T09:00:00Z", "CRACK"), id="minutes start over"),
    ],
)
def test_mes_rows_follow_the_reference(row: int, expected: tuple[str, ...]) -> None:
    last = list(mes_rows(row))[-1]
    assert list(last) == ["defect_id", "lot_id", "equipment_id", "occurred_at", "defect_code", "notes"]
    assert tuple(last.values())[:5] == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(1, ("CLAIM-9001", "DEF-1001", 2), id="the first is row 1"),
        pytest.param(5, ("CLAIM-9005", "DEF-1005", 1), id="severity starts over"),
    ],
)
def test_qms_rows_follow_the_reference(row: int, expected: tuple[str, str, int]) -> None:
    last = list(qms_rows(row))[-1]
    assert list(last) == ["claim_id", "defect_id", "severity", "description", "created_at"]
    assert tuple(last.values())[:3] == expected


def test_every_claim_is_about_a_defect_in_mes() -> None:
    assert {row["defect_id"] for row in qms_rows()} == {row["defect_id"] for row in mes_rows()}


@pytest.mark.parametrize(
    ("environment", "mes", "qms"),
    [
        pytest.param({}, 200, 200, id="200 unless told"),
        pytest.param({"ROOTSYS_MES_ROW_COUNT": "3", "ROOTSYS_QMS_ROW_COUNT": ""}, 3, 200, id="empty is unset"),
        pytest.param({"ROOTSYS_QMS_ROW_COUNT": "1000"}, 200, 1000, id="each for itself"),
    ],
)
def test_the_environment_sets_the_number_of_sample_rows(environment: dict[str, str], mes: int, qms: int) -> None:
    files = example_files(environment)
    assert (files["data/mes.jsonl"].count(b"\n"), files["data/qms.jsonl"].count(b"\n")) == (mes, qms)


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "many", "1_000", "٣", "1" * 5000])
def test_a_row_count_that_is_no_count_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match="ROOTSYS_MES_ROW_COUNT"):
        example_files({"ROOTSYS_MES_ROW_COUNT": text})


def test_the_repository_shows_exactly_what_init_writes() -> None:
    expected = example_files({})
    stale = [
        path.relative_to(ROOT).as_posix()
        for folder in ("interfaces", "contracts", "data")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.relative_to(ROOT).as_posix() not in expected
    ]
    different = [name for name, data in expected.items() if (ROOT / name).read_bytes() != data]
    assert (stale, different) == ([], []), "run: python examples/generate.py"


def test_a_new_folder_gets_the_whole_project(tmp_path: Path) -> None:
    written = write_example_project(tmp_path / "new" / "plant", environment={"ROOTSYS_MES_ROW_COUNT": "1"})
    assert {path.relative_to(tmp_path / "new" / "plant").as_posix() for path in written} == set(example_files({}))
    assert (tmp_path / "new" / "plant" / "data" / "mes.jsonl").read_text().count("DEF-1001") == 1


def test_a_file_in_the_way_stops_everything_before_the_first_write(tmp_path: Path) -> None:
    mine = tmp_path / "interfaces" / "qms.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=re.escape(str(mine))):
        write_example_project(tmp_path, environment={})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"

    write_example_project(tmp_path, environment={}, overwrite=True)
    assert json.loads(mine.read_text())["name"] == "qms"


def test_a_folder_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "interfaces").write_text("a file where a folder has to be")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_example_project(tmp_path, environment={})


def test_the_example_project_loads_without_a_problem(tmp_path: Path) -> None:
    write_example_project(tmp_path, environment={})
    project = load_project(tmp_path)
    entries = [*project.interfaces, *project.fabrics]
    assert [(str(entry.path), entry.problems) for entry in entries if entry.problems] == []
    assert sorted(e.interface.name for e in project.interfaces if e.interface) == [
        "earthquakes",
        "mes",
        "qms",
        "timezones",
        "zoneinfo",
    ]
    for entry in project.interfaces:
        assert entry.interface
        assert list(tmp_path.glob(entry.interface.driver.input or "")), entry.interface.driver.input


@pytest.mark.parametrize("path", sorted((ROOT / "interfaces").glob("*.json")), ids=lambda path: path.name)
def test_an_example_file_satisfies_the_schema_that_it_names(path: Path) -> None:
    document = json.loads(path.read_text())
    schema = json.loads((path.parent / document["$schema"]).read_text())
    assert [error.message for error in jsonschema_rs.validator_for(schema).iter_errors(document)] == []


@pytest.mark.parametrize("path", EARTHQUAKES, ids=lambda path: path.name)
def test_a_day_of_earthquakes_has_the_documented_counts(path: Path) -> None:
    day = events(path)
    located = sum(map(is_located, day))
    assert documented(f"| `{path.name}`") == [len(day), located, len(day) - located]
    assert {datetime.fromtimestamp(e["properties"]["time"] / 1000, UTC).date().isoformat() for e in day} == {
        path.name.removesuffix(".jsonl.gz")
    }


def test_the_week_of_earthquakes_has_the_documented_counts_and_reasons() -> None:
    week = [event for path in EARTHQUAKES for event in events(path)]
    located = sum(map(is_located, week))
    assert documented("| `earthquakes/") == [len(week), located, len(week) - located] == [1707, 1399, 308]
    assert len({event["id"] for event in week}) == len(week)
    missing = Counter(key for event in week for key in ("rms", "gap") if event["properties"][key] is None)
    assert missing == {"gap": 303, "rms": 5}


def test_the_text_and_binary_examples_have_the_documented_counts() -> None:
    lines = (ROOT / "data" / "tzdata" / "zone1970.tab").read_text().split("\n")
    assert documented("| `tzdata/zone1970") == [sum(bool(line.strip()) for line in lines)] * 2 + [0]
    assert (ROOT / "data" / "tzdata" / "Lisbon.tzif").read_bytes()[:4] == b"TZif"


def test_an_installed_package_carries_the_whole_example_project() -> None:
    package = ROOT / "rootsys_dagster"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    carried = {path for pattern in patterns["rootsys_dagster"] for path in package.glob(pattern)}
    left_out = [str(p.relative_to(package)) for p in (package / "examples" / "project").rglob("*") if p.is_file()]
    assert [name for name in left_out if package / name not in carried] == []


def test_the_json_parsing_corpus_is_complete() -> None:
    with tarfile.open(ROOT / "tests" / "fixtures" / "json_test_suite" / "test_parsing.tar.gz") as archive:
        names = archive.getnames()
    assert Counter(name[:2] for name in names) == {"y_": 95, "n_": 188, "i_": 35}
