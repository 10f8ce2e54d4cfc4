import hashlib
import re
import time

import naive
import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_texts import json_texts, numbers

from rootsys_dagster.pipeline.exact_json import NotJsonError, canonical, id_text, number_text, parse


@pytest.mark.parametrize(
    ("lexeme", "text"),
    [
        pytest.param("1.0", "1.0", id="a float stays one"),
        pytest.param("1", "1", id="an integer stays one"),
        pytest.param("1.10", "1.1", id="a trailing zero goes"),
        pytest.param("10.00", "10.0", id="but the last one stays"),
        pytest.param("-0", "-0.0", id="minus zero is a float"),
        pytest.param("-0.0", "-0.0", id="minus zero as a float"),
        pytest.param("0", "0", id="zero"),
        pytest.param("0e5", "0.0", id="zero with exponent"),
        pytest.param("1e3", "1000.0", id="a small exponent is written out"),
        pytest.param("1E+3", "1000.0", id="capital and sign of the exponent go"),
        pytest.param("1e15", "1000000000000000.0", id="16 digits are written out"),
        pytest.param("1e16", "1e16", id="17 digits are not"),
        pytest.param("123456789012345678.0", "1.2345678901234568e17", id="nearest double, with exponent"),
        pytest.param("0.00001", "0.00001", id="five places are written out"),
        pytest.param("0.000001", "1e-6", id="six are not"),
        pytest.param("1e-7", "1e-7", id="small"),
        pytest.param("1.5e-7", "1.5e-7", id="small with digits"),
        pytest.param("5e-324", "5e-324", id="the smallest double"),
        pytest.param("1e-400", "0.0", id="below the smallest double"),
        pytest.param("1.7976931348623157e308", "1.7976931348623157e308", id="the largest double"),
        pytest.param("9223372036854775807", "9223372036854775807", id="largest signed"),
        pytest.param("18446744073709551615", "18446744073709551615", id="largest unsigned"),
        pytest.param("18446744073709551616", "1.8446744073709552e19", id="one more is a double"),
        pytest.param("-9223372036854775808", "-9223372036854775808", id="smallest signed"),
        pytest.param("-9223372036854775809", "-9.223372036854776e18", id="one less is a double"),
        pytest.param("1" + "0" * 100, "1e100", id="101 digits"),
        pytest.param("1" * 5000, "1" * 5000, id="beyond the doubles keeps its lexeme"),
        pytest.param("1e400", "1e400", id="an exponent beyond the doubles too"),
        pytest.param("-1E400", "-1E400", id="exactly as written"),
    ],
)
def test_a_number_is_written_as_the_reference_writes_it(lexeme: str, text: str) -> None:
    assert number_text(lexeme) == text == naive.number(lexeme)


@given(numbers)
def test_a_written_number_is_the_same_double_and_writing_it_again_changes_nothing(lexeme: str) -> None:
    text = number_text(lexeme)
    assert float(text) == float(lexeme)
    assert number_text(text) == text
    assert text == naive.number(lexeme)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_double_has_one_text_whatever_its_lexeme(value: float) -> None:
    assert number_text(repr(value)) == number_text(f"{value:.17e}") == naive.number(repr(value))


@pytest.mark.parametrize(
    ("payload", "sha256"),
    [
        (
            b'{"defect_id":"D-1","line":"L1","lot_id":"LOT-100"}',
            "eea840bee6c95eb1567cf631e319b691e67f2cc1c925e521b434f635cc6755e6",
        ),
        (b'{"foo":"bar"}', "7a38bf81f383f69433ad6e900d35b3e2385593f76a7b7ab5d4355b8ba41ee24b"),
        (b'{"other":1}', "8b0bb7512fb6d1595c87b3604b48935021ab88233ea853246f5c244600a40929"),
        (
            b' { "lot_id" : "LOT-100",\t"line":"L\\u0031", "line" : "L1" ,"defect_id":"D-1"} ',
            "eea840bee6c95eb1567cf631e319b691e67f2cc1c925e521b434f635cc6755e6",
        ),
    ],
)
def test_hash_ids_are_those_of_the_reference(payload: bytes, sha256: str) -> None:
    assert hashlib.sha256(canonical(parse(payload))).hexdigest() == sha256


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        pytest.param(
            b'{"b":1,"a":[{"d":null,"c":1.50}]}', '{"a":[{"c":1.5,"d":null}],"b":1}', id="sorted at every level"
        ),
        pytest.param(
            '{"é":1,"z":2,"\U00010000":3,"\uffff":4}'.encode(),
            '{"z":2,"é":1,"\uffff":4,"\U00010000":3}',
            id="by UTF-8, not UTF-16",
        ),
        pytest.param(
            b'"\\u00e9\\n\\u001f\\/\\ud83d\\ude00"', '"é\\n\\u001f/😀"', id="escapes only where JSON needs them"
        ),
        pytest.param(b"[]", "[]", id="empty array"),
        pytest.param(b"{}", "{}", id="empty object"),
        pytest.param(b"[[],{},[{}]]", "[[],{},[{}]]", id="empty ones inside"),
        pytest.param(b'{"a":1,"a":2}', '{"a":2}', id="the last of repeated members"),
        pytest.param(b"true", "true", id="true"),
    ],
)
def test_canonical_text(payload: bytes, text: str) -> None:
    assert canonical(parse(payload)).decode() == text


@given(json_texts())
def test_canonical_agrees_with_the_naive_reader(payload: bytes) -> None:
    try:
        expected = naive.read(payload)
    except naive.Refused:
        with pytest.raises(NotJsonError):
            parse(payload)
        return
    assert canonical(parse(payload)).decode() == naive.canonical(expected)
    assert canonical(parse(canonical(expected := parse(payload)))) == canonical(expected)


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "at character 0"),
        (b"nul", "at character 0"),
        (b"NaN", "NaN is not a JSON number"),
        (b"[-Infinity]", "-Infinity is not"),
        (b'{"a":1}{', "at character 7"),
        (b'"\xff"', "not valid UTF-8 at byte 1"),
        (b'"\xed\xa0\x80"', "not valid UTF-8 at byte 1"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"\\ud800":1}', "surrogate"),
        (b'[["\\udc00\\ud800"]]', "surrogate"),
        (b'{"a":"\\ud800","a":1}', "surrogate"),
        (b'"\\\\\\ud800"', "surrogate"),
        (b'["' + b"x" * 300_000 + b'",]', "not valid JSON"),
        (b'"a\x00b"', "Invalid control character"),
        (b"1\x00", "at character 1"),
        (b"[" * 513 + b"]" * 513, "deeper than 512"),
        (b"[" * 100_000, "deeper than 512"),
        (b'{"a":' * 100_000, "deeper than 512"),
    ],
)
def test_what_is_not_json_is_refused_with_a_reason_and_without_quoting_it(payload: bytes, why: str) -> None:
    with pytest.raises(NotJsonError, match=re.escape(why)):
        parse(payload)


@pytest.mark.parametrize(
    "payload", [b'"\\\\ud800"', b'"\\ud83d\\ude00\\uD83D\\uDE00"', b'"\\ue000\\ud7ff"', b'"\\\\\\\\udc00"']
)
def test_a_backslash_before_ud800_is_no_surrogate_and_a_pair_is_a_character(payload: bytes) -> None:
    assert parse(payload) == naive.read(payload)


@pytest.mark.parametrize("length", [10, 300_000])
def test_a_large_document_is_read_like_a_small_one(length: int) -> None:
    wide = b'{"n":[' + b'{"a":1.50},' * length + b'null],"n":{"b":1e400}}'
    assert canonical(parse(wide)) == b'{"n":{"b":1e400}}'


def test_brackets_inside_strings_are_no_levels() -> None:
    text = "[{" * 600
    assert parse(b'["' + text.encode() + b'"]') == [text]
    assert parse(b'["\\"' + text.encode() + b'"]') == ['"' + text]


@pytest.mark.alone
def test_a_line_of_escaped_quotes_is_not_looked_at_once_per_quote() -> None:
    hostile = b"[" * 513 + b'"' + b'\\"' * 200_000
    began_s = time.perf_counter()
    with pytest.raises(NotJsonError):
        parse(hostile)
    # Once per quote would be 40,000,000,000 steps.
    assert time.perf_counter() - began_s < 2


@pytest.mark.parametrize("depth", [1, 253, 254, 255, 511, 512])
def test_512_levels_can_be_written_from_deep_within_a_program(depth: int) -> None:
    def from_below(frames: int) -> bytes:
        return from_below(frames - 1) if frames else canonical(parse(payload))

    for payload in (b"[" * depth + b"]" * depth, b'{"\\u0061":' * depth + b"1" + b"}" * depth):
        assert from_below(200) == payload.replace(b"\\u0061", b"a")


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b'"raw \\"text\\""', 'raw "text"'),
        (b'""', ""),
        (b"1.0", "1.0"),
        (b"true", "true"),
        (b'{"b":"x","a":[1, 2.0]}', '{"a":[1,2.0],"b":"x"}'),
    ],
)
def test_a_part_of_an_id_is_the_raw_string_or_canonical_json(payload: bytes, text: str) -> None:
    assert id_text(parse(payload)) == text
