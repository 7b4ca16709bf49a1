"""Tables on the terminal, and wide ones where the output goes to a file or a pipe.

Invariant: no cell is cut; what does not fit goes on in the next line.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Column, Table

_PIPED_WIDTH = 200


def new_table(*headers: str, title: str | None = None) -> Table:
    """An empty table."""
    return Table(*(Column(header, overflow="fold") for header in headers), title=title)


def show(*tables: Table) -> None:
    """Print tables, one below the other."""
    terminal = console()
    for table in tables:
        terminal.print(table)


def console() -> Console:
    """The terminal, or a wide page where the output goes elsewhere."""
    piped = not sys.stdout.isatty()
    # A width in the environment (COLUMNS) counts for terminals alone: there is no other reader
    # of a pipe than a program, or a person who searches it by line.
    return Console(width=_PIPED_WIDTH if piped else None, highlight=False)
