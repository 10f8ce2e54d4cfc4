"""JSON Pointers as interface files use them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootsys_dagster.core import pointer
from rootsys_dagster.core.pointer import MISSING


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("/", None, id="the member with the empty name"),
        pytest.param("/a/b", None, id="two steps"),
        pytest.param("/a~0~1", None, id="both escapes"),
        pytest.param("/a b", None, id="a space inside"),
        pytest.param("", "is empty", id="the whole document"),
        pytest.param("a", "does not start with '/'", id="no slash"),
        pytest.param("#/a", "does not start with '/'", id="URI fragment"),
        pytest.param(" /a", "has spaces around it", id="space before"),
        pytest.param("/a\n", "has spaces around it", id="line end behind"),
        pytest.param("/a~", "has a '~' that is not", id="escape cut off"),
        pytest.param("/a~2b", "has a '~' that is not", id="unknown escape"),
        pytest.param("/a~~0", "has a '~' that is not", id="escape of an escape"),
    ],
)
def test_a_pointer_is_valid_or_it_is_said_why_not(text: str, why: str | None) -> None:
    found = pointer.problem(text)
    assert found is None if why is None else found is not None and why in found


DOCUMENT = {
    "": "empty",
    "a": {"b": [10, {"c": None}], "m~n": 1, "x/y": 2, "~1": 3},
    "0": "zero",
    "items": [],
    "text": "abc",
    "falsy": [0, False, "", {}],
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("/", "empty", id="empty name"),
        pytest.param("/a/b/0", 10, id="array element"),
        pytest.param("/a/b/1/c", None, id="a null is found"),
        pytest.param("/a/m~0n", 1, id="escaped tilde"),
        pytest.param("/a/x~1y", 2, id="escaped slash"),
        pytest.param("/a/~01", 3, id="~01 is ~1 and not a slash"),
        pytest.param("/0", "zero", id="a number may name a member"),
        pytest.param("/falsy/0", 0, id="zero is found"),
        pytest.param("/falsy/1", False, id="false is found"),
        pytest.param("/a/b/2", MISSING, id="past the end"),
        pytest.param("/a/b/-", MISSING, id="the element after the last"),
        pytest.param("/a/b/00", MISSING, id="leading zero"),
        pytest.param("/a/b/01", MISSING, id="leading zero before a digit"),
        pytest.param("/a/b/+1", MISSING, id="sign"),
        pytest.param("/a/b/-1", MISSING, id="no counting from the end"),
        pytest.param("/a/b/1.0", MISSING, id="no fraction"),
        pytest.param("/a/b/\N{ARABIC-INDIC DIGIT ONE}", MISSING, id="digit of another script"),
        pytest.param("/a/b/\N{SUPERSCRIPT ONE}", MISSING, id="raised digit"),
        pytest.param("/a/b/" + "9" * 5000, MISSING, id="more digits than a number may have"),
        pytest.param("/a/b/", MISSING, id="empty step into an array"),
        pytest.param("/items/0", MISSING, id="empty array"),
        pytest.param("/text/0", MISSING, id="a string has no elements"),
        pytest.param("/a/b/1/c/d", MISSING, id="null has no members"),
        pytest.param("/nothing", MISSING, id="no such member"),
        pytest.param("/a/B", MISSING, id="case matters"),
    ],
)
def test_a_pointer_leads_to_its_value_or_nowhere(text: str, value: object) -> None:
    found = pointer.resolve(json.loads(json.dumps(DOCUMENT)), pointer.tokens(text))
    assert found is value if value is None or value is MISSING else found == value and type(found) is type(value)


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_every_path_of_names_can_be_written_as_a_pointer(names: list[str]) -> None:
    document: object = "here"
    for name in reversed(names):
        document = {name: document}
    text = "".join("/" + pointer.escape(name) for name in names)
    assert pointer.tokens(text) == tuple(names)
    assert pointer.resolve(document, pointer.tokens(text)) == "here"


@pytest.mark.parametrize(
    ("text", "found"),
    [("/a", ["/a"]), ("/a/b~1c/0", ["/a", "/a/b~1c", "/a/b~1c/0"]), ("/", ["/"]), ("//x", ["/", "//x"])],
)
def test_the_lineage_of_a_pointer_is_everything_it_stands_in(text: str, found: list[str]) -> None:
    assert pointer.lineage(text) == found
