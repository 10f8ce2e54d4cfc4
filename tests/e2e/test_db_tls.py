"""Encrypted connections: required ones are made, verified ones only to the server that was meant."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from rootsys_dagster.core.errors import ConfigError
from tests.conftest import ProjectFolder
from tests.databases import MariaDb, Postgres, postgres_tools, require

HOST = "127.0.0.1"
ENCRYPTED = {
    "postgres": "SELECT ssl::text AS x FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    "mysql": "SELECT if(variable_value = '', 'no', 'true') AS x FROM information_schema.session_status "
    "WHERE variable_name = 'Ssl_version'",
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module", params=["postgres", "mysql"])
def server(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[Postgres | MariaDb]:
    shown = authority.issue_cert(HOST)
    key, chain = shown.private_key_pem.bytes(), b"".join(pem.bytes() for pem in shown.cert_chain_pems)
    made: Postgres | MariaDb
    if request.param == "postgres":
        require(postgres_tools(), "PostgreSQL")
        made = Postgres(postgres_tools()[min(postgres_tools())])
        made.options = (
            "-c ssl=on",
            f"-c ssl_key_file={made.give('key.pem', key)}",
            f"-c ssl_cert_file={made.give('certificate.pem', chain)}",
        )
        made.start()
    else:
        require(shutil.which("mariadb-install-db"), "MariaDB")
        made = MariaDb()
        made.stop()
        for name, data in (("key.pem", key), ("certificate.pem", chain)):
            (made.folder / name).write_bytes(data)
            if made.user:
                shutil.chown(made.folder / name, made.user)
        made.options = (f"--ssl-key={made.folder}/key.pem", f"--ssl-cert={made.folder}/certificate.pem")
        made.start()
    yield made
    made.remove()


def write(project: ProjectFolder, server: Postgres | MariaDb, mode: str, ca: trustme.CA, host: str = HOST) -> None:
    ca.cert_pem.write_to_path(str(project.root / "ca.pem"))
    db = {"kind": server.kind, "connection": server.url.replace(HOST, host), "query": ENCRYPTED[server.kind]}
    if server.kind == "postgres":
        db["postgres_tls_mode"] = mode
    if mode == "verify-full":
        db["ca_file"] = "ca.pem"
    project.interface("mes", driver={"kind": "db", "db": db})


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_the_connection_is_encrypted(
    project: ProjectFolder, server: Postgres | MariaDb, authority: trustme.CA, mode: str
) -> None:
    if mode == "require" and server.kind == "mysql":
        pytest.skip("without ca_file a connection to MySQL is not encrypted")
    write(project, server, mode, authority)
    project.run()
    assert [record["payload"]["data"] for record in project.records()] == [{"x": "true"}]


def test_another_authority_is_refused(project: ProjectFolder, server: Postgres | MariaDb) -> None:
    write(project, server, "verify-full", trustme.CA())
    with pytest.raises(ConfigError) as caught:
        project.run()
    assert caught.value.code == "DB.TLS_REFUSED"


def test_another_name_is_refused(project: ProjectFolder, server: Postgres | MariaDb, authority: trustme.CA) -> None:
    write(project, server, "verify-full", authority, host="localhost")
    with pytest.raises(ConfigError) as caught:
        project.run()
    assert caught.value.code == "DB.TLS_REFUSED"


def test_a_file_of_certificates_that_is_none_is_named(
    project: ProjectFolder, server: Postgres | MariaDb, authority: trustme.CA
) -> None:
    write(project, server, "verify-full", authority)
    Path(project.root / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigError) as caught:
        project.run()
    assert caught.value.code == "DB.TLS_REFUSED"
