"""Small changes of source text, one at a time, each of which some test should see.

Python is changed by its syntax tree and C++ by regular expressions; both as text, so that a mutant can be shown as the
line that it was and the line that it became. Texts, annotations, assertions and messages are left alone, and how thick,
large or opaque a thing is drawn: people look at that, and a test of it would only say it again.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple


class Mutant(NamedTuple):
    """``old`` at an offset of the source becomes ``new``."""

    offset: int
    old: str
    new: str

    def applied(self, source: str) -> str:
        assert source.startswith(self.old, self.offset)
        return source[: self.offset] + self.new + source[self.offset + len(self.old) :]

    def lines(self, source: str) -> tuple[int, str, str]:
        """Number of its first line, and that line before and after, without indentation."""
        number = source.count("\n", 0, self.offset)
        before, after = (text.split("\n")[number].strip() for text in (source, self.applied(source)))
        return number + 1, before, after


COMPARED = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
COMBINED = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "/", ast.Mod: "*", ast.Pow: "*",
    ast.BitAnd: "|", ast.BitOr: "&",
}  # fmt: skip

LOOKS = (
    "alpha", "bbox_to_anchor", "clip_on", "columnspacing", "fontsize", "frameon", "handlelength", "labelsize", "length",
    "lw", "mew", "ms", "width", "zorder",
)  # fmt: skip
"""Arguments of what is drawn."""


def of_python(source: str) -> list[Mutant]:
    """Every mutant of a module."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    return sorted(set(finder.found))


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[Mutant] = []
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        self.starts, self.text_lines = starts, source.splitlines()

    def at(self, line: int, column: int) -> int:
        """Offset of a position, whose column counts bytes."""
        return self.starts[line - 1] + len(self.text_lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def replace(self, node: ast.expr | ast.stmt, new: str) -> None:
        start, end = self.span(node)
        self.found.append(Mutant(start, self.source[start:end], new))

    def between(self, left: ast.expr, right: ast.expr, new: str) -> None:
        """The operator between two operands; brackets and line breaks beside it stay."""
        start, end = self.span(left)[1], self.span(right)[0]
        operator = re.search(r"not\s+in|is\s+not|[a-z]+|[-+*/%<>=!&|@^]+", self.source[start:end])
        assert operator is not None
        self.found.append(Mutant(start + operator.start(), operator.group(), new))

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, right, operator in zip(operands, operands[1:], node.ops, strict=False):
            self.between(left, right, COMPARED[type(operator)])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if type(node.op) in COMBINED:
            self.between(node.left, node.right, COMBINED[type(node.op)])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.between(left, right, "or" if isinstance(node.op, ast.And) else "and")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self.replace(node, f"({ast.unparse(node.operand)})")
        if not isinstance(node.operand, ast.Constant):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self.replace(node, str(not value))
        elif isinstance(value, int):
            self.replace(node, str(value + 1))
        elif isinstance(value, float):
            self.replace(node, repr(value * 2 if value else 1.0))

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.replace(node.test, f"(not ({ast.unparse(node.test)}))")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        left_alone = ("strict", *LOOKS)  # "strict" of zip is an assertion
        node.keywords = [each for each in node.keywords if each.arg not in left_alone]
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        self.replace(node.test, f"not ({ast.unparse(node.test)})")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.replace(node, "pass")

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.replace(node, "pass")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self.replace(node, "pass")
            self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for default in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)):
            self.visit(default)
        for statement in node.body:
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass


_OPERATORS = {
    " + ": " - ", " - ": " + ", " * ": " + ", " / ": " * ", " < ": " <= ", " > ": " >= ", " <= ": " < ", " >= ": " > ",
    " == ": " != ", " != ": " == ", " && ": " || ", " || ": " && ", " << ": " >> ", " >> ": " << ", " & ": " | ",
    " | ": " & ", " ^ ": " | ",
}  # fmt: skip
_CPP = re.compile(
    "|".join(re.escape(operator) for operator in sorted(_OPERATORS, key=len, reverse=True))
    + r"|(?<![\w.])(?:0x[0-9A-Fa-f]+|\d+\.\d+(?:e[-+]?\d+)?|\d+)(?=(?:f|u|ull)?(?![\w.]))"
)


def of_cpp(source: str) -> list[Mutant]:
    """Every mutant of the code lines of a C++ file that is built for the baseline instruction set.

    Declarations, directives and comments are left alone, and what only other instruction sets compile.
    """
    return sorted(_of_lines(source))


def _of_lines(source: str) -> Iterator[Mutant]:
    offset, built = 0, True
    for line in source.splitlines(keepends=True):
        code = line.partition("//")[0]
        # __FMA__, __AVX512F__, …; and where the processor converts halves
        if re.match(r"\s*#\s*(if|elif)\b.*__|\s*if constexpr \(T::staged\)", code):
            built = False
        elif re.match(r"\s*#\s*(else|endif)\b|\s*\} else \{", code):
            built = True
        if built and not re.match(r"\s*(#|static_assert|template|using|namespace|enum)", code):
            for hit in _CPP.finditer(code):
                yield Mutant(offset + hit.start(), hit.group(), _OPERATORS.get(hit.group()) or _other(hit.group()))
        offset += len(line)


def _other(number: str) -> str:
    if number.startswith("0x"):
        return f"0x{int(number, 16) + 1:X}"
    if "." in number:
        return repr(float(number) * 2) if float(number) else "1.0"
    return str(int(number) + 1)
