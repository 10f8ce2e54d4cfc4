"""Asset checks: what commits claim, counted again from the files, and the limits that an interface sets."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from rootsys_dagster.core.contract import load_registry
from rootsys_dagster.core.errors import RootsysError
from rootsys_dagster.core.project import InterfaceFile, Project
from rootsys_dagster.defs.columns import changes
from rootsys_dagster.defs.letters import OPEN_DEAD_LETTERS
from rootsys_dagster.defs.metadata import summed
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.manifest import Manifest
from rootsys_dagster.log.verify import verify_commit

CONSERVATION = "conservation"
CONTRACT = "contract"
COLUMNS = "columns"
DESCRIPTIONS = {
    CONSERVATION: "Every fetched unit has exactly one outcome, and the files hold as many lines as the commits say",
    CONTRACT: "Name and version are on the allowlist, and the newest commit was made under the file as it is now",
    COLUMNS: "The source has the columns and types that it had before",
    OPEN_DEAD_LETTERS: "Dead letters that wait stay below the limits of dead_letters.budget in the interface file",
}


def check_spec(name: str, key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The declaration of check *name* on the asset *key*."""
    return dg.AssetCheckSpec(name, asset=key, description=DESCRIPTIONS[name])


def conservation(log: CommitLog, commits: Sequence[Manifest], key: dg.AssetKey) -> dg.AssetCheckResult:
    """Count and hash the lines of *commits* again, and add up their outcomes; what was changed since shows here."""
    found = [(commit.seq, finding) for commit in commits for finding in verify_commit(log, commit)]
    problems = [f"commit {seq}: {Path(finding.path).name} {finding.message}" for seq, finding in found]
    counts = summed(commits)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=CONSERVATION,
        passed=not problems,
        description="; ".join(problems) or f"{counts.fetched} units, {counts.fetched} outcomes",
        metadata={"commits": len(commits), "fetched": counts.fetched, "problems": dg.MetadataValue.json(problems)},
    )


def contract(project: Project, entry: InterfaceFile, head: Manifest | None, key: dg.AssetKey) -> dg.AssetCheckResult:
    """Whether the contract holds; a file changed since the newest commit is a warning."""
    try:
        load_registry(project.contracts_path).require(entry.require())
    except RootsysError as error:
        return _contract_result(key, str(error), dg.AssetCheckSeverity.ERROR)
    if head is not None and (head.interface_sha256, head.contract_sha256) != (entry.sha256, entry.contract_sha256):
        file = entry.path.name if head.interface_sha256 != entry.sha256 else "record contract"
        message = f"commit {head.seq} and those before were made under an earlier {file}"
        return _contract_result(key, message, dg.AssetCheckSeverity.WARN)
    return _contract_result(key, None, dg.AssetCheckSeverity.ERROR)


def columns(log: CommitLog, commits: Sequence[Manifest], key: dg.AssetKey) -> dg.AssetCheckResult:
    """Compare the columns of *commits* with those before; a difference is a warning, because the data is there."""
    found = changes(log, commits) if commits else []
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=COLUMNS,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(found) or "as before",
        metadata={"changes": dg.MetadataValue.json(found)},
    )


def _contract_result(key: dg.AssetKey, problem: str | None, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=CONTRACT,
        passed=problem is None,
        severity=severity,
        description=problem or "on the allowlist, and unchanged since the newest commit",
    )
