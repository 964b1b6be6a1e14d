"""Is a directory a whole and true cctf? Each line against its record, each file against the manifest, the
laws, and every name against the file that defines it. The directory may be one node's or a merge of many,
made by parse or by any other writer.

The records are those that the JSON Schemas in docs/schema/ are made from, so a pass here is a pass
there; typed decoding only says it a hundred times faster.
"""

from tracekit.validate.check import check, find_problems
from tracekit.validate.report import COUNTED, ERRORS, Group, Report, unreadable

__all__ = ["COUNTED", "ERRORS", "Group", "Report", "check", "find_problems", "unreadable"]
