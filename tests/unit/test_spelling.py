"""What "did you mean" proposes, and how values are quoted."""

import pytest

from rootsys_dagster.core.spelling import did_you_mean, nearest, shown

KINDS = ["jsonl", "text", "binary", "rest", "db", "stream"]


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        pytest.param("rset", KINDS, "rest", id="two letters swapped"),
        pytest.param("mse", ["mes", "qms"], "mes", id="swapped before anything as close"),
        pytest.param("JSONL", KINDS, "jsonl", id="case"),
        pytest.param("json", KINDS, "jsonl", id="cut off"),
        pytest.param("streams", KINDS, "stream", id="one too many"),
        pytest.param("xyz", KINDS, None, id="nothing close"),
        pytest.param("", KINDS, None, id="nothing at all"),
        pytest.param("rest", [], None, id="nothing known"),
    ],
)
def test_the_nearest_known_word_is_proposed_or_none(word: str, known: list[str], found: str | None) -> None:
    assert nearest(word, known) == found
    assert did_you_mean(word, known) == (f"; did you mean {found!r}?" if found else "")


@pytest.mark.timeout(5)
def test_a_word_of_megabytes_costs_nothing() -> None:
    assert nearest("x" * (4 << 20), ["x" * 90, *KINDS]) == "x" * 90


def test_a_value_is_quoted_with_its_escapes_and_cut_when_long() -> None:
    assert shown("a\x1b[31m") == "'a\\x1b[31m'"
    assert shown("x" * 1000) == "'" + "x" * 75 + "…'"
