"""The yardstick: every page by one keep-alive httpx client, parsed by orjson, nothing kept. ``httpx_loop URL``."""

import sys

import httpx
import orjson


def main(url: str) -> int:
    """The number of items."""
    count, cursor = 0, "0"
    with httpx.Client() as client:
        while cursor is not None:
            page = orjson.loads(client.get(f"{url}?cursor={cursor}").content)
            count += len(page["items"])
            cursor = page["next"]
    return count


if __name__ == "__main__":
    print(main(sys.argv[1]))
