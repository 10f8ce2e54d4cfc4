"""Dead letters of an interface in a topic, as a follower of its commits."""

import pytest

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.pipeline.publish import publish
from tests.conftest import ProjectFolder
from tests.topics import Topics, shared_kafka


@pytest.fixture
def kafka() -> Topics:
    return shared_kafka()


def letters_to(project: ProjectFolder, kafka: Topics, topic: str) -> None:
    server = {"brokers": [kafka.broker.address], "topic": topic, "request_timeout_ms": 5000}
    project.interface("mes", dead_letters={"kind": "kafka", "kafka": server})


def test_letters_follow_the_commits_and_come_once(project: ProjectFolder, kafka: Topics) -> None:
    topic = kafka.topic()
    letters_to(project, kafka, topic)
    project.data("mes.jsonl", [b'{"id":', b'{"id":"a"}', b"nothing"])
    project.run("mes")
    loaded = project.load()
    for written in (2, 0):
        (report,) = publish(loaded.interface("mes"), loaded)
        assert (report.behind, report.written, report.error) == (0, written, None)
    assert kafka.values(topic) == [line.rstrip(b"\n") for line in project.lines("dead_letters", "mes")]


def test_a_topic_that_is_not_there_holds_up_the_follower_only(project: ProjectFolder, kafka: Topics) -> None:
    letters_to(project, kafka, "t-nowhere")
    project.data("mes.jsonl", [b'{"id":'])
    project.run("mes")
    loaded = project.load()
    (report,) = publish(loaded.interface("mes"), loaded)
    assert report.behind == 1
    assert report.error is not None
    assert report.error.code == "KAFKA.TOPIC_MISSING"


def test_kind_and_block_belong_together(project: ProjectFolder) -> None:
    project.interface("mes", dead_letters={"kind": "kafka"})
    with pytest.raises(ConfigError, match="DEAD_LETTERS_KAFKA_MISMATCH"):
        project.run("mes")
