"""Our errors in Dagster's words: fix and start again, or wait and try again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dagster as dg

from rootsys_dagster.core.errors import InvalidFileError, Problem, RootsysError, TransientError
from rootsys_dagster.defs.triggers import trigger_of
from rootsys_dagster.log.trigger import asked_by
from rootsys_dagster.secrets import redact

MAX_RETRIES = 3
DEFAULT_RETRY_AFTER_S = 5.0


@contextmanager
def told_to_dagster(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> Iterator[None]:
    """Inside an op: a TransientError asks for another try after its own delay, any other error of ours ends the step.

    Errors that are not ours are bugs and keep their traceback. What is committed says who asked for the run.
    """
    try:
        with asked_by(trigger_of(context.run)):
            yield
    except TransientError as error:
        if context.retry_number >= MAX_RETRIES:
            # Asked once more, Dagster would say "Exceeded max_retries of 3" where a person looks for the reason.
            raise failure(error) from None
        wait_s = DEFAULT_RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait_s) from failure(error)
    except RootsysError as error:
        raise failure(error) from None


def failure(error: RootsysError) -> dg.Failure:
    """The failure that a person reads in the UI: our message, our code, every problem of a file in a table."""
    metadata: dict[str, dg.MetadataValue] = {"code": dg.MetadataValue.text(error.code)}
    if isinstance(error, InvalidFileError):
        metadata["problems"] = problem_table(error.problems)
    return dg.Failure(f"{redact(str(error))} [{error.code}]", metadata=metadata, allow_retries=False)


def problem_table(problems: Sequence[Problem]) -> dg.TableMetadataValue:
    """Every problem of a file, one row each."""
    return dg.MetadataValue.table(
        [dg.TableRecord({"pointer": one.pointer, "code": one.code, "message": one.message}) for one in problems],
        schema=dg.TableSchema([dg.TableColumn(name, "string") for name in ("pointer", "code", "message")]),
    )
