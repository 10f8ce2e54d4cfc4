"""What went wrong with a broker, as errors that say what to do. One table; no message holds what the client said."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kafka import errors as kafka

from rootsys_dagster.core.errors import ConfigError, PermanentError, RootsysError, TransientError

# The stubs that come with pyright are those of an older version.
RETRIABLE: Final[type[Exception]] = kafka.RetriableError  # pyright: ignore[reportAttributeAccessIssue]
ErrorClass = type[ConfigError] | type[PermanentError] | type[TransientError]

# The first line that fits decides: what is special stands above what it is a kind of.
MEANINGS: Final[tuple[tuple[tuple[type[Exception], ...], ErrorClass, str, str], ...]] = (
    (
        (kafka.SaslAuthenticationFailedError, kafka.UnsupportedSaslMechanismError, kafka.IllegalSaslStateError),
        PermanentError,
        "KAFKA.UNAUTHENTICATED",
        "the broker did not accept the credentials; see {at}.sasl",
    ),
    (
        (kafka.TopicAuthorizationFailedError,),
        PermanentError,
        "KAFKA.FORBIDDEN",
        "this user may not use the topic; ask who runs the brokers for the right to describe and read or write it",
    ),
    (
        (kafka.GroupAuthorizationFailedError,),
        PermanentError,
        "KAFKA.GROUP_FORBIDDEN",
        "this user may not commit for the group; ask for that right, or set commit_group_offsets to false",
    ),
    ((kafka.AuthorizationError,), PermanentError, "KAFKA.FORBIDDEN", "this user may not do that"),
    (
        (kafka.UnsupportedCodecError, kafka.UnsupportedCompressionTypeError),
        PermanentError,
        "KAFKA.CODEC",
        "messages are packed in a way that this client does not know",
    ),
    (
        (kafka.CorruptRecordError,),
        PermanentError,
        "KAFKA.CORRUPT",
        "what the broker sent is damaged, or breaks the protocol; what came before is kept. "
        "Pass over it with 'rootsys position reset' when it cannot be mended",
    ),
    (
        (kafka.MessageSizeTooLargeError,),
        ConfigError,
        "KAFKA.TOO_LARGE",
        "a message is larger than the topic takes; raise its max.message.bytes, what follows it waits until then",
    ),
    (
        (kafka.InvalidTopicError,),
        ConfigError,
        "KAFKA.TOPIC_INVALID",
        "the broker does not take that as the name of a topic; see {at}.topic",
    ),
    (
        (kafka.UnknownTopicOrPartitionError,),
        TransientError,
        "KAFKA.TOPIC_MISSING",
        "the broker knows no such topic or partition; create it, or check {at}.topic",
    ),
    (
        (kafka.UnsupportedVersionError, kafka.UnrecognizedBrokerVersion),
        PermanentError,
        "KAFKA.VERSION",
        "the broker is too old for what is asked of it",
    ),
    (
        (kafka.UnknownMemberIdError, kafka.IllegalGenerationError, kafka.CommitFailedError),
        TransientError,
        "KAFKA.GROUP_IN_USE",
        "the consumer group has members of its own; give this interface a group_id that nothing else uses",
    ),
    (
        (kafka.KafkaTimeoutError, kafka.RequestTimedOutError),
        TransientError,
        "KAFKA.TIMEOUT",
        "no answer within request_timeout_ms; try again later",
    ),
    (
        (kafka.KafkaConnectionError, kafka.NodeNotReadyError, kafka.MetadataEmptyBrokerList),
        TransientError,
        "KAFKA.UNREACHABLE",
        "no broker can be reached, or the connection broke; try again later",
    ),
    (
        (kafka.KafkaConfigurationError, kafka.IllegalArgumentError),
        ConfigError,
        "KAFKA.CONFIG",
        "the client does not take these settings",
    ),
    ((RETRIABLE,), TransientError, "KAFKA.BROKER_BUSY", "the broker cannot answer now; try again later"),
)


def meaning(error: kafka.KafkaError, where: str, at: str) -> RootsysError:
    """*error* as one of ours, without secrets.

    Args:
        where: what was being done.
        at: where an interface file says how.
    """
    name = type(error).__name__
    for kinds, cls, code, way_out in MEANINGS:
        if isinstance(error, kinds):
            return cls(f"{where}: {way_out.format(at=at)} ({name})", code=code)
    return TransientError(f"{where}: the broker failed; try again later ({name})", code="KAFKA.FAILED")


@contextmanager
def kafka_errors(where: str, at: str = "driver.stream.kafka") -> Iterator[None]:
    """Turn what the client raises into errors of ours."""
    try:
        yield
    except kafka.KafkaError as error:
        raise meaning(error, where, at) from None
    except ssl.SSLCertVerificationError as error:
        message = f"{where}: the certificate is not trusted: {error.verify_message}; see {at}.tls"
        raise PermanentError(message, code="KAFKA.TLS") from None
    except OSError as error:
        message = f"{where}: no broker can be reached; try again later ({type(error).__name__})"
        raise TransientError(message, code="KAFKA.UNREACHABLE") from None
