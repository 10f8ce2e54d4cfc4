import base64
import json
import math
import re
from collections import Counter
from typing import Any

import naive
import orjson
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from json_texts import units as any_units

from rootsys_dagster.core.interface import Interface, parse_interface
from rootsys_dagster.core.ports import Batch, Oversized, PayloadKind
from rootsys_dagster.drivers.lines import LineRange
from rootsys_dagster.pipeline.normalise import BlockedError, Normaliser
from rootsys_dagster.pipeline.validate import Validator

JSON_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
NOW = 1_771_059_600_000
SHAPES: dict[str, dict[str, Any]] = {
    "no paths": {},
    "one id": {"record_id_paths": ["/id"]},
    "id also required": {"record_id_paths": ["/id"], "required_paths": ["/id"]},
    "required only": {"required_paths": ["/a", "/b"]},
    "required and another id": {"record_id_paths": ["/id"], "required_paths": ["/a"]},
    "several ids": {"record_id_paths": ["/id", "/a", "/b"]},
    "nested": {"record_id_paths": ["/a/id", "/b"], "required_paths": ["/a/id"]},
    "nested and optional": {"record_id_paths": ["/a/b/id", "/id"]},
    "two below one": {"record_id_paths": ["/a/id", "/a/b"], "required_paths": ["/a/x"]},
    "array index": {"record_id_paths": ["/a/0"], "required_paths": ["/0"]},
    "escaped": {"record_id_paths": ["/a~1b", "/~0"]},
    "empty member name": {"record_id_paths": ["/"], "required_paths": ["//a"]},
    "one is the beginning of another": {"record_id_paths": ["/a", "/a/b"], "required_paths": ["/a/b"]},
    "strict": {"record_id_paths": ["/id", "/a"], "record_id_policy": "strict"},
    "strict and required": {"record_id_paths": ["/id"], "required_paths": ["/b"], "record_id_policy": "strict"},
    "json only": {"record_id_paths": ["/id"], "payload_format": "json"},
    "text only": {"record_id_paths": ["/id"], "payload_format": "text"},
    "binary only": {"payload_format": "binary"},
    "not ASCII": {"record_id_paths": ["/é"]},
    "quotes, backslashes and controls": {"record_id_paths": ['/"', "/\\", "/\x00"], "required_paths": ["/id"]},
    "as long as a pointer gets": {"record_id_paths": ["/a" * 64, "/id" * 65, "/b" * 5000]},
}
KINDS: list[PayloadKind] = ["json", "text", "binary"]


def interface(**members: Any) -> Interface:
    document = {"name": "mes", "version": "v1", "driver": {"kind": "jsonl"}, **members}
    return parse_interface(json.dumps(document).encode(), "mes.json")


def batch_of(units: list[bytes], kind: PayloadKind = "json", oversized: Oversized | None = None) -> Batch:
    whole = {"length": oversized.length, "sha256": oversized.sha256} if oversized else {}
    locators = LineRange("data/mes.jsonl", "application/x-ndjson", "mes.jsonl", 1, 0, **whole)
    return Batch(units, kind, locators, {"byte": 1}, sum(map(len, units)) + len(units), oversized)


def normaliser(**members: Any) -> Normaliser:
    return Normaliser(interface(**members), "plant 1", lambda: NOW)


def lines(data: bytes) -> list[bytes]:
    assert data == b"" or data.endswith(b"\n")
    return data.split(b"\n")[:-1]


def pairs(messages: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    assert all(message["message"] for message in messages)
    return [(message["code"], message["path"]) for message in messages]


def places(units: list[bytes]) -> list[bytes]:
    starts = [sum(map(len, units[:n])) + n for n in range(len(units))]
    return [b'{"line":%d,"byte":%d,"length":%d}' % (n + 1, starts[n], len(unit)) for n, unit in enumerate(units)]


def check_against_naive_rules(units: list[bytes], kind: PayloadKind, rules: dict[str, Any]) -> None:
    """Every line byte for byte but for the texts of messages, every key, every count."""
    out = normaliser(**rules).normalise(batch_of(units, kind))
    outcomes = [naive.outcome(unit, kind, rules) for unit in units]
    judged = list(zip(units, places(units), outcomes, strict=True))
    accepted = [(unit, place, found) for unit, place, found in judged if found.record_id is not None]
    rejected = [(unit, place, found) for unit, place, found in judged if found.errors]
    head = b'{"source":"plant 1","interface":{"name":"mes","version":"v1"},'
    metadata = (
        b'"metadata":{"content_type":"application/x-ndjson","filename":"mes.jsonl",'
        b'"source_details":{"source_type":"file","locator":"data/mes.jsonl","position":%b}},'
    )
    records = lines(out.records)
    for line, (unit, place, found) in zip(records, accepted, strict=True):
        record_id = naive.quoted(found.record_id).encode()
        begin = head + b'"record_id":%b,"ingested_at_unix_ms":%d,' % (record_id, NOW)
        begin += b'"payload":' + naive.payload(unit, found.kind) + b"," + metadata % place + b'"warnings":'
        assert line.startswith(begin)
        assert line.endswith(b"}")
        assert pairs(json.loads(line[len(begin) : -1])) == found.warnings
    letters = lines(out.dead_letters)
    for line, (unit, place, found) in zip(letters, rejected, strict=True):
        begin = head + b'"payload":' + naive.payload(unit, found.kind) + b"," + metadata % place + b'"reason_codes":'
        assert line.startswith(begin)
        rest = json.loads(b'{"reason_codes":' + line[len(begin) :])
        assert list(rest) == ["reason_codes", "lineage", "errors"]
        assert pairs(rest["errors"]) == found.errors
        assert rest["reason_codes"] == list(dict.fromkeys(code for code, _ in found.errors))
        assert rest["lineage"] == {
            "rejected_at_unix_ms": NOW,
            "pipeline_stage": "integration",
            "driver_kind": "jsonl",
            "record_id_policy": rules.get("record_id_policy", "hash_fallback"),
            "source_type": "file",
            "source_locator": "data/mes.jsonl",
        }
    seed = xxhash.xxh3_64(b'["plant 1","mes","v1"]').intdigest()
    ids = [naive.quoted(found.record_id).encode() for _, _, found in accepted]
    assert out.keys == b"".join(xxhash.xxh3_128(record_id, seed=seed).digest() for record_id in ids)
    assert out.counts.fetched == len(units)
    assert (out.counts.accepted, out.counts.dead_letters) == (len(accepted), len(rejected))
    assert out.counts.skipped == ({"blank": blank} if (blank := sum(found.skipped for found in outcomes)) else {})
    assert out.counts.reasons == Counter(
        code for _, _, found in rejected for code in {code for code, _ in found.errors}
    )
    assert out.counts.warnings == Counter(code for _, _, found in accepted for code, _ in found.warnings)
    out.counts.check_conservation()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "units",
    [
        pytest.param([b'{"id":"D-1"}', b'{"id":"D-2"}'], id="plain"),
        pytest.param([b'{"id":"D-1","a":{"id":1,"b":2}}', b'{"id":5,"a":{"id":null}}', b'{"a":null}'], id="nested"),
        pytest.param([b'{"a":[7,"x"]}', b'[["x"],1]', b'{"a/b":"x","~":1.0}', b'{"":{"a":1}}'], id="odd pointers"),
        pytest.param(
            [b'{"id":"\\u0041|"}', b'{"id":"a|b"}', b'{"id":{"b":1.10,"a":[null]}}', b'{"id":true}'], id="ids"
        ),
        pytest.param([b'{"id":1,"\\"":2,"\\\\":3,"\\u0000":4}', b'{"id":1,"\\u0022":"x"}'], id="escaped names"),
        pytest.param([b'{"a":' * n + b'"x"' + b"}" * n for n in (63, 64, 65)], id="deep names"),
        pytest.param([b'{"id":"x","id":null}', b'{"id":null,"id":"x"}', b'{"a":{"id":1},"a":{"b":1}}'], id="repeats"),
        pytest.param(
            [b'{"id":1e400,"a":1,"b":1}', b'{"x":-0}', b'{"x":1e16}', b'{"x":18446744073709551616}'], id="numbers"
        ),
        pytest.param(
            [b'{"id":"a","x":"\\ud800"}', b'{"id":"a","x":"\xff"}', b'{"id":"a","x":"\xed\xa0\x80"}'], id="bytes"
        ),
        pytest.param(
            [b"", b" \t\r", "\u00a0\u2003".encode() * 300, b"\x1c", b"\x85", b"null"], id="blank and nearly so"
        ),
        pytest.param(
            [b'{"id":"D-1"}\r', b'\r{"id":7}', b'{"id":"D-1"} {}', b'{"id":"D-1",}', b"\xef\xbb\xbf{}"], id="around"
        ),
    ],
)
def test_hard_units_get_what_the_naive_rules_give_them(shape: str, units: list[bytes]) -> None:
    for kind in KINDS:
        check_against_naive_rules(units, kind, SHAPES[shape])


@settings(max_examples=3 * settings().max_examples)
@given(shape=st.sampled_from(sorted(SHAPES)), units=st.lists(any_units, min_size=1, max_size=8))
def test_any_batch_gets_what_the_naive_rules_give_each_unit(shape: str, units: list[bytes]) -> None:
    check_against_naive_rules(units, "json", SHAPES[shape])


@given(
    shape=st.sampled_from(["no paths", "one id", "strict", "json only", "text only", "binary only"]),
    kind=st.sampled_from(KINDS[1:]),
    units=st.lists(any_units, min_size=1, max_size=4),
)
def test_text_and_binary_units_get_what_the_naive_rules_give_them(
    shape: str, kind: PayloadKind, units: list[bytes]
) -> None:
    check_against_naive_rules(units, kind, SHAPES[shape])


@given(shape=st.sampled_from(sorted(SHAPES)), units=st.lists(any_units, min_size=2, max_size=6))
def test_a_unit_gets_the_same_alone_in_company_and_from_the_exact_path(shape: str, units: list[bytes]) -> None:
    rules = SHAPES[shape]
    together = normaliser(**rules).normalise(batch_of(units))
    judge = Validator(interface(**rules)).judge
    verdicts = [verdict for unit in units if (verdict := judge(unit, "json")) is not None]
    ids = [orjson.loads(verdict.record_id) for verdict in verdicts if verdict.record_id is not None]
    assert [json.loads(line)["record_id"] for line in lines(together.records)] == ids
    assert together.counts.dead_letters == sum(bool(verdict.errors) for verdict in verdicts)
    alone = [normaliser(**rules).normalise(batch_of([unit])) for unit in units]
    assert together.keys == b"".join(out.keys for out in alone)


@given(unit=any_units, kind=st.sampled_from(KINDS))
def test_the_bytes_of_a_unit_can_be_had_back_from_its_line(unit: bytes, kind: PayloadKind) -> None:
    out = normaliser(record_id_paths=["/id"], required_paths=["/a"]).normalise(batch_of([unit], kind))
    line = out.records or out.dead_letters
    if not line:
        assert out.counts.skipped == {"blank": 1}
        return
    payload = json.loads(line)["payload"]
    if payload["kind"] == "Json":
        begin = line.index(b'"payload":{"kind":"Json","data":') + 32
        assert line[begin : begin + len(unit) + 13] == unit + b'},"metadata":'
    elif payload["kind"] == "Text":
        assert payload["data"].encode() == unit
    else:
        assert base64.b64decode(payload["data"]["data"], validate=True) == unit


@given(units=st.lists(any_units, min_size=1, max_size=6))
def test_every_line_is_json_to_other_readers(units: list[bytes]) -> None:
    out = normaliser(record_id_paths=["/id"]).normalise(batch_of(units))
    for line in lines(out.records + out.dead_letters):
        document = json.loads(line)
        try:
            fast = orjson.loads(line)
        except orjson.JSONDecodeError:
            # The only known difference: orjson does not take numbers beyond the doubles, which are kept as they came.
            numbers = re.findall(rb"-?[0-9][0-9.eE+-]*", line)
            assert any(math.isinf(float(lexeme)) for lexeme in numbers if JSON_NUMBER.fullmatch(lexeme))
            continue
        assert fast["payload"]["kind"] == document["payload"]["kind"]
        assert "errors" in document or fast["record_id"] == document["record_id"]


@pytest.mark.parametrize("depth", [126, 127, 128, 253, 254, 255, 256, 400, 511, 512, 513, 2000])
@pytest.mark.parametrize("shape", ["no paths", "one id", "nested and optional", "two below one"])
def test_depth_has_one_limit_whichever_path_looks(shape: str, depth: int) -> None:
    units = [
        b"[" * depth + b"]" * depth,
        b'{"a":' * depth + b"1" + b"}" * depth,
        b'{"id":' * depth + b"1" + b"}" * depth,
        b'{"id":"D-1","x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}",
        b'{"id":"' + b"[{" * depth + b'"}',
    ]
    check_against_naive_rules(units, "json", SHAPES[shape])


def test_a_caller_deep_in_its_own_stack_gets_the_same() -> None:
    unit = b'{"id":"D-1","x":' + b"[" * 511 + b"]" * 511 + b"}"

    def from_below(frames: int) -> int:
        if frames:
            return from_below(frames - 1)
        return normaliser(record_id_paths=["/id"]).normalise(batch_of([unit, unit])).counts.accepted

    assert from_below(0) == from_below(400) == 2


@pytest.mark.parametrize(
    ("shape", "payload", "record_id"),
    [
        pytest.param(
            "several ids", b'{"id":"DEF-1001","a":"LOT-77"}', "DEF-1001|LOT-77", id="absent ones are left out"
        ),
        pytest.param("several ids", b'{"id":"DEF-1001","b":"LOT-77","a":null}', "DEF-1001|LOT-77", id="null is absent"),
        pytest.param("several ids", b'{"b":3,"a":2,"id":1}', "1|2|3", id="order of the interface, not of the payload"),
        pytest.param("several ids", b'{"id":"","a":""}', "|", id="an empty string is there"),
        pytest.param("one id", b'{"id":1.0}', "1.0", id="1.0 stays 1.0"),
        pytest.param("one id", b'{"id":1e3}', "1000.0", id="exponent"),
        pytest.param("one id", b'{"id":007}', None, id="no number"),
        pytest.param("one id", b'{"id":false}', "false", id="false is there"),
        pytest.param("one id", b'{"id":{"b":[1, 2],"a":"x"}}', '{"a":"x","b":[1,2]}', id="object"),
        pytest.param("one id", b'{"id":"a|b"}', "a|b", id="the separator is not escaped"),
        pytest.param("strict", b'{"a":"LOT-77"}', "LOT-77", id="strict takes a part of the ids"),
        pytest.param("strict", b'{"x":1}', None, id="strict takes no hash"),
        pytest.param(
            "no paths", b'{"foo":"bar"}', "7a38bf81f383f69433ad6e900d35b3e2385593f76a7b7ab5d4355b8ba41ee24b", id="hash"
        ),
        pytest.param(
            "one id",
            b'{"other":1}',
            "8b0bb7512fb6d1595c87b3604b48935021ab88233ea853246f5c244600a40929",
            id="hash when absent",
        ),
    ],
)
def test_record_ids(shape: str, payload: bytes, record_id: str | None) -> None:
    # In company the fast path joins whole columns, alone it may not.
    plain = b'{"id":"D-1","a":"D-2","b":"D-3"}'
    for units in ([payload], [plain, payload, plain]):
        records = lines(normaliser(**SHAPES[shape]).normalise(batch_of(units)).records)
        found = [json.loads(line)["record_id"] for line in records]
        assert ([record_id] if record_id is not None else []) == (found if len(units) == 1 else found[1:-1])


@pytest.mark.parametrize(
    ("payload", "rules", "codes"),
    [
        pytest.param(
            b'{"id":null}', {"required_paths": ["/id"]}, ["MISSING_REQUIRED_PATH"], id="null counts as missing"
        ),
        pytest.param(b"[]", {"required_paths": ["/0"]}, ["MISSING_REQUIRED_PATH"], id="index past the end"),
        pytest.param(b"[1]", {"required_paths": ["/-"]}, ["MISSING_REQUIRED_PATH"], id="minus never leads anywhere"),
        pytest.param(b"[1,2]", {"required_paths": ["/01"]}, ["MISSING_REQUIRED_PATH"], id="no leading zero"),
        pytest.param(b'{"01":1}', {"required_paths": ["/01"]}, [], id="but a member may be called that"),
        pytest.param(b'{"a/b":1}', {"required_paths": ["/a~1b"]}, [], id="escaped slash"),
        pytest.param(
            b'{"a":"x"}', {"required_paths": ["/a/0"]}, ["MISSING_REQUIRED_PATH"], id="a string has no members"
        ),
        pytest.param(b"5", {"required_paths": ["/a"]}, ["MISSING_REQUIRED_PATH"], id="a bare number"),
        pytest.param(
            b"{}", {"required_paths": ["/a", "/b"]}, ["MISSING_REQUIRED_PATH"], id="RS-41 two missing, one code"
        ),
        pytest.param(
            b"{}",
            {"record_id_paths": ["/a"], "record_id_policy": "strict"},
            ["RECORD_ID_STRICT_PATHS_UNRESOLVED"],
            id="RS-40",
        ),
        pytest.param(b"{}", {"record_id_paths": ["/a"]}, [], id="RS-42 hash_fallback"),
        pytest.param(b"{}", {"payload_format": "text"}, ["PAYLOAD_FORMAT_MISMATCH"], id="other format"),
        pytest.param(
            b"{", {"payload_format": "text"}, ["PAYLOAD_DECODE_FAILED"], id="not JSON comes before other format"
        ),
        pytest.param(
            b"{}",
            {"record_id_paths": ["/a"], "record_id_policy": "strict", "required_paths": ["/b"]},
            ["MISSING_REQUIRED_PATH"],
            id="required before id",
        ),
    ],
)
def test_reason_codes(payload: bytes, rules: dict[str, Any], codes: list[str]) -> None:
    out = normaliser(**rules).normalise(batch_of([payload]))
    found = [json.loads(line)["reason_codes"] for line in lines(out.dead_letters)]
    assert found == ([codes] if codes else [])
    assert out.counts.accepted == (0 if codes else 1)


def test_the_strict_dead_letter_names_every_pointer_and_where_it_was_rejected() -> None:
    out = normaliser(**SHAPES["strict"]).normalise(batch_of([b"{}"]))
    letter = json.loads(out.dead_letters)
    assert letter["errors"] == [
        {
            "code": "RECORD_ID_STRICT_PATHS_UNRESOLVED",
            "path": "/record_id_paths",
            "message": "no record id path resolves: /id, /a",
        }
    ]
    assert list(letter) == ["source", "interface", "payload", "metadata", "reason_codes", "lineage", "errors"]
    lineage = letter["lineage"]
    assert (lineage["pipeline_stage"], lineage["driver_kind"], lineage["record_id_policy"]) == (
        "integration",
        "jsonl",
        "strict",
    )


def test_a_record_has_its_members_in_the_order_of_the_reference() -> None:
    record = json.loads(normaliser().normalise(batch_of([b"{}"])).records)
    assert list(record) == [
        "source",
        "interface",
        "record_id",
        "ingested_at_unix_ms",
        "payload",
        "metadata",
        "warnings",
    ]
    assert list(record["metadata"]) == ["content_type", "filename", "source_details"]
    assert list(record["metadata"]["source_details"]) == ["source_type", "locator", "position"]


def test_an_oversized_unit_is_a_dead_letter_with_length_hash_and_beginning() -> None:
    oversized = Oversized(200_000_000, "ab" * 32)
    for beginning, kind in ((b'{"id":"D-1', "Text"), (b"\xff\xfe", "Binary")):
        out = normaliser(record_id_paths=["/id"]).normalise(batch_of([beginning], oversized=oversized))
        letter = json.loads(out.dead_letters)
        assert letter["reason_codes"] == ["RECORD_TOO_LARGE"]
        assert letter["payload"]["kind"] == kind
        place = letter["metadata"]["source_details"]["position"]
        assert place == {"line": 1, "byte": 0, "length": 200_000_000, "sha256": "ab" * 32}
        assert out.counts.fetched == out.counts.dead_letters == 1


def test_on_fail_skip_counts_by_reason_and_keeps_no_dead_letter() -> None:
    units = [b'{"a":1}', b"{", b"{}", b"", b"{}"]
    out = normaliser(on_fail="skip", required_paths=["/a"]).normalise(batch_of(units))
    assert out.dead_letters == b""
    assert out.counts.skipped == {"PAYLOAD_DECODE_FAILED": 1, "MISSING_REQUIRED_PATH": 2, "blank": 1}
    assert (out.counts.accepted, out.counts.dead_letters, out.counts.reasons) == (1, 0, {})


def test_on_fail_block_names_file_line_code_and_pointer_and_not_the_payload() -> None:
    units = [b'{"a":1}', b'{"b":"secret"}']
    with pytest.raises(BlockedError) as caught:
        normaliser(on_fail="block", required_paths=["/a"]).normalise(batch_of(units))
    message = str(caught.value)
    for part in ("mes", "data/mes.jsonl", '"line":2', "MISSING_REQUIRED_PATH", "/a"):
        assert part in message
    assert "secret" not in message
    assert caught.value.code == "LINE.BLOCKED"


def test_blank_lines_do_not_block() -> None:
    assert normaliser(on_fail="block").normalise(batch_of([b"", b"{}", b" \r"])).counts.skipped == {"blank": 2}


def test_source_and_names_are_escaped_in_the_line() -> None:
    odd = parse_interface('{"name":"m\\"é\\n","version":"v\\\\1","driver":{"kind":"jsonl"}}'.encode(), "x")
    out = Normaliser(odd, 'plant "1"\u2028', lambda: NOW).normalise(batch_of([b"{}", b"{"]))
    for line in (out.records, out.dead_letters):
        assert line.count(b"\n") == 1
        document = json.loads(line)
        assert document["source"] == 'plant "1"\u2028'
        assert document["interface"] == {"name": 'm"é\n', "version": "v\\1"}


def test_other_source_name_or_version_gives_other_keys() -> None:
    keys = {
        Normaliser(parse_interface(json.dumps({"name": name, "version": version, "driver": {}}).encode(), "x"), source)
        .normalise(batch_of([b'{"id":1}']))
        .keys
        for source, name, version in [
            ("a", "b", "c"),
            ("ab", "", "c"),
            ("b", "a", "c"),
            ("a", "b", "cc"),
            ("a|b", "c", "c"),
        ]
        if name
    }
    assert len(keys) == 4
