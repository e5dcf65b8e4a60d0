"""One condition as a sentence of controls: what the builder draws, and what it reads back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext

from . import tree as t
from .choices import Choices, Pairs, anywhere, by_any, precision
from .words import ATTRIBUTES, CONSENT_STATES

MAX_FILTERS = 5
_DIGITS = frozenset("0123456789")

ORDER_MEASURES: dict[str, Promise] = {
    "count": gettext_lazy("Number of orders"),
    "revenue": gettext_lazy("Amount spent"),
    "average": gettext_lazy("Average order"),
    "quantity": gettext_lazy("Pieces bought"),
    "first": gettext_lazy("First order"),
    "last": gettext_lazy("Last order"),
}
OPERATORS: dict[str, Promise] = {
    "is": gettext_lazy("is"),
    "is_not": gettext_lazy("is not"),
    "one_of": gettext_lazy("is one of"),
    "not_one_of": gettext_lazy("is none of"),
    "contains": gettext_lazy("contains"),
    "not_contains": gettext_lazy("does not contain"),
    "starts_with": gettext_lazy("starts with"),
    "set": gettext_lazy("is known"),
    "not_set": gettext_lazy("is not known"),
    "equals": gettext_lazy("equals"),
    "more_than": gettext_lazy("is more than"),
    "less_than": gettext_lazy("is less than"),
    "at_least": gettext_lazy("is at least"),
    "at_most": gettext_lazy("is at most"),
    "exactly": gettext_lazy("is exactly"),
    "before": gettext_lazy("before"),
    "after": gettext_lazy("after"),
    "in_last": gettext_lazy("in the last"),
    "older_than": gettext_lazy("more than"),
    "birthday_within": gettext_lazy("within the next"),
    "age_at_least": gettext_lazy("age is at least"),
    "age_at_most": gettext_lazy("age is at most"),
}
_TEXT = ("is", "is_not", "one_of", "not_one_of", "contains", "not_contains", "starts_with", "set", "not_set")
_CODE = ("is", "is_not", "one_of", "not_one_of", "set", "not_set")
_TIME = ("in_last", "older_than", "before", "after")
_BIRTH = ("birthday_within", "age_at_least", "age_at_most", "before", "after", "set", "not_set")
_NUMBER = ("equals", "more_than", "less_than", "at_least", "at_most")
_COUNT = ("at_least", "at_most", "exactly")


def what_choices() -> list[tuple[str, Pairs]]:
    """What a condition may be about, grouped."""
    return [
        (
            _("Person"),
            [(f"attribute.{name}", str(label)) for name, label in ATTRIBUTES.items()]
            + [("trait", _("Trait"))],
        ),
        (
            _("Contact"),
            [("consent", _("Consent")), ("reachable", _("Reachable")), ("identifier", _("Identifier"))],
        ),
        (_("Behaviour"), [("event", _("Event")), ("sequence", _("One event after another"))]),
        (_("Orders"), [(f"orders.{name}", str(label)) for name, label in ORDER_MEASURES.items()]),
        (_("Segments"), [("segment", _("Segment or list"))]),
    ]


@dataclass
class Control:
    """One field of the sentence, or a word between fields when it has no name."""

    type: str  # select, text, number, date, many (checkboxes), word
    name: str = ""
    label: str = ""
    value: Any = ""
    choices: Any = ()
    options: list[str] = field(default_factory=list)  # Of its datalist.
    redraws: bool = False  # Choosing differently changes which controls follow.
    is_invalid: bool = False
    step: str = ""
    minimum: str = ""
    wide: bool = False

    @property
    def placeholder(self) -> str:
        return self.label if self.type == "text" else ""

    @property
    def max_length(self) -> int | None:
        if self.type != "text":
            return None
        return 20_000 if self.wide else 200

    @property
    def chosen(self) -> str:
        """What is ticked, in words."""
        ticked = [label for value, label in self.choices if value in self.value]
        return ", ".join(ticked) or _("Choose…")


def word(text: str) -> Control:
    return Control("word", label=text)


@dataclass
class Row:
    """A condition as written: `data` holds raw text by field; lists under `values`."""

    key: str
    data: dict[str, Any] = field(default_factory=dict)
    problems: tuple[t.Problem, ...] = ()
    sentence: list[Control] = field(default_factory=list)  # As drawn.

    def get(self, name: str, default: str = "") -> str:
        return str(self.data.get(name) or default)

    @property
    def what(self) -> str:
        return self.get("what")

    @property
    def type(self) -> str:
        return self.what.partition(".")[0]

    @property
    def detail(self) -> str:
        return self.what.partition(".")[2]

    @property
    def error(self) -> str:
        return " ".join(problem.sentence for problem in self.problems)

    @property
    def filter_count(self) -> int:
        written = self.get("filters", "0")
        return min(int(written), MAX_FILTERS) if self.type == "event" and written in _DIGITS else 0

    @property
    def may_add_filter(self) -> bool:
        return self.type == "event" and self.filter_count < MAX_FILTERS

    @property
    def do_copy(self) -> str:
        return f"copy.{self.key}"

    @property
    def do_remove(self) -> str:
        return f"remove.{self.key}"

    @property
    def do_filter(self) -> str:
        return f"filter.{self.key}"

    @property
    def do_unfilter(self) -> str:
        return f"unfilter.{self.key}"

    # --- drawing -----------------------------------------------------------------------------

    def forget_if_changed(self) -> None:
        """What was written for another kind of condition means nothing for this one."""
        if self.get("was") != self.what:
            self.data = {"what": self.what}

    def draw(self, choices: Choices) -> None:
        """Set the sentence after “what”, with the fields that are wrong marked."""
        draw: dict[str, Callable[[Choices], list[Control]]] = {
            "attribute": self._draw_attribute,
            "trait": self._draw_trait,
            "consent": self._draw_consent,
            "reachable": self._draw_reachable,
            "identifier": self._draw_identifier,
            "event": self._draw_event,
            "sequence": self._draw_sequence,
            "orders": self._draw_orders,
            "segment": self._draw_segment,
        }
        controls = draw[self.type](choices) if self.type in draw else []
        wrong = {problem.path[-1] for problem in self.problems if problem.path}
        wrong |= {"amount"} if "value" in wrong and self.type == "orders" else set()
        for control in controls:
            control.is_invalid = control.name in wrong
        self.sentence = controls

    def _select(self, name: str, label: str, choices: Pairs, *, redraws: bool = False) -> Control:
        value = self.get(name, choices[0][0] if choices else "")
        if value not in dict(choices):
            if name in ("value", "segment", "store", "kind", "currency", "via"):
                choices = [*choices, (value, value)]  # What was chosen once stays on offer.
            elif choices:
                value = choices[0][0]
        return Control("select", name, label, value, choices, redraws=redraws)

    def _operators(self, operators: tuple[str, ...]) -> Control:
        pairs = [(one, str(OPERATORS[one])) for one in operators]
        return self._select("op", _("Comparison"), pairs, redraws=True)

    def _text(
        self, name: str, label: str, options: list[str] | None = None, *, wide: bool = False
    ) -> Control:
        return Control("text", name, label, self.get(name), options=options or [], wide=wide)

    def _number(self, name: str, label: str, default: str = "", **more: Any) -> Control:
        return Control("number", name, label, self.get(name, default), **{"step": "1", "minimum": "0"} | more)

    def _date(self, name: str, label: str) -> Control:
        return Control("date", name, label, self.get(name))

    def _operand(self, op: str, options: list[str], codes: Pairs | None = None) -> list[Control]:
        """The value a comparison of text needs: chosen where there are codes, else written."""
        if op in t.ONE_VALUE:
            if codes is not None:
                return [self._select("value", _("Value"), [("", _("Choose…")), *codes])]
            return [self._text("value", _("Value"), options)]
        if op in t.MANY_VALUES:
            if codes is not None:
                ticked = self.data.get("values") or []
                codes = codes + [(one, one) for one in ticked if one not in dict(codes)]
                return [Control("many", "values", _("Values"), ticked, codes)]
            written = ", ".join(self.data.get("values") or [])
            return [Control("text", "values", _("Values, separated by commas"), written, wide=True)]
        if op in t.NUMBER_OPS:
            return [self._number("number", _("Number"), step="any", minimum="")]
        return []

    def _time_operand(self, op: str) -> list[Control]:
        if op in ("before", "after"):
            return [self._date("date", _("Day"))]
        days = self._number("days", _("Days"), minimum="1")
        return [days, word(_("days ago") if op == "older_than" else _("days"))]

    def _draw_attribute(self, choices: Choices) -> list[Control]:
        name = self.detail
        if name in t.TIME_ATTRIBUTES:
            operators = _TIME + (("set", "not_set") if name == "last_seen_at" else ())
            op = self._operators(operators)
            return [op] if op.value in ("set", "not_set") else [op, *self._time_operand(op.value)]
        if name == "birth_date":
            return self._draw_birthday()
        if name in t.CODE_ATTRIBUTES:
            op = self._operators(_CODE)
            return [op, *self._operand(op.value, [], choices.codes(name))]
        op = self._operators(_TEXT)
        return [op, *self._operand(op.value, choices.seen(name) if name == "city" else [])]

    def _draw_birthday(self) -> list[Control]:
        op = self._operators(_BIRTH)
        if op.value == "birthday_within":
            return [op, self._number("days", _("Days"), "7"), word(_("days"))]
        if op.value in ("age_at_least", "age_at_most"):
            return [op, self._number("years", _("Years")), word(_("years"))]
        return [op] if op.value in ("set", "not_set") else [op, self._date("date", _("Day"))]

    def _draw_trait(self, choices: Choices) -> list[Control]:
        op = self._operators(_TEXT + _NUMBER)
        return [self._text("key", _("Trait"), choices.trait_keys), op, *self._operand(op.value, [])]

    def _draw_consent(self, choices: Choices) -> list[Control]:
        states = [(state, str(label)) for state, label in CONSENT_STATES.items()]
        return [
            word(_("to")),
            self._select("channel", _("Channel"), choices.channels),
            self._select("op", _("Comparison"), [("is", _("is")), ("is_not", _("is not"))]),
            self._select("state", _("Answer"), states),
        ]

    def _draw_reachable(self, choices: Choices) -> list[Control]:
        can = [("yes", _("can be reached by")), ("no", _("cannot be reached by"))]
        return [
            self._select("can", _("Comparison"), can),
            self._select("channel", _("Channel"), choices.channels),
        ]

    def _draw_identifier(self, choices: Choices) -> list[Control]:
        has = [("yes", pgettext("identifier", "has")), ("no", pgettext("identifier", "has no"))]
        return [
            self._select("has", _("Comparison"), has),
            self._select("kind", _("Kind"), choices.identifier_kinds),
        ]

    def _window(self, *, fixed: str = "") -> list[Control]:
        windows = [
            ("ever", _("at any time")),
            ("last", _("in the last")),
            ("between", pgettext("window", "between")),
        ]
        select = self._select("window", _("When"), windows, redraws=True)
        if select.value == "last":
            return [select, self._number("window_days", _("Days of the window"), "90"), word(_("days"))]
        if select.value == "between":
            since = Control("date", "since", _("First day"), self.get("since"))
            until = Control("date", "until", _("Last day"), self.get("until"))
            return [select, since, word(pgettext("between", "and")), until]
        return [select]

    def _draw_event(self, choices: Choices) -> list[Control]:
        operators = [
            ("did", pgettext("event", "did")),
            ("did_not", pgettext("event", "did not do")),
            ("at_least", pgettext("event", "at least")),
            ("at_most", pgettext("event", "at most")),
            ("exactly", pgettext("event", "exactly")),
        ]
        op = self._select("op", _("Comparison"), operators, redraws=True)
        controls = [op]
        if op.value in ("at_least", "at_most", "exactly"):
            controls += [self._number("times", _("Times"), "1"), word(_("times"))]
        controls += [self._text("name", _("Event"), choices.event_names), *self._window()]
        for number in range(self.filter_count):
            controls += self._draw_filter(number, choices)
        return [
            *controls,
            self._select("via", _("Channel"), by_any(choices.event_channels)),
            self._select("store", _("Store"), anywhere(choices.stores)),
        ]

    def _draw_filter(self, number: int, choices: Choices) -> list[Control]:
        prefix = f"f{number}"
        pairs = [(one, str(OPERATORS[one])) for one in _TEXT + _NUMBER]
        op = self._select(f"{prefix}_op", _("Comparison of the property"), pairs, redraws=True)
        controls = [
            word(_("where") if number == 0 else _("and")),
            self._text(f"{prefix}_key", _("Property"), choices.property_keys),
            op,
        ]
        if op.value in t.NUMBER_OPS:
            controls.append(self._number(f"{prefix}_operand", _("Number"), step="any", minimum=""))
        elif op.value not in ("set", "not_set"):
            controls.append(self._text(f"{prefix}_operand", _("Value of the property")))
        return controls

    def _draw_sequence(self, choices: Choices) -> list[Control]:
        did = [("yes", _("and then did")), ("no", _("and then did not do"))]
        return [
            self._text("first", _("First event"), choices.event_names),
            *self._window(),
            self._select("did", _("Comparison"), did),
            self._text("then", _("Second event"), choices.event_names),
            word(_("within")),
            self._number("within", _("Days between"), "7", minimum="1"),
            word(_("days")),
        ]

    def _draw_orders(self, choices: Choices) -> list[Control]:
        if self.detail in ("first", "last"):
            op = self._operators(_TIME)
            controls = [op, *self._time_operand(op.value)]
        elif self.detail in ("revenue", "average"):
            controls = [
                self._operators(_COUNT),
                self._number("amount", _("Amount"), step="any"),
                self._select("currency", _("Currency"), choices.currencies),
                *self._window(),
            ]
        else:
            controls = [self._operators(_COUNT), self._number("value", _("Number"), "1"), *self._window()]
        return [
            *controls,
            self._select("via", _("Channel"), by_any(choices.order_channels)),
            self._select("store", _("Store"), anywhere(choices.stores)),
        ]

    def _draw_segment(self, choices: Choices) -> list[Control]:
        member = [("yes", _("is in")), ("no", _("is not in"))]
        return [
            self._select("member", _("Comparison"), member),
            self._select("segment", _("Segment"), [("", _("Choose…")), *choices.segments]),
        ]

    # --- reading -----------------------------------------------------------------------------

    def definition(self) -> dict[str, Any]:
        """The condition as JSON, not yet checked; what is empty is left out."""
        read: dict[str, Callable[[], dict[str, Any]]] = {
            "attribute": self._read_attribute,
            "trait": lambda: {"key": self.get("key")} | self._read_comparison(),
            "consent": lambda: {name: self.get(name) for name in ("channel", "state", "op")},
            "reachable": lambda: {"channel": self.get("channel"), "can": self.get("can") != "no"},
            "identifier": lambda: {"kind": self.get("kind"), "has": self.get("has") != "no"},
            "event": self._read_event,
            "sequence": self._read_sequence,
            "orders": self._read_orders,
            "segment": lambda: {"segment": self.get("segment"), "member": self.get("member") != "no"},
        }
        if self.type not in read:
            raise t.TreeError.at_top(_("Choose what this condition is about."))
        found = {"type": self.type} | read[self.type]()
        return {name: value for name, value in found.items() if value not in ("", [], None)}

    def _read_comparison(self) -> dict[str, Any]:
        op = self.get("op", "is")
        found: dict[str, Any] = {"op": op}
        if op in t.ONE_VALUE:
            found["value"] = self.get("value")
        elif op in t.MANY_VALUES:
            found["values"] = self.data.get("values") or []
        elif op in t.NUMBER_OPS:
            found["number"] = self.get("number")
        return found

    def _read_time(self) -> dict[str, Any]:
        op = self.get("op", "in_last")
        operand = "date" if op in ("before", "after") else "days"
        return {"op": op} | ({} if op in ("set", "not_set") else {operand: self.get(operand)})

    def _read_attribute(self) -> dict[str, Any]:
        name = self.detail
        found: dict[str, Any] = {"name": name}
        if name in t.TIME_ATTRIBUTES:
            return found | self._read_time()
        if name != "birth_date":
            return found | self._read_comparison()
        op = self.get("op", "birthday_within")
        operands = {"birthday_within": "days", "before": "date", "after": "date"}
        operands |= {"age_at_least": "years", "age_at_most": "years"}
        operand = operands.get(op)
        return found | {"op": op} | ({operand: self.get(operand)} if operand else {})

    def _read_window(self) -> dict[str, Any]:
        kind = self.get("window", "ever")
        if kind == "last":
            return {"window": {"type": "last", "days": self.get("window_days")}}
        if kind == "between":
            ends = {name: self.get(name) for name in ("since", "until") if self.get(name)}
            return {"window": {"type": "between"} | ends}
        return {}

    def _read_event(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.get("name"), "op": self.get("op", "did")}
        if found["op"] not in ("did", "did_not"):
            found["times"] = self.get("times")
        where = []
        for number in range(self.filter_count):
            part = Row("", {"op": self.get(f"f{number}_op", "is"), "number": self.get(f"f{number}_operand")})
            part.data["value"] = self.get(f"f{number}_operand")
            part.data["values"] = split_values(self.get(f"f{number}_operand"))
            where.append({"key": self.get(f"f{number}_key")} | part._read_comparison())
        filters = [{k: v for k, v in one.items() if v not in ("", [])} for one in where]
        place = {"channel": self.get("via"), "store": self.get("store")}
        return found | self._read_window() | {"where": filters} | place

    def _read_sequence(self) -> dict[str, Any]:
        found = {name: self.get(name) for name in ("first", "then", "within")}
        return found | {"did": self.get("did") != "no"} | self._read_window()

    def _read_orders(self) -> dict[str, Any]:
        found: dict[str, Any] = {"measure": self.detail}
        place = {"channel": self.get("via"), "store": self.get("store")}
        if self.detail in ("first", "last"):
            return found | self._read_time() | place
        found["op"] = self.get("op", "at_least")
        if self.detail in ("revenue", "average"):
            currency = self.get("currency")
            found |= {"currency": currency, "value": to_minor(self.get("amount"), currency)}
        else:
            found["value"] = self.get("value")
        return found | self._read_window() | place


def row_of(key: str, node: Any) -> Row | None:
    """The row a condition is edited as; None when it says more than a row can."""
    saved = t.dump_tree(node)
    kind = saved.pop("type")
    flags = {"has": "has", "can": "can", "did": "did", "member": "member"}
    data: dict[str, Any] = {"what": kind}
    if kind in ("attribute", "orders"):
        data["what"] += "." + saved.pop("name" if kind == "attribute" else "measure")
    if kind in ("event", "orders"):
        data["via"] = saved.pop("channel", "")
    if kind == "sequence" and (saved.get("first_where") or saved.get("then_where")):
        return None
    if kind == "orders" and node.measure in ("first", "last") and "window" in saved:
        return None
    if kind == "orders" and node.currency:
        data["amount"] = to_major(saved.pop("value"), node.currency)
    for name, value in saved.items():
        if name == "window":
            data |= {"window": value["type"], "window_days": value.get("days", "")}
            data |= {end: value.get(end, "") for end in ("since", "until")}
        elif name == "where":
            data |= _filters(value)
        elif name in flags:
            data[name] = "yes" if value else "no"
        else:
            data[name] = value if name == "values" else str(value)
    return Row(key, data)


def _filters(where: list[dict[str, Any]]) -> dict[str, Any]:
    data: dict[str, Any] = {"filters": str(len(where))}
    for number, one in enumerate(where):
        operand = one.get("value") or one.get("number") or ", ".join(one.get("values", []))
        data |= {f"f{number}_key": one["key"], f"f{number}_op": one["op"], f"f{number}_operand": operand}
    return data


def split_values(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def to_minor(amount: str, currency: str) -> Any:
    """An amount in minor units; what is no amount stays as written, for the tree to refuse."""
    try:
        minor = Decimal(amount).scaleb(precision(currency))
    except ArithmeticError:
        return amount
    is_whole = minor.is_finite() and minor == minor.to_integral_value() and abs(minor) < Decimal(10) ** 15
    return int(minor) if is_whole else amount


def to_major(minor: int, currency: str) -> str:
    decimals = precision(currency)
    return f"{Decimal(minor).scaleb(-decimals):.{decimals}f}"
