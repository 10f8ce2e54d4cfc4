"""``alerts`` of ``connections.json``: who hears of a run that failed, and how often."""

from typing import Literal

from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Config, Findings, Text, Whole
from rootsys_dagster.core.connection_config import check_mail_address, needs_block


class WebhookTarget(Config):
    """An HTTP POST with a CloudEvent to a place below a REST connection."""

    connection: Text
    path: str = Field(default="", description="Below the URL of the connection; may have a query.")


class MailTarget(Config):
    """A mail through an SMTP connection."""

    connection: Text
    to: tuple[Text, ...] = Field(json_schema_extra={"minItems": 1})


class Alert(Config):
    """One way to tell of failed runs."""

    model_config = ConfigDict(
        json_schema_extra={"required": ["name", "kind"], "allOf": [needs_block("webhook"), needs_block("mail")]}
    )

    name: Text
    kind: Literal["webhook", "mail"]
    webhook: WebhookTarget | None = None
    mail: MailTarget | None = None
    only: tuple[Text, ...] = Field(default=(), description="Names of interfaces and fabrics; all of them by default.")
    every_s: Whole = Field(
        default=900,
        description="At most one alert per interface in so many seconds; the next one says how many were left out.",
        json_schema_extra={"minimum": 0},
    )

    def check(self, at: str, found: Findings) -> None:
        found.blank("ALERT_NAME_EMPTY", f"{at}/name", self.name)
        if self.every_s < 0:
            found.add("ALERT_EVERY_INVALID", f"{at}/every_s", f"must be at least 0, not {self.every_s}")
        for kind in ("webhook", "mail"):
            if (getattr(self, kind) is not None) != (kind == self.kind):
                is_needed = kind == self.kind
                message = f'is needed for kind "{kind}"' if is_needed else f"kind {self.kind} does not use it"
                code = "ALERT_BLOCK_REQUIRED" if is_needed else "ALERT_BLOCK_UNEXPECTED"
                found.add(code, f"{at}/{kind}", message, [f"{at}/kind"])
        if self.kind == "mail" and self.mail is not None:
            if not self.mail.to:
                found.add("ALERT_MAIL_TO_EMPTY", f"{at}/mail/to", "needs at least one address")
            for index, address in enumerate(self.mail.to):
                found.blank("ALERT_MAIL_TO_EMPTY", f"{at}/mail/to/{index}", address)
                check_mail_address(address, f"{at}/mail/to/{index}", found)

    @property
    def target(self) -> WebhookTarget | MailTarget | None:
        """The block of the chosen kind."""
        return self.webhook if self.kind == "webhook" else self.mail
