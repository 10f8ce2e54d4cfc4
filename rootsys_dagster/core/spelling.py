"""The closest known word to a mistyped one, for every message that says "did you mean"."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that *word* most likely stands for; None when nothing is close."""
    candidates = {candidate.casefold(): candidate for candidate in known}
    # Comparing is quadratic in the length, and what a file holds may be megabytes long.
    folded = word[:100].casefold()
    close = get_close_matches(folded, candidates, n=5, cutoff=0.6)
    # Letters in the wrong order are the commonest slip, and count as two faults to the matcher.
    swapped = [candidate for candidate in close if sorted(candidate) == sorted(folded)]
    return candidates[(swapped or close)[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'rest'?`` to put behind a message, or nothing."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near is not None else ""


def shown(value: object) -> str:
    """*value* quoted for a message: escapes visible, cut when long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}…{text[-1]}"
