#!/usr/bin/env python3
"""Write tests/fixtures/phones.tsv: spellings, and what libphonenumber makes of them under rule R1.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install phonenumbers
    /tmp/venv/bin/python scripts/phone-fixture.py            # the committed fixture
    /tmp/venv/bin/python scripts/phone-fixture.py 1000000    # with so many random spellings more

The answers come from the package `phonenumbers` itself and share nothing with the tables
that scripts/phone-tables.py makes. Only the order of the candidates is R1's.
Columns: spelling, region or `-`, the contact if it must be valid, the contact if possible is enough.
"""
import random
import re
import sys
from pathlib import Path

import phonenumbers
from phonenumbers import PhoneNumberFormat as Form, phonenumberutil as lib
from phonenumbers.phonemetadata import PhoneMetadata

OUT = Path(__file__).resolve().parent.parent / "tests/fixtures/phones.tsv"


def number(code, national):
    zeros = len(national) - len(national[:-1].lstrip("0")) - 1
    return phonenumbers.PhoneNumber(code, int(national), italian_leading_zero=zeros > 0 or None,
                                    number_of_leading_zeros=zeros if zeros > 1 else None)


def international(digits):
    """As libphonenumber parses `+digits`; but what is valid as it stands is not parsed further."""
    for size in (1, 2, 3):
        code = int(digits[:size] or 0)
        if code in lib.COUNTRY_CODE_TO_REGION_CODE and len(digits) > size and digits[0] != "0":
            asis = number(code, digits[size:])
            if phonenumbers.is_valid_number(asis):
                return asis
    try:
        return phonenumbers.parse("+" + digits)
    except phonenumbers.NumberParseException:
        return None


def national(digits, region):
    """As libphonenumber parses the digits in a region, without its guess that they are international."""
    data = PhoneMetadata.metadata_for_region(region)
    stripped = lib._maybe_strip_national_prefix_carrier_code(digits, data)[1]
    short = (lib.ValidationResult.TOO_SHORT, lib.ValidationResult.IS_POSSIBLE_LOCAL_ONLY,
             lib.ValidationResult.INVALID_LENGTH)
    if lib._test_number_length(stripped, data) not in short:
        digits = stripped
    return number(data.country_code, digits)


def read(spelling, region):
    """The contact under R1: (valid, possible), each the digits or INVALID."""
    digits = re.sub(r"[ .()\-]", "", spelling)
    decimals = re.search(r"\.0$|^[^.]*\.0+$", spelling)
    if not re.fullmatch(r"\+?[0-9]{1,24}", digits) or decimals:
        return "INVALID", "INVALID"
    if digits[0] == "+":
        candidates = [international(digits[1:])]
    else:
        candidates = [national(digits, region)] if region else []
        candidates += [international(digits[2:])] if digits.startswith("00") else []
        candidates += [international(digits)]
    candidates = [c for c in candidates
                  if c and 7 <= len(phonenumbers.format_number(c, Form.E164)) - 1 <= 15]
    valid = [c for c in candidates if phonenumbers.is_valid_number(c)]
    possible = [c for c in candidates if phonenumbers.is_possible_number_with_reason(c)
                == phonenumbers.ValidationResult.IS_POSSIBLE]
    answer = [phonenumbers.format_number(found[0], Form.E164)[1:] if found else "INVALID"
              for found in (valid, valid + possible)]
    return tuple(answer)


def examples():
    """Every region's and calling code's example of every kind, as (number, region)."""
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in sorted(phonenumbers.supported_types_for_region(region)):
            found = phonenumbers.example_number_for_type(region, kind)
            if found:
                yield found, region
    for code in sorted(phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS):
        yield phonenumbers.example_number_for_non_geo_entity(code), None


def spellings(found, region):
    e164 = phonenumbers.format_number(found, Form.E164)
    home = phonenumbers.format_number(found, Form.NATIONAL)
    yield e164, None
    yield home, region
    yield phonenumbers.national_significant_number(found), region
    yield e164[1:], region
    code = len(str(found.country_code)) + 1
    prefix = region and PhoneMetadata.metadata_for_region(region).national_prefix
    if prefix:
        yield e164[:code] + prefix + e164[code:], None
    yield random.choice([
        (phonenumbers.format_number(found, Form.INTERNATIONAL), None),
        ("00" + e164[1:], region),
        ("00 " + phonenumbers.format_number(found, Form.INTERNATIONAL)[1:], None),
        (home, "TR"),
        (e164[1:], "TR"),
        (e164 + "0", region),
        (e164[:-1], region),
        (home + ".0", region),
    ])


def mutated(spelling):
    """The spelling with one digit changed, added or missing: mostly just not a number any more."""
    place = random.randrange(len(spelling))
    return spelling[:place] + random.choice(["", str(random.randrange(10))]) + spelling[place + random.randrange(2):]


def main():
    random.seed(1)
    rows = {}
    known = list(examples())
    for found, region in known:
        for spelling, default in spellings(found, region):
            rows[spelling, default] = None
        rows[mutated(random.choice(list(spellings(found, region)))[0]), region] = None
    regions = sorted(phonenumbers.SUPPORTED_REGIONS) + [None]
    wanted = len(rows) + int(sys.argv[1] if len(sys.argv) > 1 else 0)
    while len(rows) < wanted:
        found, region = random.choice(known)
        spelling = random.choice(list(spellings(found, region)))[0]
        for _ in range(random.randrange(4)):
            spelling = mutated(spelling) or "0"
        rows[spelling, region if random.random() < 0.8 else random.choice(regions)] = None
    lines = ["\t".join([spelling, region or "-", *read(spelling, region)]) for spelling, region in rows]
    OUT.write_text(f"# scripts/phone-fixture.py, libphonenumber {phonenumbers.__version__}\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
