"""What a fault found out: figures beside what they had to be."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One counted thing and whether it is what was promised."""

    name: str
    value: float
    promise: str
    holds: bool

    def __str__(self) -> str:
        value = f"{self.value:,.0f}" if self.value == int(self.value) else f"{self.value:,.2f}"
        return f"{'✓' if self.holds else '✗'} {self.name}: {value}  ({self.promise})"


@dataclass
class Report:
    """The figures of one fault; `skipped` says why it could not be made here."""

    figures: list[Figure] = field(default_factory=list)
    skipped: str = ""

    def at_most(self, name: str, value: float, limit: float) -> None:
        self.figures.append(Figure(name, value, f"at most {limit:g}", value <= limit))

    def at_least(self, name: str, value: float, limit: float) -> None:
        self.figures.append(Figure(name, value, f"at least {limit:g}", value >= limit))

    def exactly(self, name: str, value: float, wanted: float) -> None:
        self.figures.append(Figure(name, value, f"exactly {wanted:g}", value == wanted))

    def note(self, name: str, value: float) -> None:
        self.figures.append(Figure(name, value, "for information", True))

    @property
    def holds(self) -> bool:
        return all(figure.holds for figure in self.figures)


@dataclass(frozen=True)
class Scale:
    """How much of a fault to make; `short` is what every test run can afford, without promises of speed."""

    short: bool
    seed: int

    def pick(self, short: int, full: int) -> int:
        return short if self.short else full


@dataclass(frozen=True)
class Fault:
    """One entry of the catalogue in RELIABILITY, section 3."""

    code: str
    title: str
    make: Callable[[Scale], Report]
    needs_messages: bool = True
