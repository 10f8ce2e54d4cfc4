"""References to secrets: what they are, where their values come from, where those may go, and that they are masked."""

import base64
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.secret_ref import SecretRef, has_secret_ref, secret_ref
from rootsys_dagster.secrets import MASK, Secrets, redact

SECRET = 'p&ss "wörd"/+=%'


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("env://API_KEY", SecretRef("env", "API_KEY")),
        ("secrets://API_KEY", SecretRef("env", "API_KEY")),
        ("$API_KEY", SecretRef("env", "API_KEY")),
        ("${API_KEY}", SecretRef("env", "API_KEY")),
        ("file://api/key", SecretRef("file", "api/key")),
        ("hunter2", None),
        ("env://", None),
        ("env://1A", None),
        ("$5", None),
        ("$A$B", None),
        ("prefix ${A}", None),
        ("", None),
    ],
)
def test_a_reference_is_told_from_a_literal(text: str, reference: SecretRef | None) -> None:
    assert secret_ref(text) == reference


def test_a_connection_string_may_hold_references() -> None:
    assert has_secret_ref("host=db user=app password=${DB_PASSWORD}")
    assert not has_secret_ref("host=db user=app password=hunter2")


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Secrets:
    monkeypatch.setenv("CANARY", SECRET)
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "key").write_text(f"{SECRET}\n")
    (tmp_path / "outside").write_text("not for you")
    return Secrets(tmp_path / "root")


@pytest.mark.parametrize("text", ["env://CANARY", "$CANARY", "${CANARY}", "secrets://CANARY", "file://key", SECRET])
def test_a_value_is_found_at_the_moment_of_use(secrets: Secrets, text: str) -> None:
    assert secrets.value(text, "driver.rest.auth") == SECRET


def test_references_inside_a_text_are_filled_in(secrets: Secrets) -> None:
    assert secrets.filled("user=a password=${CANARY} x=$5", "driver.db.connection") == f"user=a password={SECRET} x=$5"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("env://NOT_SET_ANYWHERE", "SECRET.MISSING"),
        ("file://gone", "SECRET.MISSING"),
        ("file://key/below", "SECRET.MISSING"),
        ("file://../outside", "SECRET.OUTSIDE_ROOT"),
        ("file:///etc/passwd", "SECRET.OUTSIDE_ROOT"),
    ],
)
def test_a_secret_that_is_not_there_names_the_member_and_the_way_out(secrets: Secrets, text: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        secrets.value(text, "driver.rest.auth.api_key.value")
    assert caught.value.code == code
    assert "driver.rest.auth.api_key.value" in str(caught.value)


def test_a_link_does_not_lead_out_of_the_secrets_root(secrets: Secrets) -> None:
    (secrets.root / "link").symlink_to(secrets.root.parent / "outside")
    with pytest.raises(ConfigError, match="lies outside"):
        secrets.value("file://link", "x")


def test_a_secret_goes_only_to_the_hosts_that_it_is_for(secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_HOSTS", "api.example.com, other.example.com")
    (secrets.root / "key.hosts").write_text("api.example.com\n")
    for text in ("env://CANARY", "file://key"):
        assert secrets.value(text, "x", "API.example.com") == SECRET
        with pytest.raises(ConfigError) as caught:
            secrets.value(text, "x", "evil.example.com")
        assert caught.value.code == "SECRET.HOST_NOT_ALLOWED"
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        SECRET.encode().hex(),
    ],
)
def test_a_secret_that_was_given_out_is_masked_in_every_encoding(secrets: Secrets, form: str) -> None:
    secrets.value("env://CANARY", "x")
    assert redact(f"GET https://host/?k={form}&x=1 failed") == f"GET https://host/?k={MASK}&x=1 failed"
