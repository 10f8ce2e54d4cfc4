"""What a response becomes: by its format, as bytes, and never nothing where something is missing."""

import base64
import hashlib
import json
from typing import Any

import pytest

from tests.http_server import Answer, json_answer, packed
from tests.rest.api import Api

JSON, TEXT, BINARY = "Json", "Text", "Binary"


def typed(body: bytes, content_type: str | None) -> Answer:
    return Answer(200, body, {} if content_type is None else {"Content-Type": content_type})


@pytest.mark.parametrize(
    ("body", "content_type", "kinds"),
    [
        pytest.param(b'{"a": 1}', "application/json", [JSON], id="application/json"),
        pytest.param(b'[{"a": 1}, 2]', "application/json; charset=utf-8", [JSON, JSON], id="an array fans out"),
        pytest.param(b"[]", "application/json", [], id="an empty array is no record"),
        pytest.param(b'{"a": 1}', "TEXT/JSON", [JSON], id="text/json, in capitals"),
        pytest.param(b'{"a": 1}', "text/plain", [TEXT], id="the header decides before the body"),
        pytest.param(b"two\nlines\n", "text/csv", [TEXT], id="text is one record"),
        pytest.param(b"<p>", "text/html", [TEXT], id="HTML is text where nobody asked for JSON"),
        pytest.param(b'{"a": 1}', "application/problem+json", [JSON], id="other types: JSON by the body"),
        pytest.param(b'{"a": 1}', None, [JSON], id="no type: JSON by the body"),
        pytest.param(b"7", None, [JSON], id="no type: a number"),
        pytest.param(b"plain", "application/octet-stream", [TEXT], id="other types: text by the body"),
        pytest.param(b"\xff\xd8\xff", "image/jpeg", [BINARY], id="other types: binary when all else fails"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', "application/json", [JSON], id="a byte order mark is no part of it"),
    ],
)
def test_unknown_goes_by_the_header_first_and_then_by_the_body(
    api: Api, body: bytes, content_type: str | None, kinds: list[str]
) -> None:
    api.play(typed(body, content_type)).says().run()
    assert [record["payload"]["kind"] for record in api.records()] == kinds


@pytest.mark.parametrize(
    ("wanted", "body", "content_type", "data"),
    [
        pytest.param("json", b'{"a": 1}', "text/plain", {"a": 1}, id="json whatever the header says"),
        pytest.param("text", b'{"a": 1}', "application/json", '{"a": 1}', id="text whatever the header says"),
        pytest.param("text", b"a\r\nb", None, "a\r\nb", id="text keeps its line ends"),
        pytest.param("binary", b'{"a": 1}', "application/json", b'{"a": 1}', id="binary whatever the header says"),
        pytest.param("binary", b"", None, b"", id="binary may be empty"),
        pytest.param("binary", bytes(range(256)), None, bytes(range(256)), id="every byte"),
    ],
)
def test_a_format_that_is_given_holds(api: Api, wanted: str, body: bytes, content_type: str | None, data: Any) -> None:
    api.play(typed(body, content_type)).says(response_format=wanted).run()
    (payload,) = api.payloads()
    assert (base64.b64decode(payload["data"]) if isinstance(data, bytes) else payload) == data


def test_a_record_says_where_it_came_from(api: Api) -> None:
    api.play(json_answer({"items": [{"id": 1}, {"id": 2}]})).says("/items?a=1", items_pointer="/items").run()
    first, second = (record["metadata"] for record in api.records())
    assert first == {
        "content_type": "application/json",
        "filename": None,
        "source_details": {
            "source_type": "rest",
            "locator": f"{api.server.url}/items?a=1",
            "position": {"item": 0},
        },
    }
    assert second["source_details"]["position"] == {"item": 1}


def test_the_interface_file_names_the_content_type_and_the_file(api: Api) -> None:
    api.play(typed(b'{"a": 1}', None)).says().run()
    assert api.records()[0]["metadata"]["content_type"] == "application/octet-stream"
    rest = {"url": f"{api.server.url}/items"}
    api.folder.interface("api", driver={"kind": "rest", "rest": rest, "content_type": "a/b", "filename": "claims.json"})
    api.run()
    metadata = api.records()[0]["metadata"]
    assert (metadata["content_type"], metadata["filename"]) == ("a/b", "claims.json")


ITEMS = [
    b'{"n": 1.0, "e": 1E400, "big": 123456789012345678901234567890, "b": 2, "a": 1, "a": 3}',
    b'{"escaped": "\\u00fc\\/\\ud83d\\ude00", "raw": "\xc3\xbc"}',
    b'"text"',
    b"-0.0",
    b"null",
    b"[1, [2]]",
    b"{}",
]


def test_items_are_cut_out_to_the_byte(api: Api) -> None:
    """Digits, order of members, repeated keys and escapes are as they were sent."""
    page = b'{"x": [1], "data": {"items": [' + b" ,\t".join(ITEMS) + b'] }, "items": 7}'
    api.play(json_answer(page)).says(items_pointer="/data/items").run()
    found = [line.split(b'"data":', 1)[1].rsplit(b'},"metadata"', 1)[0] for line in api.lines()]
    assert found == ITEMS


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_pretty_printed_item_is_one_line_of_the_same_length(api: Api, line_end: bytes) -> None:
    document = {"items": [{"id": 1, "note": "a\nb"}, {"id": 2, "more": [1, 2]}]}
    api.play(json_answer(json.dumps(document, indent=2).encode().replace(b"\n", line_end)))
    api.says(items_pointer="/items").run()
    assert api.payloads() == document["items"]
    assert all(b"\n" not in line and b"\r" not in line for line in api.lines())


@pytest.mark.parametrize(
    ("document", "pointer", "payloads"),
    [
        pytest.param({"a": {"b/c": [1, 2]}}, "/a/b~1c", [1, 2], id="escaped slash"),
        pytest.param({"m~n": [3]}, "/m~0n", [3], id="escaped tilde"),
        pytest.param({"a": [[1], [2, 3]]}, "/a/1", [2, 3], id="into an array"),
        pytest.param([{"x": [9]}], "/0/x", [9], id="from an array"),
        pytest.param({"a": {"id": 1}}, "/a", [{"id": 1}], id="an object is one record"),
        pytest.param({"a": 7}, "/a", [7], id="a number is one record"),
        pytest.param({"": [5]}, "/", [5], id="a member without a name"),
        pytest.param({"é": [6]}, "/é", [6], id="beyond ASCII"),
    ],
)
def test_the_items_pointer_leads_into_the_document(api: Api, document: Any, pointer: str, payloads: list[Any]) -> None:
    api.play(json_answer(document)).says(items_pointer=pointer).run()
    assert api.payloads() == payloads


def test_a_key_that_is_written_with_escapes_is_the_same_key(api: Api) -> None:
    api.play(json_answer(b'{"it\\u0065ms": [1]}')).says(items_pointer="/items").run()
    assert api.payloads() == [1]


def test_an_item_that_is_no_utf8_is_a_dead_letter_and_the_others_are_records(api: Api) -> None:
    api.play(json_answer(b'{"items": [{"id": 1}, {"id": "\xff"}, {"id": 3}]}')).says(items_pointer="/items").run()
    assert api.ids() == [1, 3]
    (letter,) = api.folder.dead_letters("api")
    assert letter["metadata"]["source_details"]["position"] == {"item": 1}


NAMELESS = [
    pytest.param(Answer(200, b""), {}, "REST.BODY_EMPTY", id="empty body"),
    pytest.param(Answer(200, b" \r\n\t"), {}, "REST.BODY_EMPTY", id="only white space"),
    pytest.param(typed(b"", "text/plain"), {"response_format": "text"}, "REST.BODY_EMPTY", id="empty text"),
    pytest.param(typed(b"<html>", "text/html"), {"response_format": "json"}, "REST.BODY_HTML", id="HTML"),
    pytest.param(typed(b"<html>", "text/html"), {"items_pointer": "/items"}, "REST.BODY_HTML", id="HTML with 200"),
    pytest.param(
        typed(b"<!DOCTYPE html>", "application/json"), {}, "REST.BODY_NOT_JSON", id="HTML that calls itself JSON"
    ),
    pytest.param(json_answer(b'{"items": [1'), {"items_pointer": "/items"}, "REST.BODY_NOT_JSON", id="half a text"),
    pytest.param(json_answer(b'{"items": [01]}'), {"items_pointer": "/items"}, "REST.BODY_NOT_JSON", id="bad number"),
    pytest.param(json_answer(b'{"items": [NaN]}'), {"items_pointer": "/items"}, "REST.BODY_NOT_JSON", id="NaN"),
    pytest.param(json_answer(b'{"items": [1]} x'), {"items_pointer": "/items"}, "REST.BODY_NOT_JSON", id="more behind"),
    pytest.param(json_answer({"data": []}), {"items_pointer": "/items"}, "REST.ITEMS_MISSING", id="no such pointer"),
    pytest.param(json_answer({"items": None}), {"items_pointer": "/items"}, "REST.ITEMS_MISSING", id="null"),
    pytest.param(json_answer([1, 2]), {"items_pointer": "/items"}, "REST.ITEMS_MISSING", id="an array instead"),
    pytest.param(json_answer({"error": "x"}), {"items_pointer": "/items"}, "REST.ITEMS_MISSING", id="error with 200"),
    pytest.param(
        json_answer({"items": [], "error": {"code": 7}}),
        {"items_pointer": "/items", "error_pointer": "/error"},
        "REST.ERROR_BODY",
        id="an error beside the items",
    ),
    pytest.param(
        json_answer({"ok": False, "errors": ["x"]}),
        {"error_pointer": "/errors"},
        "REST.ERROR_BODY",
        id="a list of errors",
    ),
]


@pytest.mark.parametrize(("answer", "rest", "code"), NAMELESS)
def test_what_is_no_data_is_a_failure_with_a_name_and_not_an_empty_run(
    api: Api, answer: Answer, rest: dict[str, Any], code: str
) -> None:
    error = api.play(answer).says(**rest).fails()
    assert error.code == code
    assert api.manifests() == []
    assert len(api.server.asked) == 1, "trying again would bring the same"


@pytest.mark.parametrize("nothing", [None, "", [], {}, False, 0])
def test_an_error_member_that_says_nothing_is_no_error(api: Api, nothing: Any) -> None:
    api.play(json_answer({"items": [{"id": 1}], "error": nothing}))
    api.says(items_pointer="/items", error_pointer="/error").run()
    assert api.ids() == [1]


def test_no_content_is_an_answer(api: Api) -> None:
    report = api.play(Answer(204)).says(items_pointer="/items").run()
    assert report.counts.fetched == 0
    assert [manifest["end"] for manifest in api.manifests()] == [{"pass": 1}]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw deflate"])
def test_a_packed_body_is_unpacked(api: Api, encoding: Any) -> None:
    body = json.dumps({"items": [{"id": number} for number in range(1000)]}).encode()
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding.removeprefix("raw ")}
    api.play(Answer(200, packed(body, encoding), headers)).says(items_pointer="/items").run()
    assert api.ids() == list(range(1000))


def test_a_body_of_several_gzip_members_is_read_to_its_end(api: Api) -> None:
    body = packed(b'{"items": [{"id": 1}') + packed(b', {"id": 2}') + packed(b"]}")
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    api.play(Answer(200, body, headers)).says(items_pointer="/items").run()
    assert api.ids() == [1, 2]


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_httpbin_packs_and_it_is_unpacked(api: Api, httpbin_url: str, packing: str) -> None:
    api.says(f"{httpbin_url}/{packing}").run()
    assert api.payloads()[0][{"gzip": "gzipped", "deflate": "deflated"}[packing]] is True


def test_a_packing_that_was_not_asked_for_is_named(api: Api) -> None:
    api.play(Answer(200, b"x", {"Content-Encoding": "br"}))
    assert api.says().fails().code == "REST.ENCODING_UNKNOWN"


def test_an_item_above_the_limit_is_a_dead_letter_with_its_hash_and_the_others_are_records(api: Api) -> None:
    large = b'{"id": 2, "fill": "' + b"x" * 5000 + b'"}'
    page = b'{"items": [{"id": 1},' + large + b',{"id": 3}]}'
    api.play(json_answer(page)).says(items_pointer="/items", members={"limits": {"max_record_bytes": 1000}}).run()
    assert api.ids() == [1, 3]
    assert [place["item"] for place in api.places()] == [0, 2]
    (letter,) = api.folder.dead_letters("api")
    place = letter["metadata"]["source_details"]["position"]
    assert (place["item"], place["length"], place["sha256"]) == (1, len(large), hashlib.sha256(large).hexdigest())


def test_json_too_deep_to_look_into_is_named_and_does_not_take_the_process_down(api: Api) -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    api.play(json_answer(b'{"items": [' + deep + b', {"id": 1}]}'))
    assert api.says(items_pointer="/items").fails().code == "REST.BODY_NOT_JSON"
