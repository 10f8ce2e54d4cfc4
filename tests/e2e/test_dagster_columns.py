"""The columns of a database table in Dagster, and a check that warns when they change."""

import dagster as dg

from rootsys_dagster.defs.build import build_definitions
from tests.conftest import ProjectFolder
from tests.databases import Postgres, shared


def run(project: ProjectFolder, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return build_definitions(project.root).resolve_job_def("events").execute_in_process(instance=instance)


def test_columns_are_shown_and_a_change_is_a_warning(project: ProjectFolder) -> None:
    server = shared(Postgres)
    server.execute("DROP TABLE IF EXISTS events", "CREATE TABLE events (id int, amount numeric(10,2), note text)")
    db = {"kind": "postgres", "connection": server.url, "table": "events"}
    project.interface("events", driver={"kind": "db", "db": db})
    with dg.instance_for_test() as instance:
        first = run(project, instance)
        schema = first.asset_materializations_for_node("events__line.publish")[0].metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchemaMetadataValue)
        assert [(column.name, column.type) for column in schema.schema.columns] == [
            ("id", "integer"),
            ("amount", "numeric"),
            ("note", "text"),
        ]
        assert check_of(first).passed
        server.execute("ALTER TABLE events DROP note, ALTER amount TYPE text, ADD line text")
        second = check_of(run(project, instance))
        assert not second.passed
        assert second.severity == dg.AssetCheckSeverity.WARN
        assert second.metadata["changes"].value == [
            "line text was added",
            "note text is gone",
            "amount was numeric and is text",
        ]
        assert check_of(run(project, instance)).passed


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    assert result.success
    return next(one for one in result.get_asset_check_evaluations() if one.check_name == "columns")
