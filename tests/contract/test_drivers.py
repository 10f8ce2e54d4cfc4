"""What every driver promises, on every registered kind. A kind without a world fails here."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.ports import Batch
from rootsys_dagster.core.registry import DRIVERS, LOCATORS
from tests.contract.worlds import DRIVER_WORLDS, DriverWorld
from tests.services import wait_for


@pytest.fixture(params=DRIVER_WORLDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DriverWorld]:
    world = DRIVER_WORLDS[request.param](tmp_path)
    world.grow()
    yield world
    world.close()


@pytest.mark.parametrize("kind", DRIVERS.kinds())
def test_every_driver_has_a_world(kind: str) -> None:
    assert kind in {name.split()[0] for name in DRIVER_WORLDS}, f"driver {kind} needs one in tests/contract/worlds.py"


def units_of(batches: list[Batch]) -> list[bytes]:
    return [unit for batch in batches for unit in batch.units]


def units_behind(world: DriverWorld, committed: list[Batch]) -> list[bytes]:
    """What a read behind *committed* brings, without what its driver says it may bring again: the line knows those."""
    driver, resume = world.driver(), json.loads(json.dumps(committed[-1].position))
    again: set[bytes] = set()
    if driver.remembers_units:
        again = set(units_of([batch for batch in committed if driver.rereads(resume, batch.position)]))
    return [unit for unit in units_of(list(driver.read(resume))) if unit not in again]


def test_a_read_gives_every_unit_once_and_in_order(world: DriverWorld) -> None:
    assert units_of(list(world.driver().read(None))) == world.units()


def test_a_read_goes_on_after_any_batch(world: DriverWorld) -> None:
    batches = list(world.driver().read(None))
    assert len(batches) > 1
    for number in range(1, len(batches) + 1):
        assert units_behind(world, batches[:number]) == units_of(batches[number:])


def test_what_is_added_is_read_and_nothing_else(world: DriverWorld) -> None:
    committed = list(world.driver().read(None))
    known = len(world.units())
    assert units_behind(world, committed) == []
    world.grow()
    assert units_behind(world, committed) == world.units()[known:]


def test_the_head_says_when_there_is_something_new(world: DriverWorld) -> None:
    if not world.has_head:
        with pytest.raises(NotImplementedError):
            world.driver().head(None)
        return
    assert world.driver().head(None) is not None
    position = list(world.driver().read(None))[-1].position
    assert world.driver().head(position) is None
    world.grow()
    assert world.driver().head(position) is not None


def test_the_position_moves_by_what_was_read(world: DriverWorld) -> None:
    start = None
    for batch in world.driver().read(None):
        span = world.driver().span(start, batch.position)
        assert span in (None, batch.raw_bytes)
        start = batch.position


def test_every_unit_says_where_it_stood(world: DriverWorld) -> None:
    for batch in world.driver().read(None):
        positions = [json.loads(position) for position in batch.locators.positions(batch.units)]
        assert len(positions) == len(batch.units)
        assert all(positions)
        assert batch.locators.source_type == world.source_type
        # A database has no name for its rows in the reference: their place is a key.
        assert batch.locators.locator or world.kind == "db"
        members = batch.locators.to_json()
        rebuilt = LOCATORS.get(members.pop("kind"))(**members)
        assert list(rebuilt.positions(batch.units)) == list(batch.locators.positions(batch.units))


def test_a_source_that_is_not_there_is_an_error_of_ours(world: DriverWorld) -> None:
    world.vanish()
    with pytest.raises(RootsysError):
        world.driver().check()
    with pytest.raises(RootsysError):
        list(world.driver().read(None))


def test_a_read_that_is_left_early_closes_what_it_opened(world: DriverWorld) -> None:
    before = len(os.listdir("/proc/self/fd"))
    batches = iter(world.driver().read(None))
    next(batches)
    del batches
    # A server that runs in this process closes its end when it sees that the other one is closed.
    wait_for("everything closed", lambda: len(os.listdir("/proc/self/fd")) == before or None, 2)
