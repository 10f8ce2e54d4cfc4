"""``driver.rest.pagination``: how one page leads to the next, and where that ends."""

from typing import Literal

from pydantic import Field

from rootsys_dagster.core.config import Config, Findings, Pointer, Positive, Text, Whole

InFlight = Field(default=1, description="So many pages are asked for at once; they are taken in order.")
MAX_IN_FLIGHT = 16


class CursorPagination(Config):
    """Each page names the next one."""

    cursor_param: Text
    cursor_path: Pointer = Field(description="Where a page holds the next cursor; null or nothing there is the end.")
    initial_cursor: str | None = None
    max_pages: Positive = 100

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_PAGINATION_CURSOR_PARAM_EMPTY", f"{at}/cursor_param", self.cursor_param)
        found.bad_pointer("REST_PAGINATION_CURSOR_PATH_INVALID", f"{at}/cursor_path", self.cursor_path)
        found.below_one("REST_PAGINATION_MAX_PAGES_INVALID", f"{at}/max_pages", self.max_pages)


class PagePagination(Config):
    """Pages are numbered; a page without records is the end."""

    page_param: Text
    page_size_param: Text
    page_size: Positive
    initial_page: Positive = 1
    max_pages: Positive = 100
    in_flight: Positive = InFlight
    total_pointer: Pointer | None = Field(
        default=None, description="Where a page says how many records there are; a change while paging is reported."
    )

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_PAGINATION_PAGE_PARAM_EMPTY", f"{at}/page_param", self.page_param)
        found.blank("REST_PAGINATION_PAGE_SIZE_PARAM_EMPTY", f"{at}/page_size_param", self.page_size_param)
        found.below_one("REST_PAGINATION_PAGE_SIZE_INVALID", f"{at}/page_size", self.page_size)
        found.below_one("REST_PAGINATION_INITIAL_PAGE_INVALID", f"{at}/initial_page", self.initial_page)
        found.below_one("REST_PAGINATION_PAGE_MAX_PAGES_INVALID", f"{at}/max_pages", self.max_pages)
        check_in_flight(self.in_flight, at, found)
        found.bad_pointer("REST_PAGINATION_TOTAL_POINTER_INVALID", f"{at}/total_pointer", self.total_pointer)


class OffsetPagination(Config):
    """Pages begin so many records in; a page without records is the end."""

    offset_param: Text
    limit_param: Text
    limit: Positive
    initial_offset: Whole = Field(default=0, json_schema_extra={"minimum": 0})
    max_pages: Positive = 100
    in_flight: Positive = InFlight
    total_pointer: Pointer | None = Field(
        default=None, description="Where a page says how many records there are; a change while paging is reported."
    )

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_PAGINATION_OFFSET_PARAM_EMPTY", f"{at}/offset_param", self.offset_param)
        found.blank("REST_PAGINATION_LIMIT_PARAM_EMPTY", f"{at}/limit_param", self.limit_param)
        found.below_one("REST_PAGINATION_LIMIT_INVALID", f"{at}/limit", self.limit)
        if self.initial_offset < 0:
            message = f"must be at least 0, not {self.initial_offset}"
            found.add("REST_PAGINATION_INITIAL_OFFSET_INVALID", f"{at}/initial_offset", message)
        found.below_one("REST_PAGINATION_MAX_PAGES_INVALID", f"{at}/max_pages", self.max_pages)
        check_in_flight(self.in_flight, at, found)
        found.bad_pointer("REST_PAGINATION_TOTAL_POINTER_INVALID", f"{at}/total_pointer", self.total_pointer)


class LinkPagination(Config):
    """The header Link of a page leads to the next one. Source: RFC 8288."""

    rel: Text = "next"
    max_pages: Positive = 100

    def check(self, at: str, found: Findings) -> None:
        found.blank("REST_PAGINATION_REL_EMPTY", f"{at}/rel", self.rel)
        found.below_one("REST_PAGINATION_MAX_PAGES_INVALID", f"{at}/max_pages", self.max_pages)


class NextUrlPagination(Config):
    """Each page holds the URL of the next one."""

    next_url_path: Pointer = Field(description="Where a page holds the next URL; null or nothing there is the end.")
    max_pages: Positive = 100

    def check(self, at: str, found: Findings) -> None:
        found.bad_pointer("REST_PAGINATION_NEXT_URL_PATH_INVALID", f"{at}/next_url_path", self.next_url_path)
        found.below_one("REST_PAGINATION_MAX_PAGES_INVALID", f"{at}/max_pages", self.max_pages)


PagingBlock = CursorPagination | PagePagination | OffsetPagination | LinkPagination | NextUrlPagination


class RestPagination(Config):
    """Which way to page; only the block of that kind is read."""

    kind: Literal["cursor", "page", "offset", "link", "next_url"] = "page"
    cursor: CursorPagination | None = None
    page: PagePagination | None = None
    offset: OffsetPagination | None = None
    link: LinkPagination | None = Field(default=None, description="May be left out: it has defaults for all.")
    next_url: NextUrlPagination | None = None

    def check(self, at: str, found: Findings) -> None:
        match self.kind:
            case "cursor":
                self.check_block("REST_PAGINATION_CURSOR_REQUIRED", at, found)
            case "page":
                self.check_block("REST_PAGINATION_PAGE_REQUIRED", at, found)
            case "offset":
                self.check_block("REST_PAGINATION_OFFSET_REQUIRED", at, found)
            case "next_url":
                self.check_block("REST_PAGINATION_NEXT_URL_REQUIRED", at, found)
            case "link":
                (self.link or LinkPagination()).check(f"{at}/link", found)

    def check_block(self, code: str, at: str, found: Findings) -> None:
        """Report the problems of the chosen block, or *code* when it is missing."""
        block = self.block()
        if block is None:
            found.add(code, f"{at}/{self.kind}", f'is needed for kind "{self.kind}"', [f"{at}/kind"])
        else:
            block.check(f"{at}/{self.kind}", found)

    def block(self) -> PagingBlock | None:
        """The block of the chosen kind, None when it is missing."""
        return {
            "cursor": self.cursor,
            "page": self.page,
            "offset": self.offset,
            "link": self.link or LinkPagination(),
            "next_url": self.next_url,
        }[self.kind]


def check_in_flight(pages: int, at: str, found: Findings) -> None:
    """Report a number of pages in flight that is none, or more than a source should be asked for at once."""
    if not 1 <= pages <= MAX_IN_FLIGHT:
        message = f"must be between 1 and {MAX_IN_FLIGHT}, not {pages}"
        found.add("REST_PAGINATION_IN_FLIGHT_INVALID", f"{at}/in_flight", message)
