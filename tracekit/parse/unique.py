"""Dropping doubled entries from what comes in order."""

from bisect import bisect_left
from collections import Counter
from operator import itemgetter
from typing import Any

from tracekit.files.sorting import Entry
from tracekit.parse.entries import KEY, NULL, ORDER, SPAN, TRACE

_RECENT = 20_000  # entries without a key among which a doubled one is told
_SPAN = itemgetter(SPAN)


class Unique:
    """Drops each entry that has key, trace and span (or what stands for them) of one before it; entries
    come in order.

    Those without a key do not stand together: they are compared with the last _RECENT such entries."""

    def __init__(self) -> None:
        self.duplicates: Counter[int] = Counter()  # by the order of their file
        self._at = -1
        self._seen: dict[tuple[Any, Any], None] = {}  # at that key, the oldest first

    def kept(self, entries: list[Entry]) -> list[Entry]:
        """Those that are no duplicates. An entry without trace or span never is one."""
        going_on = bisect_left(entries, (self._at + 1,))  # so many have the last key once more
        kept, others = [one for one in entries[:going_on] if self._is_new(one)], entries[going_on:]
        if others and not self._has_only_new(others):
            others = [one for one in others if self._is_new(one)]
        return kept + others

    def _is_new(self, entry: Entry) -> bool:
        key = min(entry[KEY], NULL)
        if key != self._at:
            self._at, self._seen = key, {}
        identity = entry[TRACE], entry[SPAN]
        if None in identity:
            return True
        if identity in self._seen:
            self.duplicates[entry[ORDER]] += 1
            return False
        self._seen[identity] = None
        if len(self._seen) > _RECENT:
            del self._seen[next(iter(self._seen))]
        return True

    def _has_only_new(self, entries: list[Entry]) -> bool:
        """Whether the spans alone tell that none is a duplicate. entries: above the last key."""
        last = entries[-1][KEY]
        if last >= NULL or len(set(map(_SPAN, entries))) < len(entries):
            return False
        at_last = entries[bisect_left(entries, (last,)) :]
        self._at, self._seen = last, {(entry[TRACE], entry[SPAN]): None for entry in at_last}
        return True
