"""The part of the Common Expression Language that kubemtu's own admission policies are written in.

Field and index selection, `has()`, `in`, `==`, `!=`, `!`, `&&`, `||`, parentheses, strings, whole numbers and the words
true, false and null. Whatever else stands in an expression is refused when its policy is written, never passed over.
Source: google/cel-spec `doc/langdef.md`.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import NoReturn

Value = object
Evaluate = Callable[[Mapping[str, Value]], Value]

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'[^'\\]*'|\"[^\"\\]*\")|(?P<number>\d+)|(?P<word>\w+)|(?P<sign>&&|\|\||==|!=|.))"
)
_WORDS: Mapping[str, Value] = {"true": True, "false": False, "null": None}


class Unknown(ValueError):
    """An expression has something that this evaluator does not know."""


class EvaluationFailed(ValueError):
    """An expression cannot be evaluated: it selects what is not there, or takes no truth value where one is needed."""


@functools.lru_cache(maxsize=256)
def compiled(text: str) -> Evaluate:
    """Return what evaluates an expression against its variables; that raises Failed. Raises Unknown."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_TOKEN.finditer(text.rstrip()))
        self._place = 0

    def whole(self) -> Evaluate:
        found = self._either()
        if self._place < len(self._tokens):
            self._unknown()
        return found

    def _sign(self) -> str:
        return (self._tokens[self._place]["sign"] or "") if self._place < len(self._tokens) else ""

    def _takes(self, sign: str) -> bool:
        if self._sign() != sign:
            return False
        self._place += 1
        return True

    def _takes_word(self, word: str) -> bool:
        if self._place < len(self._tokens) and self._tokens[self._place]["word"] == word:
            self._place += 1
            return True
        return False

    def _needs(self, sign: str) -> None:
        if not self._takes(sign):
            self._unknown()

    def _unknown(self) -> NoReturn:
        where = self._tokens[self._place].start() if self._place < len(self._tokens) else len(self._text)
        raise Unknown(f"the lab's API does not know {self._text[where:].strip()[:40]!r} in {self._text!r}")

    def _either(self) -> Evaluate:
        found = self._both()
        while self._takes("||"):
            found = _joined(found, self._both(), decides=True)
        return found

    def _both(self) -> Evaluate:
        found = self._relation()
        while self._takes("&&"):
            found = _joined(found, self._relation(), decides=False)
        return found

    def _relation(self) -> Evaluate:
        left = self._unary()
        if self._takes("=="):
            right = self._unary()
            return lambda given: _same(left(given), right(given))
        if self._takes("!="):
            right = self._unary()
            return lambda given: not _same(left(given), right(given))
        if self._takes_word("in"):
            right = self._unary()
            return lambda given: _is_in(left(given), right(given))
        return left

    def _unary(self) -> Evaluate:
        if self._takes("!"):
            operand = self._unary()
            return lambda given: not _truth(operand(given))
        return self._selected(self._primary())

    def _selected(self, operand: Evaluate) -> Evaluate:
        while True:
            if self._takes("."):
                operand = _member(operand, self._name())
            elif self._takes("["):
                operand = _element(operand, self._either())
                self._needs("]")
            else:
                return operand

    def _name(self) -> str:
        name = self._tokens[self._place]["word"] if self._place < len(self._tokens) else None
        if name is None:
            self._unknown()
        self._place += 1
        return name

    def _primary(self) -> Evaluate:
        if self._takes("("):
            inner = self._either()
            self._needs(")")
            return inner
        token = self._tokens[self._place] if self._place < len(self._tokens) else None
        if token is None or token["sign"]:
            self._unknown()
        self._place += 1
        if token["string"] or token["number"]:
            literal: Value = token["string"][1:-1] if token["string"] else int(token["number"])
            return lambda _given: literal
        word = token["word"]
        if word == "has" and self._takes("("):
            return self._presence()
        if self._sign() == "(":
            self._unknown()  # a function or a macro
        return _variable(word)

    def _presence(self) -> Evaluate:
        """Evaluate the macro `has(a.b)`: whether a has a member b, where there is an a."""
        found = _variable(self._name())
        self._needs(".")
        name = self._name()
        while self._takes("."):
            found, name = _member(found, name), self._name()
        self._needs(")")
        holder = found

        def present(variables: Mapping[str, Value]) -> Value:
            held = holder(variables)
            if not isinstance(held, Mapping):
                raise EvaluationFailed(f"no such key: {name}")
            return name in held

        return present


def _variable(word: str) -> Evaluate:
    if word in _WORDS:
        return lambda _given: _WORDS[word]

    def variable(variables: Mapping[str, Value]) -> Value:
        if word not in variables:
            raise EvaluationFailed(f"undeclared reference to '{word}'")
        return variables[word]

    return variable


def _member(of: Evaluate, name: str) -> Evaluate:
    return _element(of, lambda _given: name)


def _element(of: Evaluate, key: Evaluate) -> Evaluate:
    def element(variables: Mapping[str, Value]) -> Value:
        held, wanted = of(variables), key(variables)
        try:
            return held[wanted]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            raise EvaluationFailed(f"no such key: {wanted}") from None

    return element


def _joined(left: Evaluate, right: Evaluate, *, decides: bool) -> Evaluate:
    """Evaluate `||` and `&&`: one side that decides is enough, also where the other cannot be (langdef.md)."""

    def joined(variables: Mapping[str, Value]) -> Value:
        try:
            if _truth(left(variables)) is decides:
                return decides
        except EvaluationFailed:
            if _truth(right(variables)) is decides:
                return decides
            raise
        return _truth(right(variables))

    return joined


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise EvaluationFailed("no such overload")
    return value


def _same(left: Value, right: Value) -> bool:
    return type(left) is type(right) and left == right


def _is_in(wanted: Value, held: Value) -> bool:
    if not isinstance(held, (list, tuple, Mapping)):
        raise EvaluationFailed("no such overload")
    return wanted in held
