"""The rootsys command line, one module per command group."""
