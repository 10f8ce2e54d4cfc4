"""Paths from files stay under the data roots."""

from pathlib import Path

import pytest

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.paths import inside_roots


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with a file in it, beside a folder that is none."""
    root = (tmp_path / "project").resolve()
    (root / "data").mkdir(parents=True)
    (root / "data" / "mes.jsonl").write_text("{}\n")
    (tmp_path / "project-of-others").mkdir()
    (tmp_path / "project-of-others" / "secret.jsonl").write_text("{}\n")
    return root


@pytest.mark.parametrize(
    "path", ["data/mes.jsonl", "./data/../data/mes.jsonl", "data/not-there-yet.jsonl", "new/folder/x.jsonl", "."]
)
def test_a_path_inside_comes_back_absolute(root: Path, path: str) -> None:
    found = inside_roots(path, root, [root], "mes: driver.input")
    assert found.is_absolute()
    assert found == (root / path).resolve()


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("../project-of-others/secret.jsonl", id="two dots"),
        pytest.param("data/../../project-of-others/secret.jsonl", id="two dots further in"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("..", id="the folder above"),
        pytest.param("link.jsonl", id="link to a file outside"),
        pytest.param("folder/secret.jsonl", id="through a link to a folder outside"),
        pytest.param("chain.jsonl", id="link to a link"),
    ],
)
def test_a_path_outside_is_refused_with_the_way_out(root: Path, path: str) -> None:
    outside = root.parent / "project-of-others"
    (root / "link.jsonl").symlink_to(outside / "secret.jsonl")
    (root / "folder").symlink_to(outside)
    (root / "chain.jsonl").symlink_to("link.jsonl")
    with pytest.raises(ConfigError, match="ROOTSYS_DATA_ROOTS") as caught:
        inside_roots(path, root, [root], "mes: driver.input")
    assert caught.value.code == "PATH.OUTSIDE_ROOTS"
    assert str(caught.value).startswith(f"mes: driver.input: '{path}' leads to ")


def test_a_further_root_makes_room(root: Path) -> None:
    outside = root.parent / "project-of-others"
    assert inside_roots("../project-of-others/secret.jsonl", root, [root, outside], "input").parent == outside


@pytest.mark.parametrize("path", ["loop/x.jsonl", "a\0b", "data/\0"])
def test_a_path_that_cannot_be_followed_is_refused(root: Path, path: str) -> None:
    (root / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match=r"PATH|path"):
        inside_roots(path, root, [root], "input")
