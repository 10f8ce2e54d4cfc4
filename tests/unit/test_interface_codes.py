"""Every code of an interface file, from the smallest file that has it, at exactly its pointer."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

import rootsys_dagster.core
from rootsys_dagster.core.contract import ContractRegistry
from rootsys_dagster.core.errors import InvalidFileError
from rootsys_dagster.core.interface import parse_interface

Document = dict[str, Any]


def interface(**members: Any) -> Document:
    return {"name": "mes", "version": "v1", **members}


def driver(kind: str, **members: Any) -> Document:
    return interface(driver={"kind": kind, **members})


def rest(**members: Any) -> Document:
    return driver("rest", rest={"url": "http://127.0.0.1/", **members})


def incremental(**members: Any) -> Document:
    return db() | {"incremental": {"field": "updated_at", **members}}


def inject(**members: Any) -> Document:
    return rest(inject=[{"from": "watermark", **members}]) | {"incremental": {"field": "/updated_at"}}


def watermark(**members: Any) -> Document:
    return db() | {"watermarks": [{"name": "since", "resolver_sql": "SELECT 1", **members}]}


def api_key(**members: Any) -> Document:
    return {"kind": "api_key", "api_key": {"in": "header", "name": "X-Key", "value": "k", **members}}


def oauth2(**members: Any) -> Document:
    block = {"token_url": "http://127.0.0.1/token", "client_id": "c", "client_secret": "s", **members}
    return {"kind": "oauth2_client_credentials", "oauth2_client_credentials": block}


def cursor(**members: Any) -> Document:
    return rest(pagination={"kind": "cursor", "cursor": {"cursor_param": "c", "cursor_path": "/next", **members}})


def page(**members: Any) -> Document:
    block = {"page_param": "p", "page_size_param": "s", "page_size": 10, **members}
    return rest(pagination={"kind": "page", "page": block})


def table(name: str) -> Document:
    return driver("db", db={"kind": "mysql", "connection": "c", "table": name})


def db(kind: str = "postgres", **members: Any) -> Document:
    return driver("db", db={"kind": kind, "connection": "c", "query": "SELECT 1", **members})


def offset(**members: Any) -> Document:
    block = {"offset_param": "offset", "limit_param": "limit", "limit": 10, **members}
    return rest(pagination={"kind": "offset", "offset": block})


def kafka(**members: Any) -> Document:
    block = {"brokers": ["b:9092"], "topic": "t", "group_id": "g", "format": "json", "mvp_input": "in.jsonl", **members}
    return driver("stream", stream={"source": "kafka", "kafka": block})


BLOCKS = {
    "rest": {"url": "http://127.0.0.1/"},
    "db": {"connection": "c", "query": "SELECT 1"},
    "stream": kafka()["driver"]["stream"],
}


def conflicts(kind: str) -> list[tuple[str, str, Document]]:
    own = {kind: BLOCKS[kind]}
    others = [(name, block) for name, block in BLOCKS.items() if name != kind]
    return [
        *((f"{kind.upper()}_{name.upper()}_CONFLICT", f"/driver/{name}", driver(kind, **own, **{name: block}))
          for name, block in others),
        (f"{kind.upper()}_INPUT_CONFLICT", "/driver/input", driver(kind, **own, input="data/x.jsonl")),
    ]  # fmt: skip


def resilience(area: str, make: Any) -> list[tuple[str, str, Document]]:
    at = f"/driver/{area.lower()}"
    return [
        (f"{area}_RETRY_MAX_ATTEMPTS_INVALID", f"{at}/retry/max_attempts", make(retry={"max_attempts": 0})),
        (f"{area}_RETRY_BASE_DELAY_INVALID", f"{at}/retry/base_delay_ms", make(retry={"base_delay_ms": 0})),
        (f"{area}_RETRY_MAX_DELAY_INVALID", f"{at}/retry/max_delay_ms", make(retry={"max_delay_ms": 0})),
        (f"{area}_RETRY_DELAY_RANGE_INVALID", f"{at}/retry/max_delay_ms",
         make(retry={"base_delay_ms": 500, "max_delay_ms": 100})),
        (f"{area}_RETRY_JITTER_PERCENT_INVALID", f"{at}/retry/jitter_percent", make(retry={"jitter_percent": 101})),
        (f"{area}_CIRCUIT_BREAKER_FAILURE_THRESHOLD_INVALID", f"{at}/circuit_breaker/failure_threshold",
         make(circuit_breaker={"failure_threshold": 0})),
        (f"{area}_CIRCUIT_BREAKER_OPEN_TIMEOUT_INVALID", f"{at}/circuit_breaker/open_timeout_ms",
         make(circuit_breaker={"open_timeout_ms": 0})),
    ]  # fmt: skip


AUTH = "/driver/rest/auth"
PAGING = "/driver/rest/pagination"
KAFKA = "/driver/stream/kafka"
OAUTH2 = f"{AUTH}/oauth2_client_credentials"

REFERENCE_CODES: list[tuple[str, str, Document]] = [
    ("INTERFACE_NAME_EMPTY", "/name", interface(name=" \t")),
    ("INTERFACE_VERSION_EMPTY", "/version", interface(version="")),
    ("JSON_POINTER_INVALID", "/required_paths/0", interface(required_paths=["id"])),
    ("DUPLICATE_ENTRY", "/required_paths/1", interface(required_paths=["/id", "/id"])),
    ("RECORD_ID_POLICY_STRICT_REQUIRES_PATHS", "/record_id_paths", interface(record_id_policy="strict")),
    ("REST_CONFIG_REQUIRED", "/driver/rest", driver("rest")),
    ("DB_CONFIG_REQUIRED", "/driver/db", driver("db")),
    ("STREAM_CONFIG_REQUIRED", "/driver/stream", driver("stream")),
    *conflicts("rest"),
    *conflicts("db"),
    *conflicts("stream"),
    ("DRIVER_REST_UNEXPECTED", "/driver/rest", driver("jsonl", rest=BLOCKS["rest"])),
    ("DRIVER_DB_UNEXPECTED", "/driver/db", driver("text", db=BLOCKS["db"])),
    ("DRIVER_STREAM_UNEXPECTED", "/driver/stream", driver("binary", stream=BLOCKS["stream"])),
    ("REST_URL_EMPTY", "/driver/rest/url", rest(url=" ")),
    ("REST_METHOD_EMPTY", "/driver/rest/method", rest(method="")),
    ("REST_TIMEOUT_INVALID", "/driver/rest/timeout_ms", rest(timeout_ms=0)),
    ("REST_ITEMS_POINTER_INVALID", "/driver/rest/items_pointer", rest(items_pointer="items")),
    *resilience("REST", rest),
    *resilience("DB", db),
    ("REST_AUTH_API_KEY_REQUIRED", f"{AUTH}/api_key", rest(auth={})),
    ("REST_AUTH_API_KEY_NAME_EMPTY", f"{AUTH}/api_key/name", rest(auth=api_key(name=" "))),
    ("REST_AUTH_API_KEY_VALUE_EMPTY", f"{AUTH}/api_key/value", rest(auth=api_key(value=""))),
    ("REST_AUTH_API_KEY_HEADER_CONFLICT", "/driver/rest/headers", rest(auth=api_key(), headers={"X-Key": "z"})),
    ("REST_AUTH_OAUTH2_REQUIRED", OAUTH2, rest(auth={"kind": "oauth2_client_credentials"})),
    ("REST_AUTH_OAUTH2_TOKEN_URL_EMPTY", f"{OAUTH2}/token_url", rest(auth=oauth2(token_url=""))),
    ("REST_AUTH_OAUTH2_CLIENT_ID_EMPTY", f"{OAUTH2}/client_id", rest(auth=oauth2(client_id=" "))),
    ("REST_AUTH_OAUTH2_CLIENT_SECRET_EMPTY", f"{OAUTH2}/client_secret", rest(auth=oauth2(client_secret=""))),
    ("REST_AUTH_OAUTH2_HEADER_CONFLICT", "/driver/rest/headers",
     rest(auth=oauth2(), headers={"Authorization": "Basic z"})),
    ("REST_PAGINATION_CURSOR_REQUIRED", f"{PAGING}/cursor", rest(pagination={"kind": "cursor"})),
    ("REST_PAGINATION_PAGE_REQUIRED", f"{PAGING}/page", rest(pagination={})),
    ("REST_PAGINATION_CURSOR_PARAM_EMPTY", f"{PAGING}/cursor/cursor_param", cursor(cursor_param="")),
    ("REST_PAGINATION_CURSOR_PATH_INVALID", f"{PAGING}/cursor/cursor_path", cursor(cursor_path="/a~2")),
    ("REST_PAGINATION_MAX_PAGES_INVALID", f"{PAGING}/cursor/max_pages", cursor(max_pages=0)),
    ("REST_PAGINATION_PAGE_PARAM_EMPTY", f"{PAGING}/page/page_param", page(page_param="")),
    ("REST_PAGINATION_PAGE_SIZE_PARAM_EMPTY", f"{PAGING}/page/page_size_param", page(page_size_param=" ")),
    ("REST_PAGINATION_PAGE_SIZE_INVALID", f"{PAGING}/page/page_size", page(page_size=0)),
    ("REST_PAGINATION_INITIAL_PAGE_INVALID", f"{PAGING}/page/initial_page", page(initial_page=0)),
    ("REST_PAGINATION_PAGE_MAX_PAGES_INVALID", f"{PAGING}/page/max_pages", page(max_pages=0)),
    ("REST_PAGINATION_REQUIRES_JSON_RESPONSE", "/driver/rest/response_format",
     rest(response_format="text", pagination=page()["driver"]["rest"]["pagination"])),
    ("DB_CONNECTION_EMPTY", "/driver/db/connection", db(connection="")),
    ("DB_QUERY_EMPTY", "/driver/db/query", db(query="\n")),
    ("DB_TLS_MODE_ONLY_FOR_POSTGRES", "/driver/db/postgres_tls_mode", db("sqlite", postgres_tls_mode="disable")),
    ("DB_POOL_UNSUPPORTED_FOR_SQLITE", "/driver/db/pool", db("sqlite", pool={})),
    ("DB_POOL_MIN_GT_MAX", "/driver/db/pool", db(pool={"min_connections": 5, "max_connections": 4})),
    ("DB_POOL_MIN_CONNECTIONS_INVALID", "/driver/db/pool/min_connections", db(pool={"min_connections": 0})),
    ("DB_POOL_MAX_CONNECTIONS_INVALID", "/driver/db/pool/max_connections",
     db(pool={"min_connections": 0, "max_connections": 0})),
    ("STREAM_KAFKA_CONFIG_REQUIRED", KAFKA, driver("stream", stream={"source": "kafka"})),
    ("STREAM_KAFKA_BROKERS_REQUIRED", f"{KAFKA}/brokers", kafka(brokers=[])),
    ("STREAM_KAFKA_BROKER_EMPTY", f"{KAFKA}/brokers/1", kafka(brokers=["b:9092", " "])),
    ("STREAM_KAFKA_TOPIC_EMPTY", f"{KAFKA}/topic", kafka(topic="")),
    ("STREAM_KAFKA_GROUP_ID_EMPTY", f"{KAFKA}/group_id", kafka(group_id="")),
    ("STREAM_KAFKA_FORMAT_REQUIRED", f"{KAFKA}/format", kafka(format="unknown")),
    ("STREAM_KAFKA_MAX_BATCH_INVALID", f"{KAFKA}/max_batch_records", kafka(max_batch_records=0)),
    ("STREAM_KAFKA_POLL_TIMEOUT_INVALID", f"{KAFKA}/poll_timeout_ms", kafka(poll_timeout_ms=0)),
    ("STREAM_KAFKA_MVP_INPUT_EMPTY", f"{KAFKA}/mvp_input", kafka(mvp_input=" ")),
    ("STREAM_KAFKA_CHECKPOINT_FILE_EMPTY", f"{KAFKA}/checkpoint_file", kafka(mode="live", checkpoint_file="")),
]  # fmt: skip

OUR_CODES: list[tuple[str, str, Document]] = [
    ("RULE_POINTER_MISSING", "/rules/0/pointer", interface(rules=[{"type": "string"}])),
    ("RULE_EMPTY", "/rules/0", interface(rules=[{"pointer": "/a"}])),
    ("RULE_ENUM_EMPTY", "/rules/0/enum", interface(rules=[{"pointer": "/a", "enum": []}])),
    ("RULE_RANGE_INVALID", "/rules/0/range", interface(rules=[{"pointer": "/a", "range": {}}])),
    ("RULE_LENGTH_INVALID", "/rules/0/length", interface(rules=[{"pointer": "/a", "length": {"min": -1}}])),
    ("RULE_PATTERN_INVALID", "/rules/0/pattern", interface(rules=[{"pointer": "/a", "pattern": "("}])),
    ("RULE_SCHEMA_INVALID", "/rules/0/schema", interface(rules=[{"schema": {"type": "nope"}}])),
    ("SCHEMA_REF_INVALID", "/schema_ref", interface(schema_ref="contracts/a")),
    ("RULES_NEED_JSON", "/schema_ref", interface(schema_ref="contracts/a@v1", payload_format="text")),
    ("DRIVER_CONNECTION_EMPTY", "/driver/connection", driver("db", connection=" ", db={"query": "SELECT 1"})),
    ("DRIVER_CONNECTION_UNEXPECTED", "/driver/connection", driver("jsonl", connection="erp")),
    ("FILE_MEMBER_REQUIRED", "/driver/db/connection", driver("db", db={"query": "SELECT 1"})),
    ("REST_EOF_CONFLICT", "/driver/eof", driver("rest", rest=BLOCKS["rest"], eof="wait")),
    ("REST_ON_REPLACE_CONFLICT", "/driver/on_replace", driver("rest", rest=BLOCKS["rest"], on_replace="fail")),
    ("DB_EOF_CONFLICT", "/driver/eof", driver("db", db=BLOCKS["db"], eof="accept")),
    ("DB_ON_REPLACE_CONFLICT", "/driver/on_replace", driver("db", db=BLOCKS["db"], on_replace="restart")),
    ("STREAM_EOF_CONFLICT", "/driver/eof", driver("stream", stream=BLOCKS["stream"], eof="wait")),
    ("STREAM_ON_REPLACE_CONFLICT", "/driver/on_replace", driver("stream", stream=BLOCKS["stream"], on_replace="fail")),
    ("LIMITS_MAX_RECORD_BYTES_INVALID", "/limits/max_record_bytes", interface(limits={"max_record_bytes": 0})),
    ("LIMITS_MAX_RUN_RECORDS_INVALID", "/limits/max_run_records", interface(limits={"max_run_records": 0})),
    ("LIMITS_MAX_RUN_BYTES_INVALID", "/limits/max_run_bytes", interface(limits={"max_run_bytes": 0})),
    ("LIMITS_MAX_RUN_S_INVALID", "/limits/max_run_s", interface(limits={"max_run_s": -1})),
    ("COMMIT_EVERY_RECORDS_INVALID", "/commit_every/records", interface(commit_every={"records": 0})),
    ("COMMIT_EVERY_BYTES_INVALID", "/commit_every/bytes", interface(commit_every={"bytes": 0})),
    ("COMMIT_EVERY_SECONDS_INVALID", "/commit_every/seconds", interface(commit_every={"seconds": 0})),
    ("DEAD_LETTERS_PATH_EMPTY", "/dead_letters/path", interface(dead_letters={"path": " "})),
    ("DEAD_LETTERS_TABLE_INVALID", "/dead_letters/table", interface(dead_letters={"table": "dead-letters"})),
    ("DEAD_LETTERS_TABLE_INVALID", "/dead_letters/table",
     interface(dead_letters={"kind": "postgres", "connection": "$URL", "table": "t" * 64})),
    ("DEAD_LETTERS_CONNECTION_EMPTY", "/dead_letters/connection",
     interface(dead_letters={"kind": "postgres", "connection": " "})),
    ("DEAD_LETTERS_CONNECTION_REQUIRED", "/dead_letters/connection", interface(dead_letters={"kind": "postgres"})),
    ("DEAD_LETTERS_CONNECTION_UNEXPECTED", "/dead_letters/connection", interface(dead_letters={"connection": "$URL"})),
    ("DEAD_LETTERS_KAFKA_MISMATCH", "/dead_letters/kafka", interface(dead_letters={"kind": "kafka"})),
    ("DEAD_LETTERS_PATH_UNEXPECTED", "/dead_letters/path",
     interface(dead_letters={"kind": "postgres", "connection": "$URL", "path": "dead.jsonl"})),
    ("DEAD_LETTERS_BUDGET_MAX_OPEN_INVALID", "/dead_letters/budget/max_open",
     interface(dead_letters={"budget": {"max_open": -1}})),
    ("DEAD_LETTERS_BUDGET_MAX_REJECT_RATIO_INVALID", "/dead_letters/budget/max_reject_ratio",
     interface(dead_letters={"budget": {"max_reject_ratio": 1.5}})),
    ("ASSET_NAME_INVALID", "/asset", interface(asset="mes-defects")),
    ("OWNER_INVALID", "/owners/1", interface(owners=["team:quality", "quality"])),
    ("TAG_NAME_INVALID", "/tags", interface(tags={"domain of it": "quality"})),
    ("TAG_VALUE_INVALID", "/tags", interface(tags={"domain": "all of it"})),
    ("RATE_LIMIT_REQUESTS_PER_S_INVALID", "/driver/rest/rate_limit/requests_per_s",
     rest(rate_limit={"requests_per_s": 0.0})),
    ("RATE_LIMIT_BURST_INVALID", "/driver/rest/rate_limit/burst", rest(rate_limit={"requests_per_s": 1.5, "burst": 0})),
    ("STREAM_KAFKA_MAX_BATCH_BYTES_INVALID", f"{KAFKA}/max_batch_bytes", kafka(max_batch_bytes=0)),
    ("STREAM_KAFKA_REQUEST_TIMEOUT_INVALID", f"{KAFKA}/request_timeout_ms", kafka(request_timeout_ms=0)),
    ("STREAM_KAFKA_MAX_LAG_INVALID", f"{KAFKA}/max_lag", kafka(max_lag=0)),
    ("STREAM_KAFKA_BROKER_VERSION_INVALID", f"{KAFKA}/broker_version", kafka(broker_version="newest")),
    ("STREAM_KAFKA_TLS_FILE_EMPTY", f"{KAFKA}/tls/ca_file", kafka(tls={"ca_file": " "})),
    (
        "STREAM_KAFKA_SASL_USERNAME_EMPTY",
        f"{KAFKA}/sasl/username",
        kafka(sasl={"mechanism": "PLAIN", "username": " ", "password": "env://P"}),
    ),
    (
        "STREAM_KAFKA_SASL_PASSWORD_EMPTY",
        f"{KAFKA}/sasl/password",
        kafka(sasl={"mechanism": "PLAIN", "username": "u", "password": ""}),
    ),
    ("REST_DEADLINE_INVALID", "/driver/rest/deadline_ms", rest(deadline_ms=0)),
    ("REST_MAX_BODY_INVALID", "/driver/rest/max_body_bytes", rest(max_body_bytes=0)),
    ("REST_MAX_DECODED_INVALID", "/driver/rest/max_decoded_bytes", rest(max_decoded_bytes=0)),
    ("REST_ERROR_POINTER_INVALID", "/driver/rest/error_pointer", rest(error_pointer="error")),
    ("REST_MAX_RETRY_AFTER_INVALID", "/driver/rest/max_retry_after_s", rest(max_retry_after_s=-1)),
    ("REST_INJECT_PARAM_EMPTY", "/driver/rest/inject/0/param", inject(param=" ")),
    ("REST_INJECT_BODY_INVALID", "/driver/rest/inject/0/body", inject(body="a")),
    ("REST_INJECT_TARGET_REQUIRED", "/driver/rest/inject/0", inject()),
    ("REST_INJECT_NEEDS_INCREMENTAL", "/driver/rest/inject/0/from",
     rest(inject=[{"param": "since", "from": "watermark"}])),
    ("REST_INJECT_REQUIRED", "/driver/rest/inject",
     rest() | {"incremental": {"field": "/at", "mode": "window", "start": "2026-01-01", "step": "P1D"}}),
    ("REST_HOST_INVALID", "/driver/rest/hosts/0", rest(hosts=["https://api.example.com"])),
    ("REST_CA_FILE_EMPTY", "/driver/rest/ca_file", rest(ca_file="")),
    ("REST_PROXY_INVALID", "/driver/rest/proxy", rest(proxy="proxy:3128")),
    ("REST_AUTH_BEARER_REQUIRED", f"{AUTH}/bearer", rest(auth={"kind": "bearer"})),
    ("REST_AUTH_BASIC_REQUIRED", f"{AUTH}/basic", rest(auth={"kind": "basic"})),
    ("REST_AUTH_BEARER_TOKEN_EMPTY", f"{AUTH}/bearer/token", rest(auth={"kind": "bearer", "bearer": {"token": ""}})),
    ("REST_AUTH_BASIC_USERNAME_EMPTY", f"{AUTH}/basic/username",
     rest(auth={"kind": "basic", "basic": {"username": "", "password": "$P"}})),
    ("REST_AUTH_HEADER_CONFLICT", "/driver/rest/headers",
     rest(auth={"kind": "bearer", "bearer": {"token": "$T"}}, headers={"Authorization": "x"})),
    ("REST_PAGINATION_OFFSET_REQUIRED", f"{PAGING}/offset", rest(pagination={"kind": "offset"})),
    ("REST_PAGINATION_NEXT_URL_REQUIRED", f"{PAGING}/next_url", rest(pagination={"kind": "next_url"})),
    ("REST_PAGINATION_OFFSET_PARAM_EMPTY", f"{PAGING}/offset/offset_param", offset(offset_param="")),
    ("REST_PAGINATION_LIMIT_PARAM_EMPTY", f"{PAGING}/offset/limit_param", offset(limit_param="")),
    ("REST_PAGINATION_LIMIT_INVALID", f"{PAGING}/offset/limit", offset(limit=0)),
    ("REST_PAGINATION_INITIAL_OFFSET_INVALID", f"{PAGING}/offset/initial_offset", offset(initial_offset=-1)),
    ("REST_PAGINATION_IN_FLIGHT_INVALID", f"{PAGING}/page/in_flight", page(in_flight=17)),
    ("REST_PAGINATION_TOTAL_POINTER_INVALID", f"{PAGING}/page/total_pointer", page(total_pointer="total")),
    ("REST_PAGINATION_REL_EMPTY", f"{PAGING}/link/rel", rest(pagination={"kind": "link", "link": {"rel": ""}})),
    ("REST_PAGINATION_NEXT_URL_PATH_INVALID", f"{PAGING}/next_url/next_url_path",
     rest(pagination={"kind": "next_url", "next_url": {"next_url_path": "next"}})),
    ("INCREMENTAL_FIELD_EMPTY", "/incremental/field", incremental(field=" ")),
    ("INCREMENTAL_TIE_BREAKER_EMPTY", "/incremental/tie_breaker/0", incremental(tie_breaker=[""])),
    ("INCREMENTAL_LATENESS_INVALID", "/incremental/lateness_s", incremental(lateness_s=-1)),
    ("INCREMENTAL_STEP_INVALID", "/incremental/step", incremental(step="1h")),
    ("INCREMENTAL_STEP_REQUIRED", "/incremental/step", incremental(mode="window", start="2026-01-01")),
    ("INCREMENTAL_START_REQUIRED", "/incremental/start", incremental(mode="window", step="P1D")),
    ("INCREMENTAL_START_INVALID", "/incremental/start", incremental(mode="window", step="P1D", start="monday")),
    ("INCREMENTAL_UNEXPECTED", "/incremental", interface(incremental={"field": "at"})),
    ("WATERMARK_NAME_INVALID", "/watermarks/0/name", watermark(name="1st")),
    ("WATERMARK_CONNECTION_EMPTY", "/watermarks/0/connection", watermark(connection="")),
    ("WATERMARK_RESOLVER_SQL_EMPTY", "/watermarks/0/resolver_sql", watermark(resolver_sql=" ")),
    ("WATERMARKS_UNEXPECTED", "/watermarks", interface(watermarks=[{"name": "a", "resolver_sql": "SELECT 1"}])),
    ("DB_QUERY_REQUIRED", "/driver/db/query", driver("db", db={"kind": "sqlite", "connection": "c"})),
    ("DB_TABLE_QUERY_CONFLICT", "/driver/db/table", db(table="events")),
    ("DB_TABLE_INVALID", "/driver/db/table", table("events; DROP TABLE events")),
    ("DB_COLUMN_INVALID", "/driver/db/columns/1", db(columns=["id", 'a"b'])),
    ("DUPLICATE_ENTRY", "/driver/db/columns/1", db(columns=["id", "id"])),
    ("DB_COLUMN_INVALID", "/driver/db/partition_key", db(partition_key="id)")),
    ("DB_PARTITION_KEY_ONLY_FOR_POSTGRES", "/driver/db/partition_key", db("mysql", partition_key="id")),
    ("DB_SHARDS_INVALID", "/driver/db/shards", db(partition_key="id", shards=0)),
    ("DB_SHARDS_WITHOUT_KEY", "/driver/db/shards", db(shards=4)),
    ("DB_CA_FILE_EMPTY", "/driver/db/ca_file", db("mysql", ca_file=" ")),
    ("DB_CA_FILE_UNUSED", "/driver/db/ca_file", db("postgres", ca_file="ca.pem")),
    ("DB_CONNECT_TIMEOUT_INVALID", "/driver/db/connect_timeout_ms", db(connect_timeout_ms=0)),
    ("DB_STATEMENT_TIMEOUT_INVALID", "/driver/db/statement_timeout_ms", db(statement_timeout_ms=0)),
    ("DB_IDLE_TIMEOUT_INVALID", "/driver/db/idle_timeout_ms", db(idle_timeout_ms=-1)),
    ("DEPENDS_ON_EMPTY", "/depends_on/0", interface(depends_on=[" "])),
    ("DEPENDS_ON_REPEATED", "/depends_on/1", interface(depends_on=["qms", "qms"])),
    ("AUTOMATION_NEEDS_DEPENDS_ON", "/automation", interface(automation={"kind": "eager"})),
    ("SCHEDULE_CRON_INVALID", "/schedule/cron", interface(schedule={"cron": "0 20 2 * * *"})),
    ("SCHEDULE_TIMEZONE_UNKNOWN", "/schedule/timezone", interface(schedule={"cron": "0 2 * * *", "timezone": "Mars"})),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "document"),
    [
        ("/incremental/tie_breaker/1", incremental(tie_breaker=["id", "id"])),
        ("/watermarks/1/name", db() | {"watermarks": [{"name": "a", "resolver_sql": "SELECT 1"}] * 2}),
    ],
)
def test_a_repeat_is_reported_where_it_stands(pointer: str, document: Document) -> None:
    assert problems_of(document) == [("DUPLICATE_ENTRY", pointer)]


def problems_of(document: Document) -> list[tuple[str, str]]:
    with pytest.raises(InvalidFileError) as caught:
        parse_interface(json.dumps(document).encode(), "interfaces/mes.json")
    return [(problem.code, problem.pointer) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("code", "pointer", "document"), [pytest.param(*row, id=row[0]) for row in (*REFERENCE_CODES, *OUR_CODES)]
)
def test_a_file_with_one_fault_gets_its_code_at_its_pointer_and_nothing_else(
    code: str, pointer: str, document: Document
) -> None:
    # No smaller file has this fault alone: a maximum of 0 is also below the default minimum of 1.
    together = {
        "DB_POOL_MAX_CONNECTIONS_INVALID": [("DB_POOL_MIN_CONNECTIONS_INVALID", "/driver/db/pool/min_connections")]
    }
    assert sorted(problems_of(document)) == sorted([(code, pointer), *together.get(code, [])])


def test_the_reference_has_76_interface_codes_and_all_of_them_exist_here() -> None:
    interface_file = parse_interface(json.dumps(interface()).encode(), "interfaces/mes.json")
    missed = ContractRegistry(Path("contracts/allowlist.json"), {}).problem(interface_file)
    assert missed is not None
    codes = {code for code, _, _ in REFERENCE_CODES} | {missed.code}
    assert len(codes) == 76


def test_no_code_stands_in_the_source_that_is_not_listed_here() -> None:
    listed = {code for code, _, _ in (*REFERENCE_CODES, *OUR_CODES)}
    modules = [
        "config",
        "policy",
        "rest_config",
        "db_config",
        "stream_config",
        "driver_config",
        "interface",
        "incremental",
        "rest_auth_config",
        "rest_paging_config",
        "rules",
        "schedule",
    ]
    folder = Path(rootsys_dagster.core.__path__[0])
    written = {code for module in modules for code in codes_in(folder / f"{module}.py")}
    assert written == listed


def codes_in(source: Path) -> set[str]:
    """The codes handed to the collector in one module, with the names that are put into them spelled out."""
    fills = {
        "area": ["REST", "DB"],
        "self.kind.upper()": ["REST", "DB", "STREAM"],
        "name.upper()": ["REST", "DB", "STREAM", "INPUT", "EOF", "ON_REPLACE"],
    }
    codes = set[str]()
    for call in ast.walk(ast.parse(source.read_text())):
        if isinstance(call, ast.Call) and call.args and isinstance(call.func, ast.Attribute):
            texts = [ast.unparse(call.args[0]).removeprefix("f").strip("'\"")]
            for hole in re.findall(r"{(.*?)}", texts[0]):
                texts = [text.replace(f"{{{hole}}}", fill) for text in texts for fill in fills.get(hole, [])]
            codes |= {text for text in texts if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", text)}
    # A kind does not conflict with itself, and only blocks can be unexpected.
    impossible = {f"{kind}_{kind}_CONFLICT" for kind in ("REST", "DB", "STREAM")}
    return {code for code in codes - impossible if not re.fullmatch(r"DRIVER_(INPUT|EOF|ON_REPLACE)_UNEXPECTED", code)}


ALL_AT_ONCE = [
    pytest.param(
        rest(auth=api_key(name="", value=" ")),
        ["REST_AUTH_API_KEY_NAME_EMPTY", "REST_AUTH_API_KEY_VALUE_EMPTY"],
        id="RS-09 blank name and value of the api key",
    ),
    pytest.param(
        rest(auth=oauth2(token_url="", client_id=" ", client_secret="")),
        [
            "REST_AUTH_OAUTH2_CLIENT_ID_EMPTY",
            "REST_AUTH_OAUTH2_CLIENT_SECRET_EMPTY",
            "REST_AUTH_OAUTH2_TOKEN_URL_EMPTY",
        ],
        id="RS-12 three blank oauth2 fields",
    ),
    pytest.param(
        rest(
            response_format="binary",
            pagination={"kind": "cursor", "cursor": {"cursor_param": " ", "cursor_path": "next", "max_pages": 0}},
        ),
        [
            "REST_PAGINATION_CURSOR_PARAM_EMPTY",
            "REST_PAGINATION_CURSOR_PATH_INVALID",
            "REST_PAGINATION_MAX_PAGES_INVALID",
            "REST_PAGINATION_REQUIRES_JSON_RESPONSE",
        ],
        id="RS-14 one cursor config with four codes",
    ),
    pytest.param(
        rest(
            response_format="text",
            pagination={
                "kind": "page",
                "page": {"page_param": "", "page_size_param": "", "page_size": 0, "initial_page": 0, "max_pages": 0},
            },
        ),
        [
            "REST_PAGINATION_INITIAL_PAGE_INVALID",
            "REST_PAGINATION_PAGE_MAX_PAGES_INVALID",
            "REST_PAGINATION_PAGE_PARAM_EMPTY",
            "REST_PAGINATION_PAGE_SIZE_INVALID",
            "REST_PAGINATION_PAGE_SIZE_PARAM_EMPTY",
            "REST_PAGINATION_REQUIRES_JSON_RESPONSE",
        ],
        id="RS-17 one page config with six codes",
    ),
    *(
        pytest.param(
            make(retry={"max_attempts": 0, "base_delay_ms": 0, "max_delay_ms": 0, "jitter_percent": 101}),
            [
                f"{area}_RETRY_BASE_DELAY_INVALID",
                f"{area}_RETRY_JITTER_PERCENT_INVALID",
                f"{area}_RETRY_MAX_ATTEMPTS_INVALID",
                f"{area}_RETRY_MAX_DELAY_INVALID",
            ],
            id=f"RS-19 RS-29 {area} retry with four codes",
        )
        for area, make in (("REST", rest), ("DB", db))
    ),
    *(
        pytest.param(
            make(circuit_breaker={"failure_threshold": 0, "open_timeout_ms": 0}),
            [f"{area}_CIRCUIT_BREAKER_FAILURE_THRESHOLD_INVALID", f"{area}_CIRCUIT_BREAKER_OPEN_TIMEOUT_INVALID"],
            id=f"RS-22 RS-32 {area} breaker with two codes",
        )
        for area, make in (("REST", rest), ("DB", db))
    ),
    pytest.param(
        kafka(
            brokers=[], topic=" ", group_id="", format="unknown", max_batch_records=0, poll_timeout_ms=0, mvp_input=None
        ),
        [
            "STREAM_KAFKA_BROKERS_REQUIRED",
            "STREAM_KAFKA_FORMAT_REQUIRED",
            "STREAM_KAFKA_GROUP_ID_EMPTY",
            "STREAM_KAFKA_MAX_BATCH_INVALID",
            "STREAM_KAFKA_MVP_INPUT_EMPTY",
            "STREAM_KAFKA_POLL_TIMEOUT_INVALID",
            "STREAM_KAFKA_TOPIC_EMPTY",
        ],
        id="RS-36 seven stream codes",
    ),
    pytest.param(
        driver("jsonl", rest=BLOCKS["rest"], db=BLOCKS["db"], stream=BLOCKS["stream"]),
        ["DRIVER_DB_UNEXPECTED", "DRIVER_REST_UNEXPECTED", "DRIVER_STREAM_UNEXPECTED"],
        id="three blocks under jsonl",
    ),
    pytest.param(
        interface(required_paths=["a", "a"], record_id_paths=["/ok", " /b", "/c~", "/ok"]),
        ["DUPLICATE_ENTRY"] * 2 + ["JSON_POINTER_INVALID"] * 4,
        id="a repeated bad pointer is both",
    ),
]


@pytest.mark.parametrize(("document", "codes"), ALL_AT_ONCE)
def test_all_faults_of_a_file_are_reported_at_once(document: Document, codes: list[str]) -> None:
    assert sorted(code for code, _ in problems_of(document)) == codes


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(interface(), id="no driver is jsonl"),
        pytest.param(interface(driver={}), id="no kind is jsonl"),
        pytest.param(driver("jsonl", rest=None, db=None, stream=None), id="a null block is no block"),
        pytest.param(driver("rest", rest=BLOCKS["rest"], input=None, db=None), id="null conflicts with nothing"),
        pytest.param(rest(retry={"max_delay_ms": 50}), id="RS-21 only one delay given"),
        pytest.param(rest(retry={"base_delay_ms": 5000}), id="base above the default maximum"),
        pytest.param(rest(retry={"jitter_percent": 0}), id="no jitter"),
        pytest.param(rest(auth=api_key(), headers={"x-key": "z"}), id="header of another case"),
        pytest.param(rest(auth=api_key(**{"in": "query"}), headers={"X-Key": "z"}), id="header beside a query key"),
        pytest.param(rest(auth=oauth2(), headers={"authorization": "z"}), id="authorization of another case"),
        pytest.param(rest(auth=api_key(), headers={"Authorization": "z"}), id="authorization beside an api key"),
        pytest.param(rest(method="PATCH", body="x"), id="any method, any body"),
        pytest.param(cursor(initial_cursor=""), id="RS-15 cursor paging"),
        pytest.param(page(initial_page=3), id="RS-18 page paging"),
        pytest.param(db(postgres_tls_mode="require"), id="RS-25 TLS on postgres"),
        pytest.param(db("mysql", pool={"min_connections": 2, "max_connections": 2}), id="pool on mysql"),
        pytest.param(kafka(), id="RS-37 mvp"),
        pytest.param(kafka(mode="live", mvp_input=None), id="RS-38 live without mvp_input"),
        pytest.param(kafka(checkpoint_file=" "), id="checkpoint_file is read in live mode only"),
        pytest.param(
            interface(dead_letters={"budget": {"max_open": 0, "max_reject_ratio": 1}}), id="no open dead letter"
        ),
        pytest.param(interface(dead_letters={"kind": "sqlite", "table": "_dlq2"}), id="a table of our own"),
        pytest.param(
            interface(dead_letters={"kind": "postgres", "connection": "$URL", "table": "dlq2"}),
            id="a table of a server",
        ),
        pytest.param(interface(owners=["a.b@example.com", "team:x"], tags={"team/x": "a.b-c_1"}), id="owners and tags"),
        pytest.param(interface(**{"$schema": "../contracts/schemas/interface.schema.json"}), id="schema for editors"),
    ],
)
def test_what_the_reference_accepts_loads(document: Document) -> None:
    assert parse_interface(json.dumps(document).encode(), "interfaces/mes.json").name == "mes"


@pytest.mark.parametrize(
    "table", ["", "2dead_letters", "dead-letters", "dead letters", "sqlite_dead", "dead_letters\n"]
)
def test_a_table_name_that_a_database_would_not_take_is_refused(table: str) -> None:
    for kind in ({"kind": "sqlite"}, {"kind": "postgres", "connection": "$URL"}):
        document = interface(dead_letters={**kind, "table": table})
        assert problems_of(document) == [("DEAD_LETTERS_TABLE_INVALID", "/dead_letters/table")]
