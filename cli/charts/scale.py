"""The scale of an axis, and the format of its numbers."""

import dataclasses
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """The range of values of an axis."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def of(cls, values: Sequence[float], *, log: bool = False) -> "Scale":
        """The scale from the lowest to the highest value."""
        return cls(low=min(values), high=max(values), log=log and min(values) > 0)

    def share(self, value: float) -> float:
        """Position of a value, from 0 at the low end to 1 at the high end; the middle if the ends are equal."""
        low, high, value = map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return (value - low) / (high - low) if high > low else 0.5

    def ticks(self, at_most: int) -> list[float]:
        """Round numbers within the range."""
        if self.log and len(found := self._log_ticks(at_most)) > 1:
            return found
        if self.high <= self.low:
            return [self.low]
        step = _round_up((self.high - self.low) / max(at_most, 1))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def _log_ticks(self, at_most: int) -> list[float]:
        """1, 2, 5, 10, …, or only powers of ten."""
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for digits in ((1, 2, 5), (1,)):
            found = [digit * 10.0**exponent for exponent in exponents for digit in digits]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) <= at_most:
                return found
        return found[:: math.ceil(len(found) / max(at_most, 1))]


def figure(value: float) -> str:
    """A number for reading: four digits, or a power of ten."""
    if value and (abs(value) < 1e-4 or abs(value) >= 1e7):
        digits, exponent = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}"


def tick(value: float) -> str:
    """A round number, as short as possible."""
    if abs(value) >= 10_000 and value % 1000 == 0:
        return f"{value / 1e6:,.10g}M" if value % 1e6 == 0 else f"{value / 1e3:,.10g}k"
    if value and abs(value) < 1e-4:
        return figure(value)
    return f"{value:,.6g}" if abs(value) < 1e5 else f"{value:,.0f}"


def _round_up(value: float) -> float:
    """The next larger of 1, 2 and 5 times a power of ten."""
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next(digit * magnitude for digit in (1, 2, 5, 10) if digit * magnitude >= value * (1 - 1e-9))
