"""Hypothesis strategies for JSON text as it arrives: all number and string forms, white space, and damage."""

from hypothesis import strategies as st

numbers = st.one_of(
    st.sampled_from("0 -0 1 1.0 1.10 -1 1e5 1E400 1e-7 0.00001 1e16 -0.0 0e1 123456789012345678".split()),
    st.sampled_from(["12345678901234567890", "18446744073709551615", "18446744073709551616", "-9223372036854775808"]),
    st.just("1" * 30),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)
names = st.sampled_from(["id", "a", "b", "0", "1", "a/b", "~", "é", "", "i\\u0064", "\\u0061", "x"])
pieces = st.one_of(
    st.sampled_from(
        [
            "|",
            "\\n",
            '\\"',
            "\\\\",
            "\\/",
            "\\u0041",
            "\\u00e9",
            "\\ud83d\\ude00",
            "\\u0000",
            "é",
            "\u2028",
            "\x7f",
            "😀",
            "[{",
            "a",
        ]
    ),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters='"\\', min_codepoint=0x20), max_size=5),
    # Half a pair of surrogates is rare, because it makes a dead letter of the whole text.
    st.integers(0, 30).map(lambda n: "\\ud800" if n == 0 else ""),
)
bodies = st.lists(pieces, max_size=4).map("".join)
spaces = st.sampled_from(["", "", "", " ", "\t", "\r", "  "])
scalars = st.one_of(
    numbers,
    bodies.map('"{}"'.format),
    st.sampled_from(["true", "false", "null", "null", '"D-1"', '"D-2"', "7"]),
)


@st.composite
def _arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(values, max_size=4))
    return "[" + ",".join(draw(spaces) + item + draw(spaces) for item in items) + draw(spaces) + "]"


@st.composite
def _objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(st.one_of(names, names, bodies), values), max_size=5))
    written = (f'{draw(spaces)}"{name}"{draw(spaces)}:{draw(spaces)}{value}{draw(spaces)}' for name, value in members)
    return "{" + ",".join(written) + "}"


documents = st.recursive(
    scalars, lambda values: st.one_of(_arrays(values), _objects(values), _objects(values)), max_leaves=12
)


@st.composite
def json_texts(draw: st.DrawFn) -> bytes:
    """A JSON document without line feeds, one time in three damaged by some bytes."""
    text = (draw(spaces) + draw(st.one_of(documents, _objects(documents))) + draw(spaces)).encode()
    if draw(st.integers(0, 2)) == 0:
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 3))
        damage = st.sampled_from(
            [
                b"",
                b",",
                b'"',
                b"\x00",
                b"\xff",
                b"\xc3",
                b"\xed\xa0\x80",
                b"NaN",
                b"\xef\xbb\xbf",
                b"}",
                b"\\",
                b"\x85",
                b"1",
            ]
        )
        text = text[:at] + draw(damage) + text[at + cut :]
    return text


units = st.one_of(
    json_texts(),
    st.binary(max_size=12).map(lambda data: data.replace(b"\n", b" ")),
    st.sampled_from(
        [
            b"",
            b" ",
            b"\t\r",
            "\u00a0\u2003".encode(),
            b"\x0b\x0c",
            b"\x1c",
            b"\xef\xbb\xbf{}",
            b"null",
            b'{"id":"D-1"}',
            b'{"id":7}',
        ]
    ),
)
