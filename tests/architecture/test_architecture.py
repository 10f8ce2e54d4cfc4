"""Rules about the code as a whole that no single test of behaviour would notice being broken."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rootsys_dagster"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMELESS = re.compile(r"^(utils?|helpers?|common|misc|manager|base_.*|my_.*)$")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), name(path))


def imported(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in a file, inside functions too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def called(path: Path) -> Iterator[str]:
    """The name of every call, ``yaml.load`` as such."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def committed_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for entry in listed.stdout.decode().split("\0") if entry and (path := ROOT / entry).is_file()]


def test_the_import_contracts_hold() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_only_the_dagster_layer_imports_dagster() -> None:
    allowed = {"rootsys_dagster/definitions.py"}
    found = {
        name(path)
        for path in MODULES
        if PACKAGE / "defs" not in path.parents
        for module in imported(path)
        if re.match(r"dagster(_|\.|$)", module)
    }
    assert found <= allowed


def test_nothing_is_pickled_and_no_data_is_run() -> None:
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    calls = {"eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system"}
    for path in MODULES:
        assert not modules & set(imported(path)), name(path)
        assert not calls & set(called(path)), name(path)
        assert "shell=True" not in path.read_text(), name(path)


def test_no_module_postpones_its_annotations() -> None:
    # Dagster reads the annotations of ops while it runs.
    assert [name(path) for path in MODULES if "__future__" in imported(path)] == []


def test_every_module_has_a_name_that_says_what_it_is_for_and_a_first_line_that_does() -> None:
    for path in MODULES:
        assert not NAMELESS.match(path.stem), name(path)
        first = (ast.get_docstring(tree(path)) or "").split("\n")[0]
        assert len(first) > 15, name(path)


def test_modules_print_nothing_but_in_the_command_line() -> None:
    found = [name(path) for path in MODULES if PACKAGE / "cli" not in path.parents and "print" in called(path)]
    assert found == []


def test_the_core_loads_without_dagster_and_without_what_only_some_inputs_need() -> None:
    code = (
        "import sys, rootsys_dagster.drivers, rootsys_dagster.pipeline.run\n"
        "print(*sorted({'dagster', 'pyarrow', 'numpy', 'sqlalchemy', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_committed_files_name_no_place_on_somebodys_machine() -> None:
    places = re.compile(rb"/(home|Users)/[a-z]\w+/|[A-Z]:\\\\Users\\\\|" + re.escape(str(ROOT)).encode() + rb"(/|\b)")
    found = [
        f"{name(path)}: {match[0].decode()}"
        for path in committed_files()
        if path.stat().st_size < 1 << 20 and (match := places.search(path.read_bytes()))
    ]
    assert found == []


def test_no_committed_file_is_large_or_a_state_folder() -> None:
    for path in committed_files():
        assert path.stat().st_size < 2 << 20, name(path)
        assert not {".rootsys", ".dagster", "__pycache__", ".hypothesis"} & set(path.relative_to(ROOT).parts), name(
            path
        )
