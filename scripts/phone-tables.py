#!/usr/bin/env python3
"""Write src/domain/address/numbering.in: the numbering facts of libphonenumber as tables.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install phonenumbers
    /tmp/venv/bin/python scripts/phone-tables.py          # then run the tests of domain::address
    /tmp/venv/bin/python scripts/phone-fixture.py         # the tables' independent check

The facts come from the package `phonenumbers`, which carries libphonenumber's metadata.
The valid numbers of the world are a finite set of digit strings. This script turns the
patterns that describe it into one automaton in which no two states mean the same, so the
server needs neither regular expressions nor a search: one table step per digit decides.
"""
import re
import sys
from functools import lru_cache
from pathlib import Path
from re import _constants as op, _parser as regex

import phonenumbers
from phonenumbers import phonenumberutil as lib
from phonenumbers.phonemetadata import PhoneMetadata

OUT = Path(__file__).resolve().parent.parent / "src/domain/address/numbering.in"
KINDS = ["fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "voip",
         "personal_number", "pager", "uan", "voicemail"]
ANY = frozenset(range(10))
CHAIN = 15  # States 1..=CHAIN accept "exactly state - 1 further digits, whichever they are".


# A language of digit strings is a pattern tree: NOTHING, the empty string, one digit of a
# set, one tree after another, or a choice. Its derivative by d is what may follow d.
NOTHING, EMPTY = ("nothing",), ("empty",)


def after(a, b):
    if NOTHING in (a, b):
        return NOTHING
    if a == EMPTY:
        return b
    return a if b == EMPTY else after(a[1], after(a[2], b)) if a[0] == "after" else ("after", a, b)


def choice(trees):
    flat = set()
    for tree in trees:
        flat |= tree[1] if tree[0] == "choice" else {tree} - {NOTHING}
    return ("choice", frozenset(flat)) if len(flat) > 1 else next(iter(flat), NOTHING)


def digits_of(kind, value):
    """The digits that one element of a parsed pattern stands for, or None if it is no single digit."""
    if kind == op.LITERAL:
        return frozenset([value - ord("0")])
    if kind != op.IN:
        return None
    found = set()
    for part, arg in value:
        if part == op.LITERAL:
            found.add(arg - ord("0"))
        elif part == op.RANGE:
            found |= set(range(arg[0] - ord("0"), arg[1] - ord("0") + 1))
        elif (part, arg) == (op.CATEGORY, op.CATEGORY_DIGIT):
            found |= ANY
        else:
            sys.exit(f"unknown part of a digit class: {part}")
    return frozenset(found)


def tree_of(elements):
    tree = EMPTY
    for kind, value in reversed(list(elements)):
        single = digits_of(kind, value)
        if single is not None:
            head = ("digit", single)
        elif kind == op.BRANCH:
            head = choice([tree_of(branch) for branch in value[1]])
        elif kind == op.SUBPATTERN:
            head = tree_of(value[3])
        elif kind == op.MAX_REPEAT:
            low, high, body = value
            body, head = tree_of(body), EMPTY
            for _ in range(high - low):
                head = choice([EMPTY, after(body, head)])
            for _ in range(low):
                head = after(body, head)
        else:
            sys.exit(f"unknown element of a pattern: {kind}")
        tree = after(head, tree)
    return tree


@lru_cache(None)
def language(pattern):
    return tree_of(regex.parse(pattern))


@lru_cache(None)
def has_empty(tree):
    return (tree[0] == "empty" or (tree[0] == "after" and has_empty(tree[1]) and has_empty(tree[2]))
            or (tree[0] == "choice" and any(map(has_empty, tree[1]))))


@lru_cache(None)
def derive(tree, digit):
    if tree[0] in ("nothing", "empty"):
        return NOTHING
    if tree[0] == "digit":
        return EMPTY if digit in tree[1] else NOTHING
    if tree[0] == "choice":
        return choice([derive(part, digit) for part in tree[1]])
    first = after(derive(tree[1], digit), tree[2])
    return choice([first, derive(tree[2], digit)]) if has_empty(tree[1]) else first


class Automaton:
    """States are stored once per meaning: a state is (accepting, its ten successors)."""

    def __init__(self):
        self.rows, self.number, self.known = [], {}, {}
        self.state(False, [0] * 10)
        for further in range(CHAIN):
            self.state(further == 0, [further] * 10)

    def state(self, accepting, successors):
        row = (accepting, tuple(successors))
        if row not in self.number:
            self.number[row] = len(self.rows)
            self.rows.append(row)
        return self.number[row]

    def add(self, trees, accepts):
        """The state for what remains of several languages; `accepts` combines their answers."""
        if all(tree == NOTHING for tree in trees):
            return 0
        key = (trees, accepts)
        if key not in self.known:
            successors = [self.add(tuple(derive(t, d) for t in trees), accepts) for d in range(10)]
            self.known[key] = self.state(accepts([has_empty(t) for t in trees]), successors)
        return self.known[key]

    def ordered(self):
        """Rows with the accepting states last, the old-to-new numbering, and the first accepting state."""
        rest = range(CHAIN + 1, len(self.rows))
        order = list(range(CHAIN + 1)) + sorted(rest, key=lambda s: self.rows[s][0])
        new = {old: index for index, old in enumerate(order)}
        rows = [[new[s] for s in self.rows[old][1]] for old in order]
        return rows, new, sum(not self.rows[s][0] for s in rest) + CHAIN + 1


def metadata(region, code):
    return PhoneMetadata.metadata_for_region_or_calling_code(code, region)


def valid_numbers(automaton, code, regions):
    """The state from which exactly the valid national numbers of a calling code are accepted.

    Regions are asked in libphonenumber's order; one with leading digits decides alone for
    the numbers that begin with them. Each kind allows the numbers of its pattern and lengths.
    """
    trees, plans = [], []

    def index(tree):
        trees.append(tree)
        return len(trees) - 1

    def of_lengths(lengths):
        return choice([language(r"\d{%d}" % n) for n in lengths if n > 0])

    for region in regions:
        data = metadata(region, code)
        leading = None
        if len(regions) > 1 and data.leading_digits:
            leading = index(after(language(data.leading_digits), language(r"\d{0,17}")))
        general = index(language(data.general_desc.national_number_pattern))
        kinds = [(index(language(d.national_number_pattern)), index(of_lengths(d.possible_length)))
                 for d in (getattr(data, kind) for kind in KINDS) if d and d.possible_length]
        plans.append((leading, general, kinds))

    def accepts(found):
        for leading, general, kinds in plans:
            valid = found[general] and any(found[p] and found[n] for p, n in kinds)
            if leading is None and valid:
                return True
            if leading is not None and found[leading]:
                return valid
        return False

    return automaton.add(tuple(trees), accepts)


def paths(elements, groups):
    """Every way through a prefix pattern, in the order in which a backtracking matcher tries them.

    A path is (digit sets, groups taken as {number: (from, to)}, must the number end here).
    """
    elements = list(elements)
    if not elements:
        yield (), {}, False
        return
    (kind, value), rest = elements[0], elements[1:]
    single = digits_of(kind, value)
    if single is not None:
        heads = [((single,), {}, False)]
    elif kind == op.AT:
        heads = [((), {}, True)]
    elif kind == op.BRANCH:
        heads = [head for branch in value[1] for head in paths(branch, groups)]
    elif kind == op.SUBPATTERN:
        heads = [(sets, taken | ({value[0]: (0, len(sets))} if value[0] else {}), end)
                 for sets, taken, end in paths(value[3], groups)]
    else:
        low, high, body = value
        heads = [head for n in range(high, low - 1, -1) for head in paths(list(body) * n, groups)]
    for sets, taken, end in heads:
        for more, later, last in paths(rest, groups):
            moved = {g: (a + len(sets), b + len(sets)) for g, (a, b) in later.items()}
            yield sets + more, taken | moved, end or last


def rules(data):
    """How a region's national prefix is taken off: Rust literals of `Rule`, in order of trial."""
    pattern, transform = data.national_prefix_for_parsing, data.national_prefix_transform_rule
    if not pattern:
        return []
    groups = re.compile(pattern).groups
    insert, kept = "", None
    if transform:
        insert, kept = re.fullmatch(r"(\d*)\\(\d)", transform).groups()
        assert int(kept) == groups, pattern
    found = []
    for sets, taken, end in paths(regex.parse(pattern), groups):
        if not sets:
            break  # Matches without taking anything off, like every path after it.
        captured = bool(kept) and groups in taken
        start, stop = taken[groups] if captured else (0, 0)
        masks = ", ".join("0x%x" % sum(1 << d for d in s) for s in sets)
        found.append('Rule { prefix: &[%s], whole: %s, insert: b"%s", keep: (%d, %d) }'
                     % (masks, str(end).lower(), insert if captured else "", start, stop))
    return found


def wrapped(items, width=140):
    line = ""
    for item in items:
        if line and len(line) + len(item) > width:
            yield line
            line = ""
        line += item
    yield line


def plan_of(first_digits, plans):
    """The index of the plan that reads international numbers with these first three digits; 255: none."""
    for size in (1, 2, 3):
        regions = lib.COUNTRY_CODE_TO_REGION_CODE.get(int(first_digits[:size]))
        if regions and first_digits[0] != "0":
            return plans.index((regions[0], int(first_digits[:size])))
    return 255


def main():
    codes = lib.COUNTRY_CODE_TO_REGION_CODE
    automaton = Automaton()
    by_code = {code: valid_numbers(automaton, code, regions) for code, regions in codes.items()}
    plans = sorted((r, c) for c, regions in codes.items() for r in regions if r != "001")
    plans += [("001", code) for code in sorted(codes) if codes[code] == ("001",)]
    lines = []
    generals = [automaton.add((language(metadata(r, c).general_desc.national_number_pattern),), any)
                if metadata(r, c).national_prefix_for_parsing else 0 for r, c in plans]
    states, new, first_accepting = automaton.ordered()
    for (region, code), general in zip(plans, generals):
        data = metadata(region, code)
        lengths = sum(1 << n for n in data.general_desc.possible_length)
        local = data.general_desc.possible_length_local_only
        assert max(local, default=0) < max(data.general_desc.possible_length), "a local length would look too long"
        lines.append('    Plan { region: *b"%s", code: %d, lengths: 0x%x, valid: %d, general: %d, rules: &[%s] },'
                     % ("  " if region == "001" else region, code, lengths, new[by_code[code]], new[general],
                        ", ".join(rules(data))))
    by_digits = [str(plan_of(f"{n:03}", plans)) for n in range(1000)]
    OUT.write_text("\n".join([
        f"// Written by scripts/phone-tables.py from libphonenumber's metadata {phonenumbers.__version__}; do not edit.",
        f"const FIRST_ACCEPTING: u16 = {first_accepting};",
        f"static PLANS: [Plan; {len(plans)}] = [", *lines, "];",
        "static PLAN_BY_FIRST_DIGITS: [u8; 1000] = [", *wrapped(n + "," for n in by_digits), "];",
        f"static STATES: [[u16; 10]; {len(states)}] = [",
        *wrapped("[%s]," % ",".join(map(str, row)) for row in states), "];", ""]))


if __name__ == "__main__":
    main()
