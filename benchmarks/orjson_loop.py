"""The yardstick: ``orjson.loads`` over every line, nothing kept. ``python -m benchmarks.orjson_loop FILE``."""

import sys

import orjson


def main(path: str) -> int:
    """The number of lines that are JSON."""
    loads, count = orjson.loads, 0
    with open(path, "rb") as stream:
        for line in stream:
            try:
                loads(line)
            except orjson.JSONDecodeError:
                continue
            count += 1
    return count


if __name__ == "__main__":
    main(sys.argv[1])
