"""Any host's log as columns: `read(path)` gives its runs. Imports neither torch nor any host."""

from entrostat.logs.read import read as read
from entrostat.logs.records import Column as Column
from entrostat.logs.records import Note as Note
from entrostat.logs.records import Run as Run

__all__ = ["Column", "Note", "Run", "read"]
