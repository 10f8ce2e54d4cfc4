"""What an interface file has the wrong shape of: the codes that come before any rule, and that they hide no rule."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from rootsys_dagster.core.config import MAX_PROBLEMS
from rootsys_dagster.core.document import MAX_FILE_BYTES
from rootsys_dagster.core.errors import ConfigError, InvalidFileError
from rootsys_dagster.core.interface import parse_interface


def failure(text: str | bytes) -> InvalidFileError:
    with pytest.raises(InvalidFileError) as caught:
        parse_interface(text if isinstance(text, bytes) else text.encode(), "interfaces/mes.json")
    return caught.value


def findings(text: str | bytes) -> list[tuple[str, str]]:
    return [(problem.code, problem.pointer) for problem in failure(text).problems]


def mes(members: str) -> str:
    return '{"name": "mes", "version": "v1", ' + members + "}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(b"", "is empty; it must hold one JSON object", id="empty"),
        pytest.param(b" \n\t ", "is empty; it must hold one JSON object", id="blank"),
        pytest.param(b"\xef\xbb\xbf{}", "starts with a byte order mark; save it as UTF-8 without one", id="BOM"),
        pytest.param(b"\xff\xfe{\x00", "is not JSON: expected value at line 1 column 1", id="UTF-16"),
        pytest.param(b'{\n  "name": "m",\n}', "is not JSON: trailing comma at line 3 column 1", id="trailing comma"),
        pytest.param(b'{"name": NaN}', "is not JSON: expected value at line 1 column 10", id="NaN"),
        pytest.param(b'{"name": "\\ud800"}', "is not JSON: unexpected end of hex escape", id="lone surrogate"),
        pytest.param(b'{"name": "a\x00b"}', "is not JSON: control character", id="NUL"),
        pytest.param(
            b'{"name": "\xff"}', "is not JSON: invalid unicode code point at line 1 column 11", id="not UTF-8"
        ),
        pytest.param(b"{} {}", "is not JSON: trailing characters at line 1 column 4", id="two documents"),
        pytest.param(b"// note\n{}", "is not JSON: expected value at line 1 column 1", id="comment"),
        pytest.param(b"[" * 100_000, "is not JSON: recursion limit exceeded at line 1 column 202", id="deep nesting"),
        pytest.param(b'{"a": ' + b"1" * 5000 + b"}", "is not JSON: number out of range", id="5000 digits"),
    ],
)
def test_what_is_no_json_is_one_problem_of_the_file_that_says_where(text: bytes, message: str) -> None:
    (problem,) = failure(text).problems
    assert (problem.code, problem.pointer) == ("FILE_JSON_INVALID", "")
    assert problem.message.startswith(message)


@pytest.mark.parametrize(
    ("text", "code", "pointer", "message"),
    [
        pytest.param("[]", "FILE_TYPE_INVALID", "", "must be an object, not an array", id="an array"),
        pytest.param("null", "FILE_TYPE_INVALID", "", "must be an object, not null", id="null"),
        pytest.param('{"version": "v1"}', "FILE_MEMBER_REQUIRED", "/name", "is missing; add it", id="no name"),
        pytest.param(
            mes('"record_id_path": []'),
            "FILE_MEMBER_UNKNOWN",
            "/record_id_path",
            "is not known here; did you mean 'record_id_paths'?",
            id="RS-02 unknown member",
        ),
        pytest.param(
            mes('"driver": {"kind": "rest", "rest": {"url": "u", "auth": {"api_kei": {}, "api_key": {"in": "query",'
                ' "name": "n", "value": "v"}}}}'),
            "FILE_MEMBER_UNKNOWN",
            "/driver/rest/auth/api_kei",
            "is not known here; did you mean 'api_key'?",
            id="unknown member four levels down",
        ),
        pytest.param(
            mes('"limits": {"zzz": 1}'),
            "FILE_MEMBER_UNKNOWN",
            "/limits/zzz",
            "is not known here; known are max_record_bytes, max_run_records, max_run_bytes, max_run_s",
            id="unlike anything",
        ),
        pytest.param(
            mes('"a/b~c": 1'),
            "FILE_MEMBER_UNKNOWN",
            "/a~1b~0c",
            "is not known here; known are $schema, description",
            id="pointer is escaped",
        ),
        pytest.param(
            mes('"schema_uri": "x"'),
            "FILE_MEMBER_UNKNOWN",
            "/schema_uri",
            "is not known here",
            id="our own attribute names are no members",
        ),
        pytest.param(
            mes('"driver": {"kind": "rset"}'),
            "FILE_VALUE_INVALID",
            "/driver/kind",
            "must be one of jsonl, text, binary, rest, db, stream, not 'rset'; did you mean 'rest'?",
            id="unknown kind",
        ),
        pytest.param(
            mes('"record_id_policy": "STRICT"'),
            "FILE_VALUE_INVALID",
            "/record_id_policy",
            "must be strict or hash_fallback, not 'STRICT'; did you mean 'strict'?",
            id="case matters",
        ),
        pytest.param(
            mes('"payload_format": null'),
            "FILE_TYPE_INVALID",
            "/payload_format",
            "must be one of json, text, binary, unknown, not null",
            id="null is no choice",
        ),
        pytest.param(
            mes('"enabled": 1'),
            "FILE_TYPE_INVALID",
            "/enabled",
            "must be true or false, not a number",
            id="1 is not true",
        ),
        pytest.param(
            mes('"limits": {"max_run_s": true}'),
            "FILE_TYPE_INVALID",
            "/limits/max_run_s",
            "must be a whole number, not true or false",
            id="true is not 1",
        ),
        pytest.param(
            mes('"limits": {"max_run_s": 1.0}'),
            "FILE_TYPE_INVALID",
            "/limits/max_run_s",
            "must be a whole number, not a number with a fraction or an exponent",
            id="1.0 is not 1",
        ),
        pytest.param(
            mes('"limits": {"max_run_s": "1"}'),
            "FILE_TYPE_INVALID",
            "/limits/max_run_s",
            "must be a whole number, not a string",
            id="'1' is not 1",
        ),
        pytest.param(
            mes('"limits": {"max_run_s": 9223372036854775808}'),
            "FILE_VALUE_INVALID",
            "/limits/max_run_s",
            "must be a whole number that fits in 64 bits",
            id="65 bits",
        ),
        pytest.param(
            mes('"limits": {"max_run_s": ' + "1" * 100 + "}"),
            "FILE_VALUE_INVALID",
            "/limits/max_run_s",
            "must be a whole number that fits in 64 bits",
            id="100 digits",
        ),
        pytest.param(
            mes('"dead_letters": {"budget": {"max_reject_ratio": 1e400}}'),
            "FILE_VALUE_INVALID",
            "/dead_letters/budget/max_reject_ratio",
            "must be a number that fits in 64 bits",
            id="1e400",
        ),
        pytest.param(
            mes('"required_paths": "/id"'),
            "FILE_TYPE_INVALID",
            "/required_paths",
            "must be an array, not a string",
            id="one path without brackets",
        ),
        pytest.param(
            mes('"driver": {"kind": "rest", "rest": {"url": "u", "headers": {"X": 1}}}'),
            "FILE_TYPE_INVALID",
            "/driver/rest/headers/X",
            "must be a string, not a number",
            id="header value",
        ),
        pytest.param(
            mes('"driver": {"kind": "stream", "stream": {"source": "pulsar"}}'),
            "FILE_VALUE_INVALID",
            "/driver/stream/source",
            "must be kafka, not 'pulsar'",
            id="source that is not built",
        ),
        pytest.param(
            '{"name": "a", "name": "b", "version": "v1"}',
            "FILE_MEMBER_REPEATED",
            "/name",
            "stands more than once in its object; keep one of them",
            id="repeated member",
        ),
        pytest.param(
            mes('"driver": {"kind": "rest", "rest": {"url": "u", "headers": {"a/b": "1", "a/b": "2", "a/b": "3"}}}'),
            "FILE_MEMBER_REPEATED",
            "/driver/rest/headers/a~1b",
            "stands more than once in its object; keep one of them",
            id="repeated header",
        ),
    ],
)  # fmt: skip
def test_what_has_the_wrong_shape_is_named_with_its_way_out(text: str, code: str, pointer: str, message: str) -> None:
    found = failure(text).problems
    assert (code, pointer) in [(problem.code, problem.pointer) for problem in found]
    assert next(problem.message for problem in found if problem.pointer == pointer).startswith(message)


def test_the_wrong_shape_of_one_member_hides_no_other_problem() -> None:
    text = """{
        "name": " ", "version": 5, "surprise": 1, "record_id_policy": "strikt",
        "record_id_paths": ["id", 3, "/a", "/a"], "required_paths": null,
        "driver": {"kind": "rset", "rest": {"url": " ", "timeout_ms": 0, "auth": {"api_key": {"name": ""}}}}
    }"""
    assert sorted(findings(text)) == sorted(
        [
            ("INTERFACE_NAME_EMPTY", "/name"),
            ("FILE_TYPE_INVALID", "/version"),
            ("FILE_MEMBER_UNKNOWN", "/surprise"),
            ("FILE_VALUE_INVALID", "/record_id_policy"),
            ("JSON_POINTER_INVALID", "/record_id_paths/0"),
            ("FILE_TYPE_INVALID", "/record_id_paths/1"),
            ("DUPLICATE_ENTRY", "/record_id_paths/3"),
            ("FILE_TYPE_INVALID", "/required_paths"),
            ("FILE_VALUE_INVALID", "/driver/kind"),
            ("REST_URL_EMPTY", "/driver/rest/url"),
            ("REST_TIMEOUT_INVALID", "/driver/rest/timeout_ms"),
            ("REST_AUTH_API_KEY_NAME_EMPTY", "/driver/rest/auth/api_key/name"),
            ("FILE_MEMBER_REQUIRED", "/driver/rest/auth/api_key/in"),
            ("FILE_MEMBER_REQUIRED", "/driver/rest/auth/api_key/value"),
        ]
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(
            mes('"driver": {"kind": "rset", "rest": {"url": "u"}, "input": "x"}'),
            [("FILE_VALUE_INVALID", "/driver/kind")],
            id="which blocks belong to an unknown kind",
        ),
        pytest.param(
            mes('"driver": {"kind": "rest", "rest": 5}'),
            [("FILE_TYPE_INVALID", "/driver/rest")],
            id="whether a block of the wrong type is missing",
        ),
        pytest.param(
            mes('"driver": {"kind": "db", "db": {"kind": 1, "connection": "c", "query": "q", "pool": {}}}'),
            [("FILE_TYPE_INVALID", "/driver/db/kind")],
            id="whether an unknown database may have a pool",
        ),
        pytest.param(
            mes('"driver": {"kind": "db", "db": {"kind": "mysql", "connection": "c", "query": "q",'
                ' "pool": {"min_connections": 20, "max_connections": "50"}}}'),
            [("FILE_TYPE_INVALID", "/driver/db/pool/max_connections")],
            id="which of two numbers is larger when one is none",
        ),
        pytest.param(
            mes('"record_id_policy": "strict", "record_id_paths": "/id"'),
            [("FILE_TYPE_INVALID", "/record_id_paths")],
            id="whether unreadable paths are no paths",
        ),
        pytest.param(
            mes('"driver": {"kind": "stream", "stream": {"source": "kafka", "kafka": {"mode": "life"}}}'),
            [("FILE_VALUE_INVALID", "/driver/stream/kafka/mode")]
            + [("FILE_MEMBER_REQUIRED", f"/driver/stream/kafka/{name}")
               for name in ("brokers", "topic", "group_id", "format")],
            id="what an unknown mode needs",
        ),
        pytest.param(
            mes('"driver": {"kind": "rest", "rest": {"url": "u", "headers": {"K": "v"},'
                ' "auth": {"api_key": {"in": "haeder", "name": "K", "value": "v"}}}}'),
            [("FILE_VALUE_INVALID", "/driver/rest/auth/api_key/in")],
            id="whether a key of unknown place is a header",
        ),
    ],
)  # fmt: skip
def test_a_rule_says_nothing_about_what_could_not_be_read(text: str, found: list[tuple[str, str]]) -> None:
    assert sorted(findings(text)) == sorted(found)


PLACES = """
    name driver driver/rest driver/rest/auth driver/rest/auth/api_key/in driver/rest/pagination/page/page_size
    driver/stream driver/stream/kafka driver/stream/kafka/brokers driver/db driver/db/pool limits commit_every
    dead_letters/budget tags owners required_paths $schema on_fail
"""


@pytest.mark.parametrize("value", ["5", "true", "null", "[]", "{}", '""', '"x"', "-1", "1.5", "[[]]", '[{"": 0}]'])
@pytest.mark.parametrize("place", PLACES.split())
def test_no_value_in_no_place_ends_in_anything_but_problems(place: str, value: str) -> None:
    text = value
    for name in reversed(place.split("/")):
        text = json.dumps({name: json.loads(text)})
    # Name or version is missing in every one of these files.
    assert findings(text)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"required_paths": [' + "1," * 1_000_000 + "1]}", id="values of the wrong type"),
        pytest.param('{"required_paths": [' + '"a",' * 500_000 + '"a"]}', id="bad pointers"),
        pytest.param("{" + ",".join(f'"{number}": 0' for number in range(100_000)) + "}", id="unknown members"),
        pytest.param("{" + '"name": "a",' * 100_000 + '"name": "a"}', id="one member over and over"),
        pytest.param('{"tags": {' + ",".join(f'"{i // 2}": ""' for i in range(100_000)) + "}}", id="repeated members"),
    ],
)
def test_a_file_with_more_faults_than_anyone_reads_costs_no_more_than_a_thousand(text: str) -> None:
    assert len(failure(text).problems) <= MAX_PROBLEMS + 1


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
SAMPLES = sorted((Path(__file__).parents[1] / "fixtures" / "interfaces" / "valid").glob("*.json"))


@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 40), JSON_VALUES), min_size=1, max_size=4))
def test_a_sample_with_any_values_put_anywhere_loads_or_ends_in_problems(
    sample: Path, changes: list[tuple[int, Any]]
) -> None:
    document = json.loads(sample.read_text())
    for place, value in changes:
        owners = list(objects_in(document))
        owner = owners[place % len(owners)]
        names = [*owner, "surprise"]
        owner[names[place % len(names)]] = value
    try:
        parse_interface(json.dumps(document).encode(), sample.name)
    except InvalidFileError as error:
        event(error.problems[0].code)


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document, the outermost first."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(inner)


def test_the_printed_form_counts_the_problems_and_ends_each_with_its_code() -> None:
    assert str(failure('{"name": " ", "version": "v1", "drivr": {}}')) == (
        "interfaces/mes.json: 2 problems\n"
        "- /drivr: is not known here; did you mean 'driver'? [FILE_MEMBER_UNKNOWN]\n"
        "- /name: must not be blank [INTERFACE_NAME_EMPTY]"
    )


def test_a_value_in_the_wrong_place_is_not_printed() -> None:
    document: dict[str, Any] = {"kind": "rest", "rest": {"url": "u", "auth": {"oauth2_client_credentials": "hunter2"}}}
    assert "hunter2" not in str(failure(mes(f'"driver": {json.dumps(document)}')))


def test_a_long_value_is_cut_in_its_message() -> None:
    assert len(str(failure(mes(f'"on_fail": "{"x" * (MAX_FILE_BYTES // 2)}"')))) < 300


def test_a_terminal_is_never_given_the_escapes_of_a_file() -> None:
    assert "\x1b" not in str(failure(mes('"\\u001b[31m": 1, "on_fail": "\\u001b[31m"')))


def test_an_invalid_file_is_a_config_error_that_survives_pickling() -> None:
    error = failure("{}")
    assert isinstance(error, ConfigError)
    assert pickle.loads(pickle.dumps(error)).problems == error.problems
