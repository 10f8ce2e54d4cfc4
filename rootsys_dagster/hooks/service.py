"""One request to a named REST connection, under the rules of the REST driver: declared hosts, deadline, secrets."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rootsys_dagster.core.connected import url_below
from rootsys_dagster.core.connection_config import Connection
from rootsys_dagster.core.policy import Retry
from rootsys_dagster.core.project import Project
from rootsys_dagster.core.rest_config import RestConfig
from rootsys_dagster.drivers.rest.exchange import Exchange, Shared
from rootsys_dagster.drivers.rest.request import Ask, Request, RequestTemplate
from rootsys_dagster.log.commit import StreamId, tool_version
from rootsys_dagster.secrets import Secrets

MAX_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where relative paths, secrets and shared state are."""

    root: Path
    secrets_root: Path
    data_roots: tuple[Path, ...]
    state_root: Path | None
    """None shares nothing: a test must not use up the turns of the runs."""

    @classmethod
    def of(cls, project: Project) -> "Surroundings":
        """Those of a project."""
        return cls(project.root, project.secrets_root, project.data_roots, project.state_root)


@contextmanager
def service(
    connection: Connection, path: str, method: str, where: Surroundings, timeout_s: float, retry: Retry
) -> Generator[tuple[Exchange, Request]]:
    """An open exchange with *connection*, and its request for *path* without a body.

    Args:
        timeout_s: for everything: sign-in, retries and the waits between them.
    """
    assert connection.rest is not None
    base = connection.rest.config()
    config: RestConfig = base.model_copy(
        update={
            "url": url_below(base.url, path),
            "method": method,
            "timeout_ms": int(timeout_s * 1000),
            "deadline_ms": int(timeout_s * 1000),
            "max_body_bytes": MAX_ANSWER_BYTES,
            "max_decoded_bytes": MAX_ANSWER_BYTES,
            "retry": retry,
            # Nothing of an answer is kept, so it may repeat what it likes.
            "on_echo": "mask",
        }
    )
    secrets = Secrets(where.secrets_root)
    template = RequestTemplate(config, secrets, f"rootsys/{tool_version()}")
    url = template.url()
    shared = Shared.of(where.state_root, StreamId(connection.name, "connection"), urlsplit(url).hostname or "")
    with Exchange(connection.name, config, url, where.root, secrets, shared) as exchange:
        yield exchange, template.build(Ask(params={}))
