"""nbformat, without the second of every point that two checkers of addresses and durations take to import.

nbformat imports jsonschema, which imports whatever optional checkers are installed; with JupyterLab come
`rfc3987_syntax`, which builds a grammar (1.0 s), and `isoduration` (0.3 s). No notebook's schema uses
either. While nbformat is imported they count as not installed; afterwards anyone may import them.
"""

import sys

SPARED = ("rfc3987_syntax", "isoduration")

_absent = [name for name in SPARED if name not in sys.modules]
sys.modules.update(dict.fromkeys(_absent))  # type: ignore[arg-type]  # None makes an import of the name fail
try:
    import nbformat  # noqa: F401
finally:
    for _name in _absent:
        del sys.modules[_name]
