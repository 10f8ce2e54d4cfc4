"""Record rules: all that is wrong with a unit is said at once, and the short way through agrees with the long one."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_normalise import NOW, batch_of, interface, lines, normaliser, pairs

from rootsys_dagster.core.errors import InvalidFileError
from rootsys_dagster.core.interface import parse_interface
from rootsys_dagster.core.project_file import read_interface_file
from rootsys_dagster.pipeline.exact_json import parse
from rootsys_dagster.pipeline.normalise import BlockedError, Normaliser
from rootsys_dagster.pipeline.rules import RuleBook


def broken(payload: bytes, *rules: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Codes and pointers of the dead letter that *payload* becomes; nothing when it is a record."""
    out = normaliser(rules=list(rules)).normalise(batch_of([payload]))
    assert out.counts.accepted + out.counts.dead_letters == 1
    return [pair for line in lines(out.dead_letters) for pair in pairs(json.loads(line)["errors"])]


@pytest.mark.parametrize(
    ("payload", "rule", "codes"),
    [
        pytest.param(b'{"a": null}', {"not_null": True}, ["RULE_NOT_NULL"], id="null is not there"),
        pytest.param(b"{}", {"not_null": True}, ["RULE_NOT_NULL"], id="absent is not there"),
        pytest.param(b"{}", {"type": "string"}, [], id="absent has no type"),
        pytest.param(b'{"a": null}', {"type": "string"}, [], id="nor has null"),
        pytest.param(b'{"a": "1"}', {"type": "number"}, ["RULE_TYPE"], id="a digit in quotes"),
        pytest.param(b'{"a": true}', {"type": "integer"}, ["RULE_TYPE"], id="true is no integer"),
        pytest.param(b'{"a": 1.0}', {"type": "integer"}, [], id="1.0 is one"),
        pytest.param(b'{"a": 123456789012345678901234567890}', {"type": "integer"}, [], id="beyond 64 bits"),
        pytest.param(b'{"a": 2}', {"enum": [1, "2"]}, ["RULE_ENUM"], id="not listed"),
        pytest.param(b'{"a": 1.0}', {"enum": [1]}, [], id="equal numbers"),
        pytest.param(b'{"a": "xLOT-1"}', {"pattern": "^LOT-[0-9]+$"}, ["RULE_PATTERN"], id="anchored"),
        pytest.param(b'{"a": 60.0}', {"range": {"max": 60}}, [], id="the bound itself"),
        pytest.param(b'{"a": 0.10000000000000000000001}', {"range": {"max": 0.1}}, ["RULE_RANGE"], id="every digit"),
        pytest.param(b'{"a": 1e999999999}', {"range": {"max": 5}}, ["RULE_RANGE"], id="a huge exponent"),
        pytest.param(b'{"a": 1e99999999999999999999}', {"range": {"max": 5}}, ["RULE_RANGE"], id="beyond decimals"),
        pytest.param(b'{"a": "ab"}', {"length": {"min": 3}}, ["RULE_LENGTH"], id="characters"),
        pytest.param('{"a": "äöü"}'.encode(), {"length": {"max": 3}}, [], id="characters and not bytes"),
        pytest.param(b'{"a": [1, 2]}', {"length": {"max": 1}}, ["RULE_LENGTH"], id="items"),
        pytest.param(
            b'{"a": "b"}',
            {"type": "number", "enum": ["c"], "length": {"min": 2}},
            ["RULE_TYPE", "RULE_ENUM", "RULE_LENGTH"],
            id="all of one rule",
        ),
    ],
)
def test_a_condition_means_what_it_says(payload: bytes, rule: dict[str, Any], codes: list[str]) -> None:
    assert sorted(broken(payload, {"pointer": "/a", **rule})) == sorted((code, "/a") for code in codes)


def test_all_violations_of_a_unit_are_reported_with_their_places() -> None:
    out = normaliser(
        required_paths=["/id", "/at"],
        rules=[
            {"pointer": "/temp", "range": {"min": -50, "max": 60}},
            {"pointer": "/state", "enum": ["ok"]},
            {
                "schema": {
                    "required": ["line"],
                    "properties": {"items": {"items": {"required": ["a/b"], "properties": {"n": {"type": "number"}}}}},
                }
            },
        ],
    ).normalise(batch_of([b'{"id": 1, "temp": 61, "state": "odd", "items": [{"n": "x"}, {"a/b": 1}]}']))
    letter = json.loads(out.dead_letters)
    assert sorted(pairs(letter["errors"])) == [
        ("MISSING_REQUIRED_PATH", "/at"),
        ("RULE_ENUM", "/state"),
        ("RULE_RANGE", "/temp"),
        ("RULE_SCHEMA", "/items/0/a~1b"),
        ("RULE_SCHEMA", "/items/0/n"),
        ("RULE_SCHEMA", "/line"),
    ]
    assert letter["reason_codes"] == ["MISSING_REQUIRED_PATH", "RULE_RANGE", "RULE_ENUM", "RULE_SCHEMA"]
    # What the payload holds stays in the payload.
    assert "odd" not in json.dumps(letter["errors"])


def test_two_missing_paths_are_one_reason() -> None:
    """RS-41."""
    letter = json.loads(normaliser(required_paths=["/a", "/b"]).normalise(batch_of([b"{}"])).dead_letters)
    assert letter["reason_codes"] == ["MISSING_REQUIRED_PATH"]
    assert [error["path"] for error in letter["errors"]] == ["/a", "/b"]


def test_strict_without_an_id_is_a_dead_letter_with_its_lineage() -> None:
    """RS-40."""
    out = normaliser(record_id_paths=["/id"], record_id_policy="strict").normalise(batch_of([b"{}"]))
    letter = json.loads(out.dead_letters)
    assert (out.records, letter["reason_codes"]) == (b"", ["RECORD_ID_STRICT_PATHS_UNRESOLVED"])
    lineage = letter["lineage"]
    stage = [lineage[name] for name in ("pipeline_stage", "driver_kind", "record_id_policy")]
    assert stage == ["integration", "jsonl", "strict"]


def test_unique_means_within_one_commit() -> None:
    line = normaliser(record_id_paths=["/id"], rules=[{"pointer": "/id", "unique": True}])
    first = line.normalise(batch_of([b'{"id": 1}', b'{"id": 2}', b'{"id": 1.0}', b'{"id": 1}']))
    assert (first.counts.accepted, first.counts.reasons) == (3, {"RULE_UNIQUE": 1})
    assert line.normalise(batch_of([b'{"id": 2}'])).counts.reasons == {"RULE_UNIQUE": 1}
    line.committed()
    assert line.normalise(batch_of([b'{"id": 2}'])).counts.accepted == 1


def test_a_rejected_unit_takes_no_unique_value() -> None:
    line = normaliser(required_paths=["/a"], rules=[{"pointer": "/id", "unique": True}])
    assert line.normalise(batch_of([b'{"id": 1}', b'{"id": 1, "a": 1}'])).counts.accepted == 1


def test_each_rule_may_say_what_becomes_of_a_unit_and_the_strictest_wins() -> None:
    warn = {"pointer": "/a", "type": "string", "on_fail": "warn"}
    skip = {"pointer": "/b", "type": "string", "on_fail": "skip"}
    block = {"pointer": "/c", "type": "string", "on_fail": "block"}
    line = normaliser(rules=[warn, skip, block, {"pointer": "/d", "type": "string"}])
    out = line.normalise(batch_of([b'{"a": 1}', b'{"a": 1, "b": 1}', b'{"a": 1, "b": 1, "d": 1}']))
    assert (out.counts.accepted, out.counts.skipped, out.counts.dead_letters) == (1, {"RULE_TYPE": 1}, 1)
    assert pairs(json.loads(out.records)["warnings"]) == [("RULE_TYPE", "/a")]
    with pytest.raises(BlockedError, match="RULE_TYPE at /c"):
        line.normalise(batch_of([b'{"c": 1, "d": 1}']))


def test_a_payload_that_is_no_json_is_accepted_with_a_warning_as_with_paths() -> None:
    line = normaliser(rules=[{"pointer": "/a", "not_null": True}])
    out = line.normalise(batch_of([b"free text"], kind="text"))
    assert pairs(json.loads(out.records)["warnings"]) == [("PATHS_IGNORED_FOR_NON_JSON", None)]


RULES = [
    {"pointer": "/a", "type": "number", "range": {"min": 0.1, "max": 1e15}},
    {"pointer": "/b", "enum": [1, 0.1, "x", True], "on_fail": "skip"},
    {"pointer": "/a/0", "not_null": True},
    {"pointer": "/b", "schema": {"multipleOf": 0.1, "maxLength": 2}},
]
NUMBERS = st.one_of(
    st.integers(-(10**18), 10**18).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    st.from_regex(r"-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
)
VALUES = st.one_of(NUMBERS, st.sampled_from(["null", "true", '"x"', '"xyz"', "[]", "[1]", "[0.1, null]", "{}"]))


@given(st.lists(st.tuples(VALUES, VALUES), max_size=6))
def test_what_surely_holds_holds_exactly(values: list[tuple[str, str]]) -> None:
    book = RuleBook(interface(rules=RULES).rules)
    units = [f'{{"a":{a},"b":{b}}}'.encode() for a, b in values]
    for unit, holds in zip(units, book.surely_hold(units), strict=True):
        if holds:
            assert book.violations(parse(unit)) == []


@given(st.lists(st.tuples(VALUES, VALUES), max_size=6))
def test_every_unit_has_one_outcome_under_rules(values: list[tuple[str, str]]) -> None:
    units = [f'{{"a":{a},"b":{b}}}'.encode() for a, b in values]
    out = normaliser(rules=RULES, record_id_paths=["/b"]).normalise(batch_of(units))
    out.counts.check_conservation()
    assert out.counts.fetched == len(units)
    one_by_one = [normaliser(rules=RULES, record_id_paths=["/b"]).normalise(batch_of([unit])) for unit in units]
    assert out.counts.accepted == sum(one.counts.accepted for one in one_by_one)


def test_a_replay_can_ask_that_nothing_stops_it() -> None:
    strict = interface(on_fail="block", rules=[{"pointer": "/a", "not_null": True, "on_fail": "block"}])
    out = Normaliser(strict, "mes", lambda: NOW, on_fail="quarantine").normalise(batch_of([b"{}"]))
    assert out.counts.dead_letters == 1


@pytest.mark.parametrize(
    ("members", "code", "pointer"),
    [
        ({"rules": [{"pointer": "a", "type": "string"}]}, "JSON_POINTER_INVALID", "/rules/0/pointer"),
        ({"rules": [{"pointer": "/a", "range": {"min": 2, "max": 1}}]}, "RULE_RANGE_INVALID", "/rules/0/range"),
        ({"rules": [{"pointer": "/a", "pattern": "(?=a)"}]}, "RULE_PATTERN_INVALID", "/rules/0/pattern"),
        ({"rules": [{"schema": {"$ref": "http://127.0.0.1:9/x"}}]}, "RULE_SCHEMA_INVALID", "/rules/0/schema"),
        ({"rules": [{"pointer": "/a", "type": "text"}]}, "FILE_VALUE_INVALID", "/rules/0/type"),
    ],
)
def test_every_problem_of_a_rule_has_its_code_and_place(members: dict[str, Any], code: str, pointer: str) -> None:
    document = {"name": "mes", "version": "v1", "driver": {"kind": "jsonl", "input": "a"}, **members}
    with pytest.raises(InvalidFileError) as caught:
        parse_interface(json.dumps(document).encode(), "mes.json")
    assert [(one.code, one.pointer) for one in caught.value.problems] == [(code, pointer)]


def contract(folder: Path, document: Any) -> Path:
    for name in ("interfaces", "contracts"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "contracts" / "orders@v1.2.json").write_text(json.dumps(document))
    members = {"name": "mes", "version": "v1", "driver": {"kind": "jsonl", "input": "a"}}
    path = folder / "interfaces" / "mes.json"
    path.write_text(json.dumps(members | {"schema_ref": "contracts/orders@v1.2", "rules": [{"schema": {}}]}))
    return path


def test_a_contract_binds_its_rules_and_its_hash(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["id"]}
    path = contract(tmp_path, {"schema": schema, "rules": [{"pointer": "/id", "type": "string"}]})
    for root in (tmp_path, None):
        entry = read_interface_file(path, root)
        assert [rule.pointer for rule in entry.require().rules] == [None, None, "/id"]
    before = entry.contract_sha256
    contract(tmp_path, {"schema": schema})
    assert before
    assert read_interface_file(path, tmp_path).contract_sha256 not in (None, before)


@pytest.mark.parametrize(
    ("document", "code"),
    [({}, "CONTRACT_EMPTY"), ({"rule": []}, "FILE_MEMBER_UNKNOWN"), ({"schema": {"type": 1}}, "RULE_SCHEMA_INVALID")],
)
def test_the_problems_of_a_contract_are_problems_of_its_interfaces(tmp_path: Path, document: Any, code: str) -> None:
    entry = read_interface_file(contract(tmp_path, document), tmp_path)
    assert code in [one.code for one in entry.problems]
    assert {one.pointer for one in entry.problems} == {"/schema_ref"}
    (tmp_path / "contracts" / "orders@v1.2.json").unlink()
    assert [one.code for one in read_interface_file(entry.path, tmp_path).problems] == ["FILE_UNREADABLE"]
