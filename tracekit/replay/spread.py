"""How durations are spread, in memory that does not grow with their number: mean exact, shares to 0.1 %."""

import math
from collections import Counter

_STEP = math.log(1.001)


class Spread:
    """Durations in ns, counted in classes that are 0.1 % wide."""

    def __init__(self) -> None:
        self.count = self.total = self.most = 0
        self._classes: Counter[int] = Counter()

    def add(self, value: int) -> None:
        """One duration, ns, at least 0."""
        self.count += 1
        self.total += value
        self.most = max(self.most, value)
        self._classes[round(math.log(value) / _STEP) if value > 1 else 0] += 1

    def at_ms(self, share: int) -> float:
        """The value at share percent, ms; nearest rank."""
        rank, seen = max(-(-self.count * share // 100), 1), 0
        for one in sorted(self._classes):
            seen += self._classes[one]
            if seen >= rank:
                return round(min(math.exp(one * _STEP), self.most) / 1e6, 6) if one else 0.0
        return 0.0

    def told(self) -> dict[str, float | int]:
        """For summary.json, ms."""
        mean = self.total / self.count / 1e6 if self.count else 0.0
        shares = {f"p{share}": self.at_ms(share) for share in (50, 95, 99)}
        return {"n": self.count, "mean": round(mean, 6), **shares, "max": round(self.most / 1e6, 6)}
