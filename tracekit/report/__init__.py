"""A data set as one HTML page that needs no network and no server.

Each part reads the series that it shows as a stream and keeps sums of a fixed size, so memory and page
do not grow with the run. The page itself, its style and its script are files in page/.
"""

from tracekit.report.page import write_page

__all__ = ["write_page"]
