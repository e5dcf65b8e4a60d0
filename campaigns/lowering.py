"""Templates made ready for thousands of readers: everything that is the same for all is worked out once.

A parsed text becomes a list of steps: bytes that never change, already in the encoding they travel in, and
small functions that write one person's values. Conditions and filters are evaluated by Liquid itself, so
a lowered text says what Liquid would say; a tag this module does not know leaves the whole text to Liquid.

Quoted-printable (RFC 2045, 6.7) can be joined from pieces when every piece starts at the beginning of a
line and ends with a soft break; that is what `quoted` gives.
"""

import re
from binascii import b2a_qp
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from liquid import RenderContext
from liquid.ast import BlockNode, ConditionalBlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import FilteredExpression, Path
from liquid.builtin.output import OutputNode
from liquid.builtin.tags.case_tag import CaseNode, MultiExpressionBlockNode
from liquid.builtin.tags.comment_tag import CommentNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.exceptions import LiquidError
from liquid.expression import Expression
from liquid.stringify import to_liquid_string

from .templates import Template, problem_of

SOFT_BREAK = b"=\r\n"
_LEADING_DOT = re.compile(rb"^\.", re.M)
# Liquid answers these itself when they follow a dot, whatever the value.
_LIQUID_PROPERTIES = {"size", "first", "last"}

Encode = Callable[[str], bytes]


class Frame:
    """One text being written for one person; what was worked out once is kept for its next occurrence."""

    __slots__ = ("__dict__", "_template", "answers", "slots", "values", "written")

    def __init__(self, template: Template, values: Mapping[str, Any], slots: Mapping[str, bytes]) -> None:
        self._template = template
        self.values = values
        self.slots = slots
        self.written: dict[str, bytes] = {}  # An output as written in the template, to its bytes.
        self.answers: dict[str, Any] = {}  # A condition as written in the template, to its value.

    @cached_property
    def context(self) -> RenderContext:
        """What Liquid evaluates in; made only when something has to be evaluated."""
        return RenderContext(self._template.parsed, globals=self.values)

    def answer(self, key: str, expression: Expression) -> Any:
        """The value of an expression; `key` is how it is written."""
        if key not in self.answers:
            self.answers[key] = expression.evaluate(self.context)
        return self.answers[key]


Step = bytes | Callable[[Frame], bytes]


class Unknown(Exception):
    """A part of a template that is not lowered."""


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
        self.is_complete = True
        try:
            self._steps = self._sequence(template.parsed.nodes)
        except Unknown:
            self.is_complete = False
            self._steps = [lambda frame: encode(template.render(frame.values))]

    def write(self, values: Mapping[str, Any], slots: Mapping[str, bytes] | None = None) -> bytes:
        """The text for one person in its encoding; raises TemplateProblem."""
        frame = Frame(self._template, values, slots or {})
        try:
            return _run(self._steps, frame)
        except LiquidError as error:
            raise problem_of(error) from error

    @property
    def is_constant(self) -> bool:
        return all(isinstance(step, bytes) for step in self._steps)

    # --- steps -----------------------------------------------------------------------------------

    def _sequence(self, nodes: Iterable[Node]) -> list[Step]:
        """The steps of some nodes; text between two values is encoded in one piece."""
        steps: list[Step] = []
        literal = ""
        for node in nodes:
            if isinstance(node, ContentNode):
                literal += node.text
                continue
            slot = self._slots.get(_name_of(node))
            before, after = (slot.before, slot.after) if slot else ("", "")
            if encoded := self._encode(literal + before):
                steps.append(encoded)
            literal = after
            steps.extend([slot.write] if slot else self._steps_of(node))
        if encoded := self._encode(literal):
            steps.append(encoded)
        return steps

    def _steps_of(self, node: Node) -> list[Step]:
        match node:
            case CommentNode():
                return []
            case OutputNode():
                return [self._output(node)]
            case IfNode() | UnlessNode():
                return [self._branches(node)]
            case CaseNode():
                return [self._case(node)]
        raise Unknown(type(node).__name__)

    def _output(self, node: OutputNode) -> Step:
        encode, autoescape = self._encode, self._template.parsed.env.autoescape
        expression, key = node.expression, str(node.expression)
        value_of = _reader_of(node)

        def write(frame: Frame) -> bytes:
            found = frame.written.get(key)
            if found is None:
                value = value_of(frame.values) if value_of else None
                if value.__class__ is not str:
                    value = to_liquid_string(expression.evaluate(frame.context), autoescape)
                elif autoescape and not value.isalnum():
                    value = to_liquid_string(value, True)
                found = frame.written[key] = encode(value)
            return found

        return write

    def _branches(self, node: IfNode | UnlessNode) -> Step:
        wanted = isinstance(node, IfNode)
        condition, key, then = node.condition, str(node.condition), self._block(node.consequence)
        others = [(str(one.expression), one.expression, self._block(one.block)) for one in node.alternatives]
        default = self._block(node.default) if node.default else []

        def chosen(frame: Frame) -> bytes:
            if bool(frame.answer(key, condition)) is wanted:
                return _run(then, frame)
            for other, expression, steps in others:
                if frame.answer(other, expression):
                    return _run(steps, frame)
            return _run(default, frame)

        return chosen

    def _case(self, node: CaseNode) -> Step:
        blocks: list[tuple[Any, list[Step]]] = []
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
                written += [_run(steps, frame)] * times
            return b"".join(written)

        return chosen

    def _block(self, block: BlockNode | ConditionalBlockNode) -> list[Step]:
        """The steps inside a tag; Liquid leaves out blocks of nothing but white space."""
        if not isinstance(block, BlockNode):
            raise Unknown(type(block).__name__)
        if block.blank and self._template.parsed.env.suppress_blank_control_flow_blocks:
            return []
        return self._sequence(block.nodes)


class Slot:
    """A variable whose bytes come ready-made: `name` in the slots of `Lowered.write`, then constant bytes.

    `before` and `after` are text around it that is the same for all.
    """

    __slots__ = ("after", "before", "ending", "name")

    def __init__(self, name: str, *, before: str = "", ending: bytes = b"", after: str = "") -> None:
        self.name, self.before, self.ending, self.after = name, before, ending, after

    def write(self, frame: Frame) -> bytes:
        return frame.slots[self.name] + self.ending


def quoted(text: str) -> bytes:
    """Text as a piece of quoted-printable that other pieces may stand before and after; '' is no bytes.

    No line begins with a dot, so nothing is left to escape for SMTP (RFC 5321, 4.5.2).
    """
    if len(text) < 70 and text.isalnum() and text.isascii():
        return text.encode() + SOFT_BREAK
    if not text:
        return b""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").encode(errors="replace")
    encoded = b2a_qp(lines, istext=True)
    if b"." in encoded:
        encoded = _LEADING_DOT.sub(b"=2E", encoded)
    return encoded.replace(b"\n", b"\r\n") + SOFT_BREAK


def _run(steps: list[Step], frame: Frame) -> bytes:
    return b"".join([step if step.__class__ is bytes else step(frame) for step in steps])  # type: ignore[operator]


def _path_of(node: Node) -> tuple[str, ...]:
    """The dotted name an output writes unchanged; empty when it does more than that."""
    expression = getattr(node, "expression", None)
    if not isinstance(expression, FilteredExpression) or expression.filters:
        return ()
    path = expression.left.path if isinstance(expression.left, Path) else ()
    names = tuple(part for part in path if isinstance(part, str))
    return names if len(names) == len(path) else ()


def _reader_of(node: Node) -> Callable[[Mapping[str, Any]], Any] | None:
    """A function to the value of a plain name; what it finds counts only when it is a string."""
    match _path_of(node):
        case (name,):
            return lambda values: values.get(name, "")
        case (name, key) if key not in _LIQUID_PROPERTIES:
            return lambda values: held.get(key, "") if (held := values.get(name)).__class__ is dict else None
    return None


def _name_of(node: Node) -> str:
    path = _path_of(node) if isinstance(node, OutputNode) else ()
    return path[0] if len(path) == 1 else ""
