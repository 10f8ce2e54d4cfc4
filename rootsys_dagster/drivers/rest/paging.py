"""How one page leads to the next. A step is what a position keeps of a page: small, plain JSON."""

from typing import Any, Protocol

import httpx
import msgspec

from rootsys_dagster.core.errors import PermanentError
from rootsys_dagster.core.pointer import tokens
from rootsys_dagster.core.rest_config import RestConfig
from rootsys_dagster.core.rest_paging_config import (
    CursorPagination,
    LinkPagination,
    NextUrlPagination,
    OffsetPagination,
    PagePagination,
)
from rootsys_dagster.drivers.rest.body import Response
from rootsys_dagster.drivers.rest.page import Page
from rootsys_dagster.drivers.rest.request import Ask, absolute

Step = dict[str, Any]


class Paging(Protocol):
    """One way to page."""

    max_pages: int | None
    """Of one run; the next one goes on."""
    in_flight: int
    kept: frozenset[str]
    """The members of every step but the first."""

    def first(self) -> Step:
        """The step of the first page."""
        ...

    def ask(self, step: Step) -> Ask:
        """What the request for the page of *step* needs."""
        ...

    def following(self, step: Step, page: Page, response: Response) -> Step | None:
        """The step behind *step*, None when the page is the last one."""
        ...

    def ahead(self, step: Step) -> Step:
        """The step behind *step* without a look at its page; only for ways with more than one page in flight."""
        ...


class Single:
    """One response is everything."""

    max_pages: int | None = None
    in_flight = 1
    kept = frozenset[str]()

    def first(self) -> Step:
        return {}

    def ask(self, step: Step) -> Ask:
        return Ask({})

    def following(self, step: Step, page: Page, response: Response) -> Step | None:
        return None

    def ahead(self, step: Step) -> Step:
        raise NotImplementedError


class Numbered:
    """Page numbers; the end is a page without records."""

    kept = frozenset({"page"})

    def __init__(self, config: PagePagination) -> None:
        self._config = config
        self.max_pages: int | None = config.max_pages
        self.in_flight = config.in_flight

    def first(self) -> Step:
        return {"page": self._config.initial_page}

    def ask(self, step: Step) -> Ask:
        config = self._config
        return Ask({config.page_param: str(step["page"]), config.page_size_param: str(config.page_size)})

    def following(self, step: Step, page: Page, response: Response) -> Step | None:
        return self.ahead(step) if page.units else None

    def ahead(self, step: Step) -> Step:
        return {"page": step["page"] + 1}


class Offset:
    """Offsets; the end is a page without records."""

    kept = frozenset({"offset"})

    def __init__(self, config: OffsetPagination) -> None:
        self._config = config
        self.max_pages: int | None = config.max_pages
        self.in_flight = config.in_flight

    def first(self) -> Step:
        return {"offset": self._config.initial_offset}

    def ask(self, step: Step) -> Ask:
        config = self._config
        return Ask({config.offset_param: str(step["offset"]), config.limit_param: str(config.limit)})

    def following(self, step: Step, page: Page, response: Response) -> Step | None:
        return self.ahead(step) if page.units else None

    def ahead(self, step: Step) -> Step:
        return {"offset": step["offset"] + self._config.limit}


class Cursor:
    """Each page holds the cursor of the next; the end is a page without one, or with its own."""

    in_flight = 1
    kept = frozenset({"page", "cursor"})

    def __init__(self, config: CursorPagination) -> None:
        self._config = config
        self._path = tokens(config.cursor_path)
        self.max_pages: int | None = config.max_pages

    def first(self) -> Step:
        known = {} if self._config.initial_cursor is None else {"cursor": self._config.initial_cursor}
        return {"page": 1, **known}

    def ask(self, step: Step) -> Ask:
        return Ask({self._config.cursor_param: step["cursor"]} if "cursor" in step else {})

    def following(self, step: Step, page: Page, response: Response) -> Step | None:
        cursor = scalar_text(page.document.at(self._path) if page.document is not None else None)
        if not cursor or cursor == step.get("cursor"):
            return None
        return {"page": step["page"] + 1, "cursor": cursor}

    def ahead(self, step: Step) -> Step:
        raise NotImplementedError


class Linked:
    """The header Link names the next page. Source: RFC 8288."""

    in_flight = 1
    kept = frozenset({"page", "url"})

    def __init__(self, config: LinkPagination) -> None:
        self._rel = config.rel
        self.max_pages: int | None = config.max_pages

    def first(self) -> Step:
        return {"page": 1}

    def ask(self, step: Step) -> Ask:
        return Ask({}, url=step.get("url"))

    def following(self, step: Step, page: Page, response: Response) -> Step | None:
        if "link" not in response.headers:
            return None
        for link in httpx.Response(200, headers={"link": response.headers["link"]}).links.values():
            if self._rel in link.get("rel", "").split():
                return {"page": step["page"] + 1, "url": absolute(response.url, link.get("url", ""))}
        return None

    def ahead(self, step: Step) -> Step:
        raise NotImplementedError


class NextUrl:
    """Each page holds the URL of the next."""

    in_flight = 1
    kept = frozenset({"page", "url"})

    def __init__(self, config: NextUrlPagination) -> None:
        self._path = tokens(config.next_url_path)
        self.max_pages: int | None = config.max_pages

    def first(self) -> Step:
        return {"page": 1}

    def ask(self, step: Step) -> Ask:
        return Ask({}, url=step.get("url"))

    def following(self, step: Step, page: Page, response: Response) -> Step | None:
        url = scalar_text(page.document.at(self._path) if page.document is not None else None)
        return {"page": step["page"] + 1, "url": absolute(response.url, url)} if url else None

    def ahead(self, step: Step) -> Step:
        raise NotImplementedError


def paging_of(config: RestConfig) -> Paging:
    """The way of paging that an interface file chose."""
    match config.pagination.block() if config.pagination is not None else None:
        case CursorPagination() as cursor:
            return Cursor(cursor)
        case PagePagination() as page:
            return Numbered(page)
        case OffsetPagination() as offset:
            return Offset(offset)
        case LinkPagination() as link:
            return Linked(link)
        case NextUrlPagination() as next_url:
            return NextUrl(next_url)
        case None:
            return Single()


def scalar_text(value: bytes | None) -> str | None:
    """A non-empty string, a number or a boolean as text; None for everything else. Source: spec/1-reference.md 1.8."""
    if value is None or value[:1] in (b"{", b"[") or value == b"null":
        return None
    if not value.startswith(b'"'):
        return value.decode()
    try:
        return msgspec.json.decode(value, type=str) or None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        message = "the next page cannot be named: its cursor is no valid text"
        raise PermanentError(message, code="REST.CURSOR_INVALID") from error
