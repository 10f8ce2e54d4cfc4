"""Sessions with mail servers, by named SMTP connections. Source: RFC 5321; TLS as in RFC 3207 and RFC 8314."""

import smtplib
import ssl
from collections.abc import Generator
from contextlib import contextmanager, suppress

from rootsys_dagster.core.connection_config import Connection
from rootsys_dagster.core.errors import ConfigError, PermanentError, RootsysError, TransientError
from rootsys_dagster.hooks.service import Surroundings
from rootsys_dagster.secrets import Secrets


@contextmanager
def mail_session(connection: Connection, where: Surroundings, timeout_s: float) -> Generator[smtplib.SMTP]:
    """A session that is encrypted and signed in as the connection says.

    Args:
        timeout_s: for each wait.
    Raises:
        RootsysError: the server is away, is not who it should be, or lets us not in.
    """
    smtp = connection.smtp
    assert smtp is not None
    place = f"connection {connection.name}: smtp {smtp.host}:{smtp.used_port}"
    secrets = Secrets(where.secrets_root)
    password = None
    if smtp.password_ref is not None:
        password = secrets.filled(smtp.password_ref, f"connection {connection.name}: password_ref", smtp.host)
    session: smtplib.SMTP | None = None
    try:
        context = tls_context(connection, where)
        if smtp.tls == "tls":
            session = smtplib.SMTP_SSL(smtp.host, smtp.used_port, timeout=timeout_s, context=context)
        else:
            session = smtplib.SMTP(smtp.host, smtp.used_port, timeout=timeout_s)
        if smtp.tls == "starttls":
            session.starttls(context=context)
        if smtp.user is not None and password is not None:
            session.login(secrets.filled(smtp.user, f"connection {connection.name}: user", smtp.host), password)
        yield session
    except (smtplib.SMTPException, OSError) as error:
        raise refused(error, place) from None
    finally:
        if session is not None:
            # Nothing that happens while leaving matters.
            with suppress(smtplib.SMTPException, OSError):
                session.quit()


def tls_context(connection: Connection, where: Surroundings) -> ssl.SSLContext:
    """TLS 1.2 or later, always verified."""
    assert connection.smtp is not None
    file = connection.smtp.ca_file
    try:
        context = ssl.create_default_context(cafile=str(where.root / file) if file else None)
    except (OSError, ssl.SSLError):
        message = f"connection {connection.name}: ca_file {file} cannot be read, or holds no certificate in PEM form"
        raise ConfigError(message, code="SMTP.CA_FILE") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def refused(error: Exception, place: str) -> RootsysError:
    """What an error of the library means; texts of servers may quote anything, so only their numbers are told."""
    match error:
        case smtplib.SMTPAuthenticationError():
            message = f"{place}: {error.smtp_code}, user or password were not accepted; check both"
            return ConfigError(message, code="SMTP.SIGN_IN_REFUSED")
        case smtplib.SMTPNotSupportedError():
            message = f"{place}: the server does not offer what was asked for; check tls and user"
            return ConfigError(message, code="SMTP.NOT_SUPPORTED")
        case smtplib.SMTPResponseException() if 500 <= error.smtp_code < 600:
            message = f"{place}: {error.smtp_code}, the server refuses; ask who runs it"
            return PermanentError(message, code="SMTP.REFUSED")
        case ssl.SSLCertVerificationError():
            message = f"{place}: the certificate is not trusted: {error.verify_message}; see ca_file"
            return PermanentError(message, code="SMTP.TLS")
        case ssl.SSLError():
            return PermanentError(f"{place}: TLS was not agreed on; check tls and port", code="SMTP.TLS")
        case _:
            return TransientError(f"{place}: no connection, or it broke; try again later", code="SMTP.UNREACHABLE")
