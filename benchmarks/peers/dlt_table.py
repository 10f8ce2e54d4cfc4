"""dlt copies one table of PostgreSQL into a folder: ``dlt_table.py BACKEND FORMAT URL TABLE FOLDER``."""

import os
import shutil
import sys
from pathlib import Path

backend, file_format, url, table, folder = sys.argv[1:]
work = Path(folder)
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
os.environ |= {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "ERROR",
    "DLT_DATA_DIR": str(work / "dlt"),
    "DESTINATION__FILESYSTEM__BUCKET_URL": (work / "out").as_uri(),
}

import dlt  # noqa: E402  the settings above are read when it is imported
from dlt.sources.sql_database import sql_table  # noqa: E402

given = {"backend_kwargs": {"return_type": "arrow_stream", "conn": url}} if backend == "connectorx" else {}
address = url.replace("postgresql://", "postgresql+psycopg2://")
source = sql_table(address, table=table, backend=backend, chunk_size=20_000, reflection_level="full", **given)
pipeline = dlt.pipeline("peer", destination="filesystem", dataset_name="peer", pipelines_dir=str(work / "pipelines"))
pipeline.run(source, loader_file_format=file_format).raise_on_failed_jobs()
rows = pipeline.last_trace.last_normalize_info.row_counts[table]
print(rows, "rows")
