"""The only package that imports Dagster. Start with build.py; the component is for projects that build on this one."""

from rootsys_dagster.defs.component import InterfaceFolderComponent

__all__ = ["InterfaceFolderComponent"]
