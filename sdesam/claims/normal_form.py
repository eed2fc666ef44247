"""What a Python text says, apart from how: a tree without comments, docstrings, annotations and texts of refusals.

What is left out cannot change a number.  Everything else counts: names, constants, order, default values, imports.
"""

from __future__ import annotations

import ast
import symtable
from typing import Any

__all__ = ["normal_form", "parsed", "reached"]

_READ_BY_DATACLASSES = {"ClassVar", "InitVar", "KW_ONLY"}
_UNSAID = {"ctx", "kind", "type_comment", "type_ignores"}  # the tree says them otherwise, or they say nothing


def parsed(text: bytes) -> ast.Module:
    """The tree of a text, without what does not count."""
    return _Bare().visit(ast.parse(text))


def normal_form(node: ast.AST) -> str:
    """A text for each tree: fields by name, empty ones left out, no positions."""
    words: list[str] = []
    _say(node, words)
    return "".join(words)


def _say(value: Any, words: list[str]) -> None:
    if isinstance(value, ast.AST):
        words.append(f"{type(value).__name__}(")
        for name in value._fields:
            part = getattr(value, name, None)
            if part is not None and part != [] and name not in _UNSAID:
                words.append(f"{name}=")
                _say(part, words)
        words.append(")")
    elif isinstance(value, list):
        words.append("[")
        for part in value:
            _say(part, words)
        words.append("]")
    else:
        words.append(f"{value!a},")  # repr would follow the version of Unicode


def reached(tree: ast.Module, roots: tuple[str, ...]) -> ast.Module:
    """The statements of a module that these names need, in order.

    A definition, an assignment or an import counts where a name that it binds is used by one that counts; any other
    statement always counts.  A name that a function binds itself does not lead to the module's of that name.
    """
    statements = [one for statement in tree.body for one in _one_by_one(statement)]
    bound = [_bound(statement) for statement in statements]
    kept = {i for i, names in enumerate(bound) if names is None}
    waiting = set(roots).union(*(_used(statements[i]) for i in kept))
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for i, names in enumerate(bound):
            if i not in kept and names is not None and name in names:
                kept.add(i)
                waiting |= _used(statements[i]) - seen
    return ast.Module([statement for i, statement in enumerate(statements) if i in kept], [])


def _one_by_one(statement: ast.stmt) -> list[ast.stmt]:
    """An import of several names as one statement each."""
    if isinstance(statement, ast.Import):
        return [ast.Import([alias]) for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        return [ast.ImportFrom(statement.module, [alias], statement.level) for alias in statement.names]
    return [statement]


def _bound(statement: ast.stmt) -> set[str] | None:
    """The names that a statement defines, and None where it does more."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name.split(".")[0]) for alias in statement.names}
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        names = [node for target in targets if target for node in ast.walk(target)]
        if all(isinstance(node, (ast.Name, ast.Tuple, ast.List, ast.Starred, ast.expr_context)) for node in names):
            return {node.id for node in names if isinstance(node, ast.Name)}
    return None


def _used(statement: ast.stmt) -> set[str]:
    """The module's names that a statement uses, in the scopes of its functions and classes too."""
    tables, found = [symtable.symtable(ast.unparse(statement), "", "exec")], set()
    while tables:
        table = tables.pop()
        top = table.get_type() == "module"
        found |= {s.get_name() for s in table.get_symbols() if top or s.is_global()}
        tables += table.get_children()
    return found


class _Bare(ast.NodeTransformer):
    """Removes what cannot change a number."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        silent = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if silent else self.generic_visit(node)  # a docstring, or a string for readers

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return None if names == ["__all__"] else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        words = {getattr(part, "id", getattr(part, "attr", None)) for part in ast.walk(node.annotation)}
        if not words & _READ_BY_DATACLASSES:
            node.annotation = ast.Constant("")
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return _Untold().visit(self.generic_visit(node))

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name == "warn" or name.startswith("require_"):
            node.args = [_Untold().visit(argument) for argument in node.args]
        return node


class _Untold(ast.NodeTransformer):
    """Blanks the words of a sentence that is only said where nothing is computed."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return ast.Constant("")
