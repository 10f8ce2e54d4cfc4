"""Dead-letter sinks: followers of the commit log."""
