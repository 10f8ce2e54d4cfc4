"""aiosmtpd as a program: takes mail, refuses the address ``nobody@``, writes each mail into a file of a folder.

``smtp.py PORT FOLDER MODE CERT KEY`` with MODE none, starttls or tls; over TLS it wants to be signed in to.
"""

import signal
import ssl
import sys
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


class Kept:
    """Keeps what was taken."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if address.startswith("nobody@"):
            return "550 there is nobody, said s3cret-mail"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.count += 1
        secured = "yes" if session.ssl is not None or server.transport.get_extra_info("sslcontext") else "no"
        head = f"X-Test-Secured: {secured}\r\nX-Test-To: {','.join(envelope.rcpt_tos)}\r\n".encode()
        path = self.folder / f"{self.count:04}.eml"
        path.with_suffix(".tmp").write_bytes(head + envelope.content)
        path.with_suffix(".tmp").rename(path)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ops", b"s3cret-mail")
    return AuthResult(success=good, handled=False)


def main() -> None:
    port, folder, mode, *files = sys.argv[1:]
    context = None
    if mode != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*files)
    auth = {"authenticator": authenticate, "auth_required": True} if mode != "none" else {}
    controller = Controller(
        Kept(Path(folder)),
        hostname="127.0.0.1",
        port=int(port),
        ssl_context=context if mode == "tls" else None,
        tls_context=context if mode == "starttls" else None,
        require_starttls=mode == "starttls",
        auth_require_tls=mode == "starttls",
        **auth,
    )
    controller.start()
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    controller.stop()


if __name__ == "__main__":
    main()
