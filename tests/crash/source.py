"""A project with one interface whose input grows, and for each line what must become of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

Fate = Literal["record", "dead_letter", "blank"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the input without its newline, and its one allowed outcome."""

    raw: bytes
    fate: Fate


def make_line(number: int, random: Random, repeats: float) -> Line:
    """Line *number*, unlike every other: nine of ten are records, the others fail in each way there is.

    Args:
        repeats: how often, 0 to 1, its id is that of an earlier line.
    """
    id_number = random.randrange(number) if number and random.random() < repeats else number
    text = {"id": f"L{id_number:07d}", "n": number * 1.0, "note": 'ä\\ "' * random.randrange(1, 40)}
    raw = json.dumps(text, ensure_ascii=random.random() < 0.5, separators=random.choice([(",", ":"), (", ", ": ")]))
    match random.randrange(60):
        case 0:
            return Line(raw.encode()[:-1], "dead_letter")
        case 1:
            return Line(raw.replace('"id"', '"ID"').encode(), "dead_letter")
        case 2:
            return Line(b"\xff\xfe" + raw.encode(), "dead_letter")
        case 3:
            return Line(b"  \t" * random.randrange(2), "blank")
        case 4:
            return Line(raw.replace('"id":', '"id":null,"was":').replace('"id" :', "").encode(), "dead_letter")
        case 5:
            # Two equal members and a number that no float holds: the bytes must survive all the same.
            return Line(raw[:-1].encode() + b',"n":123456789012345678901234567890}', "record")
        case _:
            return Line(raw.encode(), "record")


@dataclass(slots=True)
class Source:
    """The input file of interface *name* under *root*, every line of it known."""

    root: Path
    name: str = "mes"
    seed: int = 1
    members: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further members of the interface file; a commit is made after every batch unless they say otherwise."""
    repeats: float = 0
    lines: list[Line] = field(default_factory=list[Line])

    def __post_init__(self) -> None:
        self._random = Random(self.seed)
        for folder in ("interfaces", "contracts", "data"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        document = {
            "name": self.name,
            "version": "v1",
            "driver": {"kind": "jsonl", "input": f"data/{self.name}.jsonl"},
            "payload_format": "json",
            "required_paths": ["/id"],
            "record_id_paths": ["/id"],
            "commit_every": {"records": 1},
            **self.members,
        }
        (self.root / "interfaces" / f"{self.name}.json").write_text(json.dumps(document))
        names = sorted(path.stem for path in (self.root / "interfaces").glob("*.json") if "." not in path.stem)
        allowlist = {"allowlist": [{"name": name, "version": "v1"} for name in names]}
        (self.root / "contracts" / "allowlist.json").write_text(json.dumps(allowlist))
        self.path.touch()

    @property
    def path(self) -> Path:
        """The input file."""
        return self.root / "data" / f"{self.name}.jsonl"

    def grow(self, size: int, *, torn: bool = False) -> None:
        """Append about *size* bytes of lines; *torn* leaves the last one for the next call to end."""
        data = bytearray(self._rest)
        while len(data) < size:
            line = make_line(len(self.lines), self._random, self.repeats)
            self.lines.append(line)
            data += line.raw + b"\n"
        cut = len(data) - self._random.randrange(1, len(self.lines[-1].raw) + 2) if torn else len(data)
        self._rest = bytes(data[cut:])
        with self.path.open("ab") as stream:
            stream.write(data[:cut])

    _random: Random = field(init=False, repr=False)
    _rest: bytes = field(default=b"", init=False, repr=False)
