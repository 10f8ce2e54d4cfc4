"""A mail server that nobody here wrote, aiosmtpd from ``.servers`` (``make servers``), and the mail that it took."""

import email
import email.policy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

import trustme

from tests.http_services import SERVERS, needs
from tests.services import REPOSITORY, free_port, running, wait_for

PASSWORD = "s3cret-mail"
"""Of the user ``ops``; servers without TLS want neither."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where it listens, and the authority that its certificate descends from."""

    port: int
    folder: Path
    ca_file: Path

    def mails(self) -> list[EmailMessage]:
        """Everything that was taken, oldest first."""
        found = [path.read_bytes() for path in sorted(self.folder.glob("*.eml"))]
        return [email.message_from_bytes(data, policy=email.policy.default) for data in found]  # pyright: ignore

    def forget(self) -> None:
        """Everything that was taken so far."""
        for path in self.folder.glob("*.eml"):
            path.unlink()


@contextmanager
def mail_server(folder: Path, mode: Literal["none", "starttls", "tls"]) -> Iterator[MailServer]:
    """A server for the length of the block."""
    python = SERVERS / "python/bin/python"
    needs("aiosmtpd", SERVERS / "python/bin/aiosmtpd")
    kept = folder / "mails"
    kept.mkdir(parents=True)
    authority = trustme.CA()
    pair = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    pair.private_key_pem.write_to_path(str(folder / "key.pem"))
    pair.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    port, log = free_port(), folder / "smtp.log"
    program = REPOSITORY / "tests/servers/smtp.py"
    command = [str(python), str(program), str(port), str(kept), mode, str(folder / "cert.pem"), str(folder / "key.pem")]
    with running(command, cwd=folder, env={"PATH": os.environ["PATH"]}, log=log) as process:

        def answers() -> bool | None:
            assert process.poll() is None, log.read_text()
            return b"ready" in log.read_bytes() or None

        wait_for("the mail server", answers)
        yield MailServer(port, kept, folder / "ca.pem")
