"""Seeded input: JSON lines of about 350 bytes; 1 % lack the id, 0.1 % are not JSON, 0.5 % repeat an id."""

import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

WORDS = (
    "scratch dent misaligned solder void crack burr porosity warp stain chip delamination bubble flux residue gap "
    "short open bridge lifted pad torque overheated underfilled Kratzer Lötfehler 傷 気泡 rayure été déformé"
).split()
OPERATORS = ["A. Ivanova", "B. Müller", "C. O'Brien", "D. 田中", "E. Núñez", "F. Smith"]
RECENT = 10_000


def defects(count: int, seed: int = 7, first: int = 0) -> Iterator[bytes]:
    """*count* lines without their newline; the same arguments give the same bytes.

    Args:
        first: number of the first id, so that two files overlap by as much as one likes.
    """
    pick = random.Random(seed)
    recent: list[str] = []
    for number in range(count):
        members = _members(pick, number)
        chance = pick.random()
        defect_id = f"D-{(number + first) * 7 % 1_000_000_007:09d}"
        if chance < 0.010:
            yield ("{" + members).encode()
            continue
        if 0.011 <= chance < 0.016 and recent:
            defect_id = recent[pick.randrange(len(recent))]
        line = f'{{"defect_id":"{defect_id}",{members}'
        if chance < 0.011:
            yield _broken(pick, line, number)
            continue
        if len(recent) < RECENT:
            recent.append(defect_id)
        else:
            recent[number % RECENT] = defect_id
        yield line.encode()


def _members(pick: random.Random, number: int) -> str:
    upto = pick.randrange
    notes = " ".join(pick.choices(WORDS, k=3 + upto(6)))
    return (
        f'"lot_id":"L-{upto(200000):06d}","ts":"2025-{1 + upto(12):02d}-{1 + upto(28):02d}T{upto(24):02d}:'
        f'{upto(60):02d}:{upto(60):02d}.{upto(1000):03d}Z","line":{{"id":"LN-{upto(20):02d}","station":"ST-{upto(400):03d}",'
        f'"shift":"{"ABC"[upto(3)]}"}},"measure":{{"x":{pick.random() * 500 - 250:.5f},"y":{pick.random() * 1e-3:.6g},'
        f'"unit":"mm","ok":{("true", "false")[upto(2)]}}},"severity":{upto(6)},"tags":["{WORDS[upto(20)]}",'
        f'"{WORDS[upto(20)]}"],"operator":"{OPERATORS[upto(6)]}","notes":"{notes}","attrs":{{"temp_c":'
        f'{15 + pick.random() * 40:.2f},"seq":{number},"rework":{("null", "true", "false")[upto(3)]}}}}}'
    )


def _broken(pick: random.Random, line: str, number: int) -> bytes:
    kinds = [
        line[: 60 + pick.randrange(len(line) - 80)].encode(),
        (line[:-1] + ",}").encode(),
        (line[:-1] + ',"ratio":NaN}').encode(),
        (line[:-1] + ',"bad":"').encode() + b'\xff\xfe"}',
        b"ERROR 500 upstream timed out at record %d" % number,
    ]
    return kinds[pick.randrange(len(kinds))]


def defects_file(folder: Path, count: int, seed: int = 7, first: int = 0) -> Path:
    """A file of *count* lines, made once and kept."""
    path = folder / f"defects-{count}-{seed}-{first}.jsonl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb", buffering=1 << 20) as stream:
            for line in defects(count, seed, first):
                stream.write(line + b"\n")
        partial.rename(path)
    return path


def write_project(root: Path, inputs: Mapping[str, Path | dict[str, Any]]) -> None:
    """A project with one interface per input, each with one required pointer and one id pointer.

    Args:
        inputs: by the name of the interface: a file of lines, or a member ``driver``.
    """
    (root / "interfaces").mkdir(parents=True)
    (root / "contracts").mkdir()
    for name, source in inputs.items():
        interface = {
            "name": name,
            "version": "v1",
            "driver": source if isinstance(source, dict) else {"kind": "jsonl", "input": str(source.resolve())},
            "required_paths": ["/defect_id"],
            "record_id_paths": ["/defect_id"],
        }
        (root / "interfaces" / f"{name}.json").write_text(json.dumps(interface))
    allowed = {"allowlist": [{"name": name, "version": "v1"} for name in inputs]}
    (root / "contracts" / "allowlist.json").write_text(json.dumps(allowed))
