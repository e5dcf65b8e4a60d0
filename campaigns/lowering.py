"""Templates made ready for thousands of readers: everything that is the same for all is worked out once.

A parsed text becomes a list of steps: bytes that never change, already in the encoding they travel in, and
small functions that write one person's values. What most texts ask of a person, a name, its default and
whether it is this or that, is answered here where the value is a string; everything else by Liquid itself,
so a lowered text says what Liquid would say. A tag this module does not know leaves the whole text to it.

Quoted-printable (RFC 2045, 6.7) can be joined from pieces when every piece starts at the beginning of a
line and ends with a soft break; that is what `quoted` gives.
"""

import re
from binascii import b2a_qp
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

from liquid import RenderContext
from liquid.ast import BlockNode, ConditionalBlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path, PositionalArgument, StringLiteral
from liquid.builtin.expressions.filtered import Filter
from liquid.builtin.expressions.logical import BooleanExpression, EqExpression, NeExpression
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.case_tag import CaseNode, MultiExpressionBlockNode
from liquid.builtin.tags.comment_tag import CommentNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.stringify import to_liquid_string
from markupsafe import Markup

from .templates import Template, problem_of

SOFT_BREAK = b"=\r\n"
_LEADING_DOT = re.compile(rb"^\.", re.M)
# Liquid answers these itself when they follow a dot, whatever the value.
_LIQUID_PROPERTIES = {"size", "first", "last"}

Encode = Callable[[str], bytes]


class Frame:
    """One text being written for one person."""

    __slots__ = ("__dict__", "_template", "answers", "slots", "values")

    def __init__(self, template: Template, values: Mapping[str, Any], slots: Mapping[str, bytes]) -> None:
        self._template = template
        self.values = values
        self.slots = slots
        self.answers: dict[str, Any] = {}  # A condition as written in the template, to its value.

    @cached_property
    def context(self) -> RenderContext:
        """What Liquid evaluates in; made only when something has to be evaluated."""
        return RenderContext(self._template.parsed, globals=self.values)

    def answer(self, key: str, condition: Expression, known: "Test | None") -> Any:
        """Whether a condition holds; `key` is how it is written, `known` the short way to tell."""
        if key not in self.answers:
            answer = known(self.values) if known else None
            self.answers[key] = condition.evaluate(self.context) if answer is None else answer
        return self.answers[key]


# Constant bytes, or what works the bytes out.
Step = bytes | Callable[[Frame], bytes]
Values = Mapping[str, Any]
Reader = Callable[[Values], Any]  # Of what a name holds; only a string counts.
Test = Callable[[Values], bool | None]  # None where Liquid has to be asked.


class Unknown(Exception):
    """A part of a template that is not lowered."""


class Steps:
    """Steps in their order; one that comes several times is worked out once for a person."""

    def __init__(self, steps: Iterable[Step]) -> None:
        steps = _joined(steps)
        distinct = dict.fromkeys(steps)
        self._constants = [step for step in distinct if isinstance(step, bytes)]
        self._varying = [step for step in distinct if not isinstance(step, bytes)]
        places = {step: place for place, step in enumerate([*self._constants, *self._varying])}
        self._order = [places[step] for step in steps]

    def pieces(self, frame: Frame) -> Iterable[bytes]:
        """Their bytes, piece by piece."""
        pieces = self._constants + [step(frame) for step in self._varying]
        return map(pieces.__getitem__, self._order)

    def write(self, frame: Frame) -> bytes:
        """Their bytes, joined."""
        return b"".join(self.pieces(frame))


class Lowered:
    """A text ready to be written for many people.

    `slots` maps a variable to the name of bytes the caller provides ready-made for each message, with what
    stands around them: how links get in without being encoded. `is_complete` is False when the text is
    left to Liquid.
    """

    def __init__(self, template: Template, encode: Encode, slots: Mapping[str, "Slot"] | None = None) -> None:
        self._template = template
        self._encode = encode
        self._slots = slots or {}
        self._tags: dict[str, Step] = {}  # A tag as written in the template, to its step.
        self.is_complete = True
        try:
            self._steps = self._sequence(template.parsed.nodes)
        except Unknown:
            self.is_complete = False
            self._steps = Steps([lambda frame: encode(template.render(frame.values))])

    def write(self, values: Mapping[str, Any], slots: Mapping[str, bytes] | None = None) -> bytes:
        """The text for one person in its encoding; raises TemplateProblem."""
        return b"".join(self.pieces(values, slots or {}))

    def pieces(self, values: Mapping[str, Any], slots: Mapping[str, bytes]) -> Iterable[bytes]:
        """The same, to be joined with others; raises TemplateProblem."""
        try:
            return self._steps.pieces(Frame(self._template, values, slots))
        except LiquidError as error:
            raise problem_of(error) from error

    # --- steps -----------------------------------------------------------------------------------

    def _sequence(self, nodes: Iterable[Node]) -> Steps:
        """The steps of some nodes; text between two values is encoded in one piece."""
        steps: list[Step] = []
        literal = ""
        for node in nodes:
            if isinstance(node, ContentNode):
                literal += node.text
                continue
            slot = self._slots.get(_name_of(node))
            before, after = (slot.before, slot.after) if slot else ("", "")
            steps.append(self._encode(literal + before))
            literal = after
            steps += [_slot_step(slot.name), slot.ending] if slot else [self._step_of(node)]
        steps.append(self._encode(literal))
        return Steps(steps)

    def _step_of(self, node: Node) -> Step:
        written = str(node)
        if written not in self._tags:
            self._tags[written] = self._lower(node)
        return self._tags[written]

    def _lower(self, node: Node) -> Step:
        match node:
            case CommentNode():
                return b""
            case OutputNode():
                return self._output(node)
            case IfNode() | UnlessNode():
                return self._branches(node)
            case CaseNode():
                return self._case(node)
        raise Unknown(type(node).__name__)

    def _output(self, node: OutputNode) -> Step:
        encode, autoescape = self._encode, self._template.parsed.env.autoescape
        expression = node.expression
        value_of, fallback = _reader_of(expression, missing=""), _default_of(expression, autoescape)

        def write(frame: Frame) -> bytes:
            value = value_of(frame.values) if value_of else None
            if value == "" and fallback is not None:
                value = fallback
            elif value.__class__ is not str:
                value = to_liquid_string(expression.evaluate(frame.context), autoescape)
            elif autoescape and not value.isalnum():
                value = to_liquid_string(value, True)
            return encode(value)

        return write

    def _branches(self, node: IfNode | UnlessNode) -> Step:
        wanted = isinstance(node, IfNode)
        condition, then = _asked(node.condition), self._block(node.consequence)
        others = [(_asked(one.expression), self._block(one.block)) for one in node.alternatives]
        default = self._block(node.default) if node.default else Steps([])

        def chosen(frame: Frame) -> bytes:
            if bool(frame.answer(*condition)) is wanted:
                return then.write(frame)
            for other, steps in others:
                if frame.answer(*other):
                    return steps.write(frame)
            return default.write(frame)

        return chosen

    def _case(self, node: CaseNode) -> Step:
        blocks: list[tuple[Any, Steps]] = []
        for block in node.blocks:
            if isinstance(block, MultiExpressionBlockNode):
                blocks.append((block.expression, self._block(block.block)))
            elif isinstance(block, BlockNode):
                blocks.append((None, self._block(block)))
            else:
                raise Unknown(type(block).__name__)

        def chosen(frame: Frame) -> bytes:
            written, is_default = [], True
            for expression, steps in blocks:
                if expression is None:
                    times = int(is_default)
                elif times := expression.evaluate(frame.context).count(True):
                    is_default = False
                written += [steps.write(frame)] * times
            return b"".join(written)

        return chosen

    def _block(self, block: BlockNode | ConditionalBlockNode) -> Steps:
        """The steps inside a tag; Liquid leaves out blocks of nothing but white space."""
        if not isinstance(block, BlockNode):
            raise Unknown(type(block).__name__)
        if block.blank and self._template.parsed.env.suppress_blank_control_flow_blocks:
            return Steps([])
        return self._sequence(block.nodes)


@dataclass(frozen=True, slots=True)
class Slot:
    """A variable whose bytes come ready-made: `name` in the slots of `Lowered.write`, then constant bytes.

    `before` and `after` are text around it that is the same for all.
    """

    name: str
    before: str = ""
    ending: bytes = b""
    after: str = ""


def quoted(text: str) -> bytes:
    """Text as a piece of quoted-printable that other pieces may stand before and after; '' is no bytes.

    No line begins with a dot, so nothing is left to escape for SMTP (RFC 5321, 4.5.2).
    """
    return _quoted_value(text) if len(text) < 70 else _quoted(text)


def _quoted(text: str) -> bytes:
    if not text:
        return b""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").encode(errors="replace")
    encoded = _LEADING_DOT.sub(b"=2E", b2a_qp(lines, istext=True))
    return encoded.replace(b"\n", b"\r\n") + SOFT_BREAK


_quoted_value = lru_cache(maxsize=10_000)(_quoted)  # Many people share a name, a city, a tier.


@cache
def _slot_step(name: str) -> Step:
    return lambda frame: frame.slots[name]


def _joined(steps: Iterable[Step]) -> list[Step]:
    """The same with constant bytes in one piece."""
    joined: list[Step] = []
    for step in steps:
        last = joined[-1] if joined else None
        if isinstance(step, bytes) and isinstance(last, bytes):
            joined[-1] = last + step
        elif step:
            joined.append(step)
    return joined


def _asked(condition: Expression) -> tuple[str, Expression, Test | None]:
    """What `Frame.answer` takes."""
    return str(condition), condition, _test_of(condition)


def _path_of(expression: Expression) -> tuple[str, ...]:
    """The dotted name an expression reads before its filters; empty when it is no such name."""
    if isinstance(expression, FilteredExpression):
        expression = expression.left
    path = expression.path if isinstance(expression, Path) else ()
    names = tuple(part for part in path if isinstance(part, str))
    return names if len(names) == len(path) else ()


def _reader_of(expression: Expression, *, missing: str | None) -> Reader | None:
    """How to read a name that has no filter but a default; `missing` is what one that is not there says."""
    if getattr(expression, "filters", None) and _default_of(expression, False) is None:
        return None
    match _path_of(expression):
        case (name,):
            return lambda values: values.get(name, missing)
        case (name, key) if key not in _LIQUID_PROPERTIES:
            return lambda values: (
                held.get(key, missing) if (held := values.get(name)).__class__ is dict else None
            )
    return None


def _default_of(expression: Expression, autoescape: bool) -> str | None:
    """What an output says in place of an empty string: the text of its only filter, `default`."""
    match expression:
        case FilteredExpression(
            filters=[Filter(name="default", args=[PositionalArgument(value=StringLiteral(value=text))])]
        ):
            return Markup(text) if autoescape else text  # noqa: S704 - as Liquid does
    return None


def _test_of(condition: Expression) -> Test | None:
    """The short way to tell whether a name is set, is a text, or is another."""
    asked = condition.expression if isinstance(condition, BooleanExpression) else None
    read = _reader_of(getattr(asked, "left", asked), missing=None) if asked else None
    if read is None:
        return None
    match asked:
        case Path():
            return lambda values: True if read(values).__class__ is str else None
        case EqExpression(right=StringLiteral(value=text)):
            return lambda values: value == text if (value := read(values)).__class__ is str else None
        case NeExpression(right=StringLiteral(value=text)):
            return lambda values: value != text if (value := read(values)).__class__ is str else None
    return None


def _name_of(node: Node) -> str:
    """The name an output writes as it is."""
    expression = node.expression if isinstance(node, OutputNode) else None
    if not isinstance(expression, FilteredExpression) or expression.filters:
        return ""
    path = _path_of(expression)
    return path[0] if len(path) == 1 else ""
