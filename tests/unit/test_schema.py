"""The JSON Schemas: committed as generated, and apart from the loader exactly where the reference is."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from rootsys_dagster.core.errors import InvalidFileError
from rootsys_dagster.core.interface import parse_interface
from rootsys_dagster.core.schema import FOLDER, SCHEMAS, schema_text, write_schemas

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "interfaces"


def validator(name: str) -> Any:
    return jsonschema_rs.Draft202012Validator(json.loads((FOLDER / name).read_text()))


@pytest.fixture(scope="module")
def interface_schema() -> Any:
    return validator("interface.schema.json")


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_schema_is_what_the_models_say(name: str) -> None:
    committed = (FOLDER / name).read_text(encoding="utf-8")
    assert committed == schema_text(SCHEMAS[name]), "run: python -m rootsys_dagster.core.schema"


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_is_a_valid_schema_and_closed_at_every_level(name: str, tmp_path: Path) -> None:
    write_schemas(tmp_path)
    schema = json.loads((tmp_path / name).read_text())
    assert jsonschema_rs.meta.is_valid(schema)
    for part in (schema, *schema.get("$defs", {}).values()):
        assert part["additionalProperties"] is False


@pytest.mark.parametrize("path", sorted((FIXTURES / "valid").glob("*.json")), ids=lambda path: path.name)
def test_every_valid_fixture_passes_the_schema(interface_schema: Any, path: Path) -> None:
    interface_schema.validate(json.loads(path.read_text()))


@pytest.mark.parametrize("path", sorted((FIXTURES / "invalid").glob("*.json")), ids=lambda path: path.name)
def test_every_invalid_fixture_fails_the_schema(interface_schema: Any, path: Path) -> None:
    assert not interface_schema.is_valid(json.loads(path.read_text()))


@pytest.mark.parametrize("path", sorted((ROOT / "interfaces").glob("*.json")), ids=lambda path: path.name)
def test_the_files_of_this_project_pass_their_schema(path: Path) -> None:
    name = "fabric.schema.json" if path.name.endswith(".fabric.json") else "interface.schema.json"
    document = json.loads(path.read_text())
    validator(name).validate(document)
    assert (path.parent / document["$schema"]).resolve() == FOLDER / name


def interface(**members: Any) -> dict[str, Any]:
    return {"name": "mes", "version": "v1", "driver": {"kind": "jsonl"}, **members}


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def rest(**members: Any) -> dict[str, Any]:
    return interface(driver={"kind": "rest", "rest": {"url": "u", **members}})


def db(**members: Any) -> dict[str, Any]:
    return interface(driver={"kind": "db", "db": {"kind": "sqlite", "connection": "c", "query": "q", **members}})


def kafka(**members: Any) -> dict[str, Any]:
    block = {"brokers": ["b"], "topic": "t", "group_id": "g", "format": "json", "mvp_input": "x", **members}
    return interface(driver={"kind": "stream", "stream": {"source": "kafka", "kafka": block}})


API_KEY = {"kind": "api_key", "api_key": {"in": "header", "name": "X-Key", "value": "v"}}
OAUTH2_BLOCK = {"token_url": "u", "client_id": "c", "client_secret": "s"}
OAUTH2 = {"kind": "oauth2_client_credentials", "oauth2_client_credentials": OAUTH2_BLOCK}
PAGE = {"kind": "page", "page": {"page_param": "p", "page_size_param": "s", "page_size": 1}}
STREAM = kafka()["driver"]["stream"]

# Section 1.1 of the reference: each row is one input, the verdict of the schema and that of the loader.
DIFFERENT_VERDICTS = [
    ("no driver", without(interface(), "driver"), False, True),
    ("no driver.kind", interface(driver={"input": "x"}), False, True),
    ("no db.kind", interface(driver={"kind": "db", "db": {"connection": "c", "query": "q"}}), False, True),
    ("blank name", interface(name=" "), True, False),
    ("blank version", interface(version="\t"), True, False),
    ("blank url", rest(url=" "), True, False),
    ("blank query", db(query=" "), True, False),
    ("blank topic", kafka(topic=" "), True, False),
    ("blank broker", kafka(brokers=[" "]), True, False),
    ("pointer with a bad escape", interface(required_paths=["/a~2"]), True, False),
    ("pointer with a space behind", interface(record_id_paths=["/a "]), True, False),
    ("items_pointer with a bad escape", rest(items_pointer="/~"), True, False),
    ("kafka format unknown", kafka(format="unknown"), True, False),
    ("rest config under jsonl", interface(driver={"kind": "jsonl", "rest": {"url": "u"}}), True, False),
    ("input under rest", interface(driver={"kind": "rest", "rest": {"url": "u"}, "input": "x"}), True, False),
    ("input under db", interface(driver={**db()["driver"], "input": "x"}), True, False),
    ("input under stream", interface(driver={"kind": "stream", "stream": STREAM, "input": "x"}), True, False),
    ("rest config under db", interface(driver={**db()["driver"], "rest": {"url": "u"}}), True, False),
    ("static header of the api key", rest(auth=API_KEY, headers={"X-Key": "w"}), True, False),
    ("static header of oauth2", rest(auth=OAUTH2, headers={"Authorization": "w"}), True, False),
    ("min above max pool", db(kind="mysql", pool={"min_connections": 3, "max_connections": 2}), True, False),
    ("max below base delay", rest(retry={"base_delay_ms": 9, "max_delay_ms": 3}), True, False),
    ("TLS mode on mysql", db(kind="mysql", postgres_tls_mode="require"), True, False),
    ("pool on sqlite", db(pool={}), True, False),
    ("strict without id paths", interface(record_id_policy="strict"), True, False),
    ("auth kind without its block", rest(auth={"kind": "api_key"}), True, False),
    ("oauth2 without its block", rest(auth={"kind": "oauth2_client_credentials"}), True, False),
    ("pagination kind without its block", rest(pagination={"kind": "cursor"}), True, False),
    ("paging over text", rest(response_format="text", pagination=PAGE), True, False),
    ("paging over binary", rest(response_format="binary", pagination=PAGE), True, False),
    # Ours: a null stands for "not given" in a loaded file, and an editor should still say that it is odd.
    ("null for an optional member", interface(driver={"kind": "jsonl", "input": None}), False, True),
]

SAME_VERDICT = [
    ("the smallest", interface(), True),
    ("every kind of payload", interface(payload_format="binary"), True),
    ("rest", rest(), True),
    ("rest with a body", rest(method="PUT", body="", headers={"A": "b"}, timeout_ms=1), True),
    ("header of another case", rest(auth=API_KEY, headers={"x-key": "w"}), True),
    ("oauth2 with scope", rest(auth={**OAUTH2, "oauth2_client_credentials": {**OAUTH2_BLOCK, "scope": ""}}), True),
    ("jitter at both ends", rest(retry={"jitter_percent": 100}, circuit_breaker={}), True),
    ("TLS on postgres", db(kind="postgres", postgres_tls_mode="require", pool={}), True),
    ("live without mvp_input", interface(driver={"kind": "stream", "stream": {"source": "kafka", "kafka": without(
        {**STREAM["kafka"], "mode": "live", "checkpoint_file": "c"}, "mvp_input")}}), True),
    ("policies of our own", interface(on_fail="block", limits={"max_run_s": 1}, commit_every={"records": 1}), True),
    ("dead letters", interface(dead_letters={"kind": "sqlite", "table": "t", "budget": {"max_open": 0}}), True),
    ("about itself", interface(description="", owners=["team:a"], tags={"a": "b"}, asset="a", enabled=False), True),
    ("no name", without(interface(), "name"), False),
    ("no version", without(interface(), "version"), False),
    ("empty name", interface(name=""), False),
    ("unknown member", interface(colour="red"), False),
    ("unknown member of the driver", interface(driver={"kind": "jsonl", "colour": 1}), False),
    ("unknown member of a retry", rest(retry={"attempts": 1}), False),
    ("unknown kind", interface(driver={"kind": "ftp"}), False),
    ("unknown payload format", interface(payload_format="xml"), False),
    ("pointer without slash", interface(required_paths=["a"]), False),
    ("repeated pointer", interface(record_id_paths=["/a", "/a"]), False),
    ("rest without its block", interface(driver={"kind": "rest"}), False),
    ("db without its block", interface(driver={"kind": "db"}), False),
    ("stream without its block", interface(driver={"kind": "stream"}), False),
    ("rest without url", interface(driver={"kind": "rest", "rest": {}}), False),
    ("empty url", rest(url=""), False),
    ("timeout 0", rest(timeout_ms=0), False),
    ("timeout with a fraction", rest(timeout_ms=1.5), False),
    ("items_pointer without slash", rest(items_pointer="a"), False),
    ("number as header", rest(headers={"A": 1}), False),
    ("api key without place", rest(auth={"api_key": {"name": "n", "value": "v"}}), False),
    ("empty api key", rest(auth={"api_key": {"in": "query", "name": "n", "value": ""}}), False),
    ("oauth2 without secret", rest(auth={**OAUTH2, "oauth2_client_credentials": {"token_url": "u"}}), False),
    ("page size 0", rest(pagination={"kind": "page", "page": {**PAGE["page"], "page_size": 0}}), False),  # type: ignore[dict-item]
    ("cursor path without slash", rest(pagination={"cursor": {"cursor_param": "c", "cursor_path": "n"}}), False),
    ("attempts 0", rest(retry={"max_attempts": 0}), False),
    ("jitter 101", db(retry={"jitter_percent": 101}), False),
    ("jitter -1", db(retry={"jitter_percent": -1}), False),
    ("threshold 0", db(circuit_breaker={"failure_threshold": 0}), False),
    ("empty connection", db(connection=""), False),
    ("db without query", interface(driver={"kind": "db", "db": {"kind": "sqlite", "connection": "c"}}), False),
    ("pool of 0", db(kind="mysql", pool={"max_connections": 0}), False),
    ("no broker", kafka(brokers=[]), False),
    ("empty broker", kafka(brokers=[""]), False),
    ("stream without source", interface(driver={"kind": "stream", "stream": {"kafka": STREAM["kafka"]}}), False),
    ("stream without kafka", interface(driver={"kind": "stream", "stream": {"source": "kafka"}}), False),
    ("mvp without mvp_input", interface(driver={"kind": "stream", "stream": {"source": "kafka", "kafka": without(
        STREAM["kafka"], "mvp_input")}}), False),
    ("empty mvp_input", kafka(mvp_input=""), False),
    ("empty checkpoint_file", kafka(mode="live", checkpoint_file=""), False),
    ("batch of 0", kafka(max_batch_records=0), False),
    ("bad table", interface(dead_letters={"table": "dead letters"}), False),
    ("bad asset", interface(asset="a-b"), False),
    ("ratio above 1", interface(dead_letters={"budget": {"max_reject_ratio": 1.01}}), False),
    ("negative budget", interface(dead_letters={"budget": {"max_open": -1}}), False),
    ("limit of 0", interface(limits={"max_record_bytes": 0}), False),
    ("commit every 0", interface(commit_every={"seconds": 0}), False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "schema_accepts", "loader_accepts"),
    [pytest.param(document, schema, loader, id=name) for name, document, schema, loader in DIFFERENT_VERDICTS]
    + [pytest.param(document, verdict, verdict, id=name) for name, document, verdict in SAME_VERDICT],
)
def test_schema_and_loader_differ_exactly_where_the_reference_says(
    interface_schema: Any, document: dict[str, Any], schema_accepts: bool, loader_accepts: bool
) -> None:
    assert interface_schema.is_valid(document) is schema_accepts
    try:
        parse_interface(json.dumps(document).encode(), "interfaces/mes.json")
        loads = True
    except InvalidFileError:
        loads = False
    assert loads is loader_accepts
