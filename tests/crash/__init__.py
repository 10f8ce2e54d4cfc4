"""What is promised, under fire: kill -9, failing system calls, full disks, power cuts, several writers at once.

Every test works on real files and real processes and asserts that its fault fired. What is on disk afterwards is
judged by ``oracle``, which reads manifests as plain JSON, compares bytes with the source and imports nothing of ours.

The short form is part of ``make test``; ``make crash`` runs ``pytest -m long tests/crash``, the same code with larger
counts. Needed besides Python: Linux, strace, mkfs.ext4, and root for the tests that mount. Without them a test is
skipped and says so; where ``CI=true`` is set it fails instead.

    source   a project whose input grows, and what must become of each line of it
    worker   the process under fire: runs, merges or publishes through the library, and forks a child for each request
    pool     starts, kills and awaits those children
    faults   traces a child's system calls, then fails one of them or kills at one of them
    mounts   file systems that can be filled or cut off
    oracle   reads the commit log and says what was lost, doubled or torn
"""
