"""Does an incoming text message say stop?

A withdrawal that is missed breaks the law; one too many costs a message. So a
word counts where people put it: alone, first or last, in any case, with or
without diacritics and punctuation.
"""

from __future__ import annotations

import unicodedata

#: By language. Written as people write them; compared as `normalised`.
STOP_WORDS = {
    "tr": """RET, RED, İPTAL, DUR, DURDUR, ÇIK, ÇIKIŞ, ÜYELİKTEN ÇIK, İSTEMİYORUM, GÖNDERME,
        GÖNDERMEYİN, MESAJ ATMA, MESAJ ATMAYIN, ABONELİK İPTAL""",
    "en": """STOP, STOPALL, STOP ALL, UNSUBSCRIBE, CANCEL, END, QUIT, REVOKE, OPT OUT, OPTOUT,
        REMOVE ME, NO MORE""",
    "de": """STOPP, STOP, ABMELDEN, ABBESTELLEN, ABMELDUNG, KÜNDIGEN, AUSTRAGEN, LÖSCHEN,
        KEINE WERBUNG""",
    "fr": """STOP, ARRÊT, ARRÊTER, ARRÊTEZ, DÉSABONNER, DÉSABONNEMENT, DÉSINSCRIRE,
        DÉSINSCRIPTION, ME DÉSABONNER""",
    "es": """ALTO, PARAR, PARE, BAJA, DARME DE BAJA, CANCELAR, DETENER, NO MÁS, ELIMINAR""",
    "ar": """إيقاف, ايقاف, توقف, أوقف, إلغاء, الغاء, إلغاء الاشتراك, وقف""",
}

#: Letters that are spelled without their marks, and have no decomposition.
_PLAIN = str.maketrans(
    {"ı": "i", "ø": "o", "ł": "l", "đ": "d", "œ": "oe", "æ": "ae", "ـ": ""}
)
#: How German spells umlauts without them: both spellings are compared.
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


def normalised(text: str) -> str:
    """Words of plain lower-case letters with a space between them."""
    # Compatibility forms first: full-width letters and ligatures are letters.
    # Case folding maps İ to i and a mark, which goes with the other marks; the
    # Turkish dotless ı becomes i, since a phone in English writes IPTAL so.
    folded = unicodedata.normalize(
        "NFKD", unicodedata.normalize("NFKC", text).casefold()
    )
    letters = []
    for letter in folded.translate(_PLAIN):
        category = unicodedata.category(letter)
        if category[0] == "M" or category == "Cf":
            continue  # Diacritics, vowel signs, invisible marks of direction.
        letters.append(letter if category[0] in "LN" else " ")
    return " ".join("".join(letters).split())


def _spellings(words: str) -> set[str]:
    """A keyword without marks, and as Germans spell it then."""
    return {normalised(words), normalised(words.casefold().translate(_GERMAN))}


_ALL = {
    spelling
    for words in STOP_WORDS.values()
    for word in words.split(",")
    for spelling in _spellings(word)
}


def says_stop(text: str) -> bool:
    """Whether the message is a stop word, or begins or ends with one."""
    words = f" {normalised(text)} "
    return any(
        words.startswith(f" {stop} ") or words.endswith(f" {stop} ") for stop in _ALL
    )
