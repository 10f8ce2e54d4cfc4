"""TLS and SASL with a real broker; secrets are references and appear nowhere."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from rootsys_dagster.cli.main import execute
from rootsys_dagster.core.errors import PermanentError
from tests.conftest import ProjectFolder
from tests.proxy import proxy
from tests.services import kafka
from tests.topics import Topics, driver_members

PASSWORD = "correct horse battery"
OTHER = "something else again"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def broker(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topics]:
    """A broker with a plain listener for the tests themselves, and one each with SASL in clear and over TLS."""
    folder = tmp_path_factory.mktemp("keys")
    certificate = authority.issue_cert("127.0.0.1")
    (folder / "key.pem").write_bytes(
        certificate.private_key_pem.bytes() + b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    )
    store = folder / "store.p12"
    command = ["openssl", "pkcs12", "-export", "-in", folder / "key.pem", "-out", store, "-passout", "pass:secret1"]
    subprocess.run(command, check=True, capture_output=True)
    login = "org.apache.kafka.common.security"
    settings: dict[str, str] = {
        "listener__security__protocol__map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
        "SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
        "ssl__keystore__type": "PKCS12",
        "ssl__keystore__location": str(store),
        "ssl__keystore__password": "secret1",
    }
    for listener in ("sasl_plaintext", "sasl_ssl"):
        at = f"listener__name__{listener}__"
        settings[f"{at}sasl__enabled__mechanisms"] = ",".join(MECHANISMS)
        settings[f"{at}plain__sasl__jaas__config"] = (
            f'{login}.plain.PlainLoginModule required user_reader="{PASSWORD}";'
        )
        for mechanism in ("scram-sha-256", "scram-sha-512"):
            settings[f"{at}{mechanism}__sasl__jaas__config"] = f"{login}.scram.ScramLoginModule required;"
    users = [f"--add-scram={name}=[name=reader,password={PASSWORD}]" for name in MECHANISMS[1:]]
    try:
        with kafka(*users, **settings) as started:
            yield Topics(started)
    except FileNotFoundError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def interface(project: ProjectFolder, broker: Topics, topic: str, listener: str, **members: Any) -> None:
    driver = driver_members("", topic, brokers=[f"127.0.0.1:{broker.broker.ports[listener]}"], **members)
    project.interface("events", driver=driver)


def sasl(mechanism: str, password: str = "env://KAFKA_PASSWORD") -> dict[str, str]:
    return {"mechanism": mechanism, "username": "reader", "password": password}


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("listener", ["SASL_PLAINTEXT", "SASL_SSL"])
@pytest.mark.parametrize("client", ["kafka-python", "confluent"])
def test_a_user_with_a_password_may_read(
    project: ProjectFolder,
    broker: Topics,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    mechanism: str,
    listener: str,
    client: str,
) -> None:
    topic = broker.topic()
    broker.send(topic, [b"1", b"2"])
    authority.cert_pem.write_to_path(project.root / "ca.pem")
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    tls = {"tls": {"ca_file": "ca.pem"}} if listener == "SASL_SSL" else {}
    interface(project, broker, topic, listener, sasl=sasl(mechanism), client=client, **tls)
    assert execute(["run", "events", "--project", str(project.root)]) == 0
    assert [record["payload"]["data"] for record in project.records("events")] == [1, 2]
    assert broker.committed(f"g-{topic}", topic) == 2


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_wrong_password_is_an_error_that_does_not_show_it(
    project: ProjectFolder, broker: Topics, monkeypatch: pytest.MonkeyPatch, mechanism: str
) -> None:
    topic = broker.topic()
    monkeypatch.setenv("KAFKA_PASSWORD", OTHER)
    interface(project, broker, topic, "SASL_PLAINTEXT", sasl=sasl(mechanism), request_timeout_ms=10_000)
    with pytest.raises(PermanentError) as caught:
        project.run("events")
    assert caught.value.code == "KAFKA.UNAUTHENTICATED"
    assert OTHER not in str(caught.value)
    assert "driver.stream.kafka.sasl" in str(caught.value)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_refusal_that_comes_with_the_end_of_the_connection_is_heard(
    project: ProjectFolder, broker: Topics, monkeypatch: pytest.MonkeyPatch, mechanism: str
) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", OTHER)
    with proxy("127.0.0.1", broker.broker.ports["SASL_PLAINTEXT"]) as between:
        # Late enough for the broker to have closed its side: what it said and that it closed arrive at once.
        between.delay_s = 0.2
        driver = driver_members("", "t", brokers=[f"127.0.0.1:{between.port}"], sasl=sasl(mechanism))
        project.interface("events", driver=driver)
        with pytest.raises(PermanentError) as caught:
            project.run("events")
        assert caught.value.code == "KAFKA.UNAUTHENTICATED"
        assert between.connections == 1


def test_a_certificate_that_is_not_trusted_ends_the_run(
    project: ProjectFolder, broker: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = broker.topic()
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    interface(project, broker, topic, "SASL_SSL", sasl=sasl("PLAIN"), tls={})
    with pytest.raises(PermanentError) as caught:
        project.run("events")
    assert caught.value.code == "KAFKA.TLS"
    assert PASSWORD not in str(caught.value)


def test_a_secret_in_the_file_is_a_warning(
    project: ProjectFolder, broker: Topics, capsys: pytest.CaptureFixture[str]
) -> None:
    interface(project, broker, "t", "SASL_PLAINTEXT", sasl=sasl("PLAIN", PASSWORD))
    assert execute(["check", "events", "--json", "--project", str(project.root)]) == 0
    printed = capsys.readouterr()
    assert "SECRET_LITERAL" in printed.err
    assert PASSWORD not in printed.err + printed.out
    assert json.loads(Path(project.root / "interfaces" / "events.json").read_text())
