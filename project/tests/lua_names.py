"""Which names a Lua text uses and does not declare: what luacheck would find, where that is not installed."""

import contextlib
import io
import re
from collections.abc import Collection
from typing import Any

from luaparser import ast
from luaparser.astnodes import (
    AnonymousFunction,
    Assign,
    Attribute,
    BitOp,
    Block,
    Field,
    FloorDivOp,
    Forin,
    Fornum,
    Function,
    Goto,
    Index,
    IndexNotation,
    Invoke,
    Label,
    LocalAssign,
    LocalFunction,
    Method,
    Name,
    Node,
    Repeat,
    UBNotOp,
)

NEWER = (Attribute, BitOp, FloorDivOp, Goto, Label, UBNotOp)  # the parser reads Lua 5.4, and Redis 5.1


def undeclared_names(text: str, allowed: Collection[str]) -> list[tuple[int, str]]:
    """Return line and message of the first error of the syntax, or of each name that is used and not declared."""
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            tree = ast.parse(text)
    except ast.SyntaxException as error:
        line = re.search(r"line (\d+)", str(error))
        return [(int(line[1]) if line else text.count("\n"), str(error))]
    names = Names(allowed)
    names.visit(tree)
    return names.problems


class Names:
    """Visits a syntax tree, and knows at each place which names are declared there."""

    def __init__(self, allowed: Collection[str]):
        self.problems: list[tuple[int, str]] = []
        self._allowed = allowed
        self._scopes: list[set[str]] = []
        self._line = 1

    def visit(self, node: Any) -> None:
        """Visit what there is in the tree: a node, a list of them, or something else."""
        if isinstance(node, list):
            for item in node:
                self.visit(item)
        elif isinstance(node, Node):
            self._line = node.line or self._line  # not each has one
            if isinstance(node, NEWER):
                self._report(f"{type(node).__name__} is not in Lua 5.1")
            self._visit_node(node)

    def _visit_node(self, node: Node) -> None:
        match node:
            case Name():
                if not (self._is_local(node) or node.id in self._allowed):
                    self._report(f"undeclared name {node.id}")
            case Block():
                self._in_scope([], node.body)
            case LocalAssign():  # before Assign, of which it is one
                self.visit(node.values)
                self._declare(node.targets)
            case Assign():
                self.visit(node.values)
                for target in node.targets:
                    self._assign(target)
            case LocalFunction():
                self._declare([node.name])
                self._in_scope(node.args, node.body)
            case Function():
                self._assign(node.name)
                self._in_scope(node.args, node.body)
            case AnonymousFunction():
                self._in_scope(node.args, node.body)
            case Method():
                self.visit(node.source)
                self._in_scope([Name("self"), *node.args], node.body)
            case Fornum():
                self.visit([node.start, node.stop, node.step])
                self._in_scope([node.target], node.body)
            case Forin():
                self.visit(node.iter)
                self._in_scope(node.targets, node.body)
            case Repeat():  # its condition knows what the block declares
                self._in_scope([], [*node.body.body, node.test])
            case Index() | Field() | Invoke():
                self._visit_parts(node)
            case _:
                self.visit([value for name, value in vars(node).items() if not name.startswith("_")])

    def _visit_parts(self, node: Index | Field | Invoke) -> None:
        """Visit a node that has names of fields, which nobody declares."""
        match node:
            case Index():
                self.visit([node.value, node.idx if node.notation == IndexNotation.SQUARE else None])
            case Field():
                self.visit([node.key if node.between_brackets else None, node.value])
            case Invoke():
                self.visit([node.source, node.args])

    def _in_scope(self, names: list[Node], body: Any) -> None:
        self._scopes.append(set())
        self._declare(names)
        self.visit(body)
        self._scopes.pop()

    def _declare(self, names: list[Node]) -> None:
        self._scopes[-1].update(name.id for name in names if isinstance(name, Name))

    def _assign(self, target: Node) -> None:
        if not isinstance(target, Name):
            self.visit(target)
        elif not self._is_local(target):
            self._report(f"assignment to the global {target.id}")

    def _is_local(self, name: Name) -> bool:
        return any(name.id in scope for scope in self._scopes)

    def _report(self, message: str) -> None:
        self.problems.append((self._line, message))
