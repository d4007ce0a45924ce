"""How the shapes and types in signatures are checked at every call, see conftest.py."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

# an int where a float is asked for is right, as type checkers have it
check_types = beartype(conf=BeartypeConf(is_pep484_tower=True))
