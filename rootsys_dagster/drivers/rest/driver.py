"""HTTP sources, page by page. Position: ``{"pass": n, "at": step}``, or ``{"watermark": …, "high": …, "at": step}``, or
``{"windows": [[start, end], …], "window": [start, end]}``.

A pass goes over all pages once. ``at`` is the page to go on with, and absent between two passes; a pass replaces the
one before, unless the interface is incremental: then ``watermark`` is up to where everything is read, and ``high`` how
far the pass under way has come.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import compress
from typing import Any
from urllib.parse import urlsplit

from rootsys_dagster.core.driver_config import DriverConfig
from rootsys_dagster.core.errors import ConfigError, PermanentError
from rootsys_dagster.core.incremental import Window
from rootsys_dagster.core.ports import Batch, Driver, DriverContext, Oversized
from rootsys_dagster.core.position import Position
from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.core.rest_config import RestConfig
from rootsys_dagster.drivers.rest.body import Response
from rootsys_dagster.drivers.rest.errors import shown
from rootsys_dagster.drivers.rest.exchange import Exchange, Shared
from rootsys_dagster.drivers.rest.page import Page, parse_page
from rootsys_dagster.drivers.rest.paging import Paging, Step, paging_of
from rootsys_dagster.drivers.rest.passes import MAX_PAGES, OUTSIDE_WINDOW, Pass, Turned
from rootsys_dagster.drivers.rest.places import PageItems
from rootsys_dagster.drivers.rest.request import Ask, RequestTemplate, masked_userinfo, without_params
from rootsys_dagster.drivers.rest.watermark import Watermark, utc_now
from rootsys_dagster.drivers.whole_lines import KEPT_BYTES
from rootsys_dagster.drivers.windows import done_windows, due_windows, is_done, position_of
from rootsys_dagster.log.commit import StreamId, tool_version
from rootsys_dagster.resilience import Deadline
from rootsys_dagster.secrets import Secrets, redact


@DRIVERS.register("rest")
class RestDriver(Driver[DriverConfig]):
    """Reads one URL and the pages that it leads to."""

    source_type = "rest"
    # A page of a slow source is committed at once; of a fast one, a commit for each would take longer than the page.
    commit_s = 2.0

    def __init__(self, config: DriverConfig, context: DriverContext) -> None:
        super().__init__(config, context)
        assert config.rest is not None
        self.rest: RestConfig = config.rest
        self.paging: Paging = paging_of(config.rest)
        self.incremental = context.incremental
        self.watermark = Watermark(context.incremental) if context.incremental is not None else None
        self.secrets = Secrets(context.secrets_root)
        self.template = RequestTemplate(config.rest, self.secrets, f"rootsys/{tool_version()}")

    def check(self) -> None:
        """Sign in and ask for the first page: raises what would stop a read."""
        with self._exchange() as exchange:
            request = self.template.build(self._next(None))
            parse_page(self.rest, request.method, exchange.fetch(request, None))

    def read(self, resume: Position | None) -> Iterator[Batch]:
        """Batches page by page, from where the pass was left, or from the beginning of the next one."""
        deadline = Deadline.after(self.context.max_run_s) if self.context.max_run_s is not None else None
        with self._exchange() as exchange:
            if self.incremental is None or self.incremental.mode == "cursor":
                progress = self._pass(resume)
                yield from self._pages(exchange, progress, resume, deadline, self._places(progress.low))
                return
            done = done_windows(resume)
            for window in self._due(done):
                position = position_of(done, window)
                yield from self._window(exchange, window, position, deadline)
                done = done_windows(position)

    def plan(self, resume: Position | None) -> dict[str, Any]:
        """The next request, as the interface file writes it and with what it takes from *resume*."""
        return self.template.shown(self._next(resume))

    @property
    def remembers_units(self) -> bool:
        """An incremental read begins a little before where the last one ended."""
        return self.watermark is not None

    def rereads(self, resume: Position, end: Position) -> bool:
        """Whether the items of a commit may lie behind the watermark that a read from *resume* asks for."""
        if self.watermark is None:
            return False
        if self.incremental is not None and self.incremental.mode == "window":
            return self.context.window is not None and is_done(self.context.window, done_windows(resume))
        asked = self.watermark.asked_from(resume.get("watermark"))
        return self.watermark.reaches(asked, end.get("high", end.get("watermark")))

    def _next(self, resume: Position | None) -> Ask:
        """What the first request behind *resume* asks for."""
        if self.incremental is not None and self.incremental.mode == "window":
            window = next(self._due(done_windows(resume)), None)
            return self._ask(self.paging.first(), self._places(window=window))
        progress = self._pass(resume)
        return self._ask(progress.step, self._places(progress.low))

    def _pass(self, resume: Position | None) -> Pass:
        return Pass.resumed(resume, self.rest, self.paging, self.watermark)

    def _due(self, done: Sequence[Window]) -> Iterator[Window]:
        """The window that was asked for, else every one that has passed and is not done."""
        assert self.incremental is not None
        if self.context.window is not None:
            return iter([self.context.window])
        return due_windows(self.incremental, done, utc_now() - timedelta(seconds=self.incremental.lateness_s))

    def _pages(
        self,
        exchange: Exchange,
        progress: Pass,
        resume: Position | None,
        deadline: Deadline | None,
        places: Mapping[str, str],
        window: Window | None = None,
    ) -> Iterator[Batch]:
        """The pages of one pass."""
        asked: dict[str, Any] | None = self.template.shown(self._ask(progress.step, places))
        for step, response in self._responses(exchange, progress, deadline, places):
            page = parse_page(self.rest, self.rest.method.upper(), response)
            following = self._without_credentials(self.paging.following(step, page, response), exchange)
            turned = progress.turn(page, response.body, following)
            if window is not None:
                turned = self._only_within(window, turned, page)
            if turned.items or turned.replaces or turned.skipped or turned.position != resume:
                yield from self._batches(page, response, step, turned, asked)
                asked = None
            if turned.ends:
                return

    def _window(
        self, exchange: Exchange, window: Window, position: Position, deadline: Deadline | None
    ) -> Iterator[Batch]:
        """One window, as a whole: a page of it means nothing without the others."""
        progress = Pass.of_window(self.rest, self.paging)
        batches = self._pages(exchange, progress, {}, deadline, self._places(window=window), window)
        held: Batch | None = None
        for batch in batches:
            if batch.stopped:
                message = (
                    f"the window {' to '.join(window.to_json())} has more pages than {MAX_PAGES}, and was not read"
                )
                raise ConfigError(
                    f"{message}; raise it, or make incremental.step shorter", code="REST.WINDOW_TOO_LARGE"
                )
            if held is not None:
                yield replace(held, position=position, resumable=False)
            held = batch
        assert held is not None
        yield replace(held, position=position, resumable=True)

    def _only_within(self, window: Window, turned: Turned, page: Page) -> Turned:
        assert self.watermark is not None
        kept = self.watermark.within(page.units, window)
        if all(kept):
            return turned
        return replace(turned, items=list(compress(turned.items, kept)), skipped={OUTSIDE_WINDOW: kept.count(False)})

    def _places(self, low: str | None = None, window: Window | None = None) -> dict[str, str]:
        """What ``inject`` may put into a request."""
        if window is not None:
            start, end = window.to_json()
            return {"window_start": start, "window_end": end}
        return {} if low is None else {"watermark": low}

    def _exchange(self) -> Exchange:
        stream, url = StreamId(self.context.name, self.context.version), self.template.url()
        shared = Shared.of(self.context.state_root, stream, urlsplit(url).hostname or "")
        return Exchange(str(stream), self.rest, url, self.context.root, self.secrets, shared)

    def _responses(
        self, exchange: Exchange, progress: Pass, deadline: Deadline | None, places: Mapping[str, str]
    ) -> Iterator[tuple[Step, Response]]:
        """Each step with its response, in order, for as long as somebody asks; the pass says which step comes next."""

        def fetch(step: Step) -> Response:
            return exchange.fetch(self.template.build(self._ask(step, places)), deadline)

        if self.paging.in_flight > 1:
            yield from _ahead(self.paging, progress.step, fetch)
            return
        while True:
            yield progress.step, fetch(progress.step)

    def _ask(self, step: Step, places: Mapping[str, str]) -> Ask:
        ask = self.paging.ask(step)
        # A URL that the source has named has everything in it.
        if ask.url is not None:
            return ask
        wanted = [(inject, places[inject.source]) for inject in self.rest.inject if inject.source in places]
        params = {inject.param: value for inject, value in wanted if inject.param is not None}
        members = {inject.body: value for inject, value in wanted if inject.body is not None}
        return replace(ask, params={**ask.params, **params}, members=members)

    def _without_credentials(self, step: Step | None, exchange: Exchange) -> Step | None:
        """*step* as it may be kept: a source may put the key that it was asked with into the URL of the next page."""
        if step is None or "url" not in step:
            return step
        param = exchange.credential_param
        url = without_params(step["url"], {param}) if param is not None else step["url"]
        if redact(url) != url:
            message = f"{shown(url)}: the URL of the next page repeats a credential, and was not kept"
            raise PermanentError(f"{message}; use another way of paging", code="REST.SECRET_ECHOED")
        exchange.egress.check_url(url)
        return {**step, "url": url}

    def _batches(
        self, page: Page, response: Response, step: Step, turned: Turned, asked: dict[str, Any] | None
    ) -> Iterator[Batch]:
        """The units of one page; one above the limit is a batch of its own, because only its beginning is kept."""
        pieces = list(_pieces(turned.items, page.units, self.context.max_record_bytes))
        for number, items in enumerate(pieces):
            is_first, is_last = number == 0, number == len(pieces) - 1
            units = page.units if len(items) == len(page.units) else [page.units[item] for item in items]
            places = self._items(step, response, items)
            oversized: Oversized | None = None
            if len(units) == 1 and len(units[0]) > self.context.max_record_bytes:
                oversized = Oversized(len(units[0]), hashlib.sha256(units[0]).hexdigest())
                places = replace(places, length=oversized.length, sha256=oversized.sha256)
                units = [units[0][:KEPT_BYTES]]
            yield Batch(
                units=units,
                kind=page.kind,
                locators=places,
                position=turned.position,
                raw_bytes=response.wire_bytes if is_first else 0,
                oversized=oversized,
                resumable=is_last,
                replaces=turned.replaces and is_first,
                skipped=turned.skipped if is_first else {},
                warnings=turned.warnings if is_first else {},
                stopped=turned.stopped if is_last else None,
                asked=asked if is_first else None,
            )

    def _items(self, step: Step, response: Response, items: Sequence[int]) -> PageItems:
        first = items[0] if items else 0
        content_type = response.headers.get("content-type") or "application/octet-stream"
        return PageItems(
            locator=redact(masked_userinfo(self.rest.url)),
            content_type=self.config.content_type or redact(content_type),
            filename=self.config.filename,
            step=step,
            first_item=first,
            items=None if isinstance(items, range) else [*items],
            framed=response.framed,
        )


def _pieces(items: Sequence[int], units: list[bytes], limit: int) -> Iterator[Sequence[int]]:
    """Items in order, those above *limit* alone; one empty piece when there is none at all."""
    if not items or max(map(len, units)) <= limit:
        yield items
        return
    piece: list[int] = []
    for item in items:
        if len(units[item]) > limit:
            if piece:
                yield piece
            yield [item]
            piece = []
        else:
            piece.append(item)
    if piece:
        yield piece


def _ahead(paging: Paging, step: Step, fetch: Callable[[Step], Response]) -> Iterator[tuple[Step, Response]]:
    """Responses in order, while those of the next steps are already being fetched."""
    with ThreadPoolExecutor(paging.in_flight, "rest-page") as threads:
        waiting: deque[tuple[Step, Future[Response]]] = deque()
        try:
            while True:
                while len(waiting) < paging.in_flight:
                    waiting.append((step, threads.submit(fetch, step)))
                    step = paging.ahead(step)
                current, response = waiting.popleft()
                yield current, response.result()
        finally:
            for _, response in waiting:
                response.cancel()
            # What nobody waits for any more may fail as it likes.
            for _, response in waiting:
                with suppress(BaseException):
                    response.result()
