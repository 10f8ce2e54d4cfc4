"""One module or package per source system. A driver is imported when an interface of its kind is opened."""

from typing import Final

from rootsys_dagster.core.registry import DRIVERS

MODULES: Final = {
    "jsonl": "jsonl",
    "text": "text",
    "binary": "binary",
    "rest": "rest.driver",
    "db": "db.driver",
    "stream": "kafka.driver",
}
"""Each kind and where its driver is: what a driver imports costs nothing to those who do not need it."""

for _kind, _module in MODULES.items():
    DRIVERS.provide(_kind, f"{__name__}.{_module}")
