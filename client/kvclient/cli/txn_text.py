"""The text form of a transaction: three blocks, separated by blank lines, in the manner of etcdctl's.

    value("k") = "v"        comparisons that must all hold
    mod("k") > 3

    put k v                 what to do then

    get k                   what to do otherwise

A blank line ends a block, so an empty block is just a blank line; blocks that are left out at the end are empty. Words
are quoted as in a POSIX shell; between quotes a line may break. A line that begins with ``#`` is a comment. Bytes that
are no UTF-8 pass unharmed.
"""

import re
import shlex

from kvclient.transaction import Compare, Comparison, Delete, Get, Operation, Put, TransactionParts

__all__ = ["TxnTextError", "parse_transaction"]


class TxnTextError(ValueError):
    """The text is no transaction; says which line and why."""


NUMBER_MAX = 2**63 - 1  # what the wire can carry

_WORD = r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+"""
_KEY = r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\()])+"""
_COMPARISON = re.compile(
    rf"(?P<target>value|version|create|mod|lease)\s*\(\s*(?P<key>{_KEY})\s*\)\s*"
    rf"(?P<relation>!=|[=<>])\s*(?P<operand>{_WORD})",
    re.DOTALL,
)
_COMPARISON_FORM = 'a comparison is TARGET("KEY") = "OPERAND"; TARGET: value, version, create, mod, lease; or != < >'
_OPERATION_FORM = "an operation is: put KEY VALUE, get [--prefix] KEY, del [--prefix] KEY"


def parse_transaction(text: bytes) -> TransactionParts:
    """The transaction that the text describes; raises ``TxnTextError``."""
    blocks = [*_blocks(text), [], []]
    for surplus in blocks[3:]:
        for number, line in surplus:
            raise TxnTextError(f"line {number}: {line!r} comes after the third block; there are three")
    parts = TransactionParts()
    parts.when(*(_comparison(number, line) for number, line in blocks[0]))
    parts.then(*(_operation(number, line) for number, line in blocks[1]))
    parts.otherwise(*(_operation(number, line) for number, line in blocks[2]))
    return parts


def _blocks(text: bytes) -> list[list[tuple[int, str]]]:
    """Of each block its lines, with their numbers; a line that breaks between quotes is one."""
    blocks: list[list[tuple[int, str]]] = [[]]
    pieces: list[str] = []  # of the line that has begun
    begun, quote = 0, ""
    for number, line in enumerate(text.decode("utf-8", "surrogateescape").split("\n"), start=1):
        if not pieces:
            begun = number
            stripped = line.strip(" \t\r")
            if not stripped:
                blocks.append([])
            if not stripped or stripped.startswith("#"):
                continue
        pieces.append(line)
        quote = _quote_after(line, quote)
        if not quote:
            blocks[-1].append((begun, "\n".join(pieces).strip(" \t\r")))
            pieces = []
    if pieces:
        raise TxnTextError(f"line {begun}: the quotation that begins here with {quote} has no end")
    return blocks


def _quote_after(line: str, quote: str) -> str:
    """The quotation mark that is open at the end of the line, given the one that is open at its beginning; or ""."""
    escaped = False
    for character in line:
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
    return quote


def _comparison(number: int, line: str) -> Comparison:
    match = _COMPARISON.fullmatch(line)
    if match is None:
        raise TxnTextError(f"line {number}: {line!r}: {_COMPARISON_FORM}")
    target, relation = match["target"], match["relation"]
    (key,), (operand,) = _words(number, match["key"]), _words(number, match["operand"])
    if target == "value":
        value = Compare.value(key)
        return {"=": value == operand, "!=": value != operand, "<": value < operand, ">": value > operand}[relation]
    if not re.fullmatch(r"-?[0-9]{1,19}", operand) or abs(int(operand)) > NUMBER_MAX:
        raise TxnTextError(f"line {number}: {target} is compared with a number, not with {operand!r}")
    number_of = getattr(Compare, target)(key)
    operand_number = int(operand)
    comparisons: dict[str, Comparison] = {
        "=": number_of == operand_number,
        "!=": number_of != operand_number,
        "<": number_of < operand_number,
        ">": number_of > operand_number,
    }
    return comparisons[relation]


def _operation(number: int, line: str) -> Operation:
    match _words(number, line):
        case ["put", key, value]:
            return Put(key, value)
        case ["get", key]:
            return Get(key)
        case ["get", "--prefix", key]:
            return Get(key, prefix=True)
        case ["del", key]:
            return Delete(key)
        case ["del", "--prefix", key]:
            return Delete(key, prefix=True)
        case _:
            raise TxnTextError(f"line {number}: {line!r}: {_OPERATION_FORM}")


def _words(number: int, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise TxnTextError(f"line {number}: {text!r}: {error}") from None
