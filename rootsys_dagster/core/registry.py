"""Plugins by kind: drivers and sinks register themselves here, the pipeline finds them here."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Generic, TypeVar

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.ports import DeadLetterSink, Driver, Locators
from rootsys_dagster.core.spelling import did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """Classes of one port by the ``kind`` that an interface file names."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._classes: dict[str, type[T]] = {}
        self._modules: dict[str, str] = {}

    def register(self, kind: str) -> Callable[[type[Any]], type[Any]]:
        """Class decorator: make a class available as *kind*."""

        def add(cls: type[Any]) -> type[Any]:
            self._classes[kind] = cls
            return cls

        return add

    def provide(self, kind: str, module: str) -> None:
        """Say that *module* registers *kind* when it is imported, which is done when somebody asks for it."""
        self._modules[kind] = module

    def get(self, kind: str) -> type[T]:
        """The class of *kind*.

        Raises:
            ConfigError: no plugin of that kind is part of this installation.
        """
        if kind not in self._classes and kind in self._modules:
            import_module(self._modules[kind])
        try:
            return self._classes[kind]
        except KeyError:
            hint = did_you_mean(kind, self.kinds()) or f"; available: {', '.join(self.kinds())}"
            raise ConfigError(
                f"no {self._noun} of kind {kind!r} is part of this version{hint}", code="PLUGIN.UNKNOWN"
            ) from None

    def kinds(self) -> list[str]:
        """Every kind that there is, sorted."""
        return sorted({*self._classes, *self._modules})


DRIVERS: Registry[Driver[Any]] = Registry("driver")
SINKS: Registry[DeadLetterSink] = Registry("dead-letter sink")
LOCATORS: Registry[Locators] = Registry("locator")
"""By the member ``kind`` of their JSON form, so that the spool can rebuild them."""
