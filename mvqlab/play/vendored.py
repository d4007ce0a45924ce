"""ONNX Runtime for browsers: fetched from npm once, by the lock file beside this, and kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from mvqlab.support.files import cache_folder, temporary_folder, writable_folder

HERE = Path(__file__).parent
MANIFESTS = ("package.json", "package-lock.json")
PACKAGE = "onnxruntime-web"
# what the page loads, the module and what that loads by itself, and what it is called there: some web servers
# do not know that .mjs is a script
SOURCES = {
    "ort.wasm.min.mjs": "ort.js",
    "ort-wasm-simd-threaded.mjs": "ort_wasm.js",
    "ort-wasm-simd-threaded.wasm": "ort_wasm.wasm",
}
FILES = tuple(SOURCES.values())


class VendorError(RuntimeError):
    """ONNX Runtime for browsers cannot be had. The message says why."""


def vendored_runtime() -> Path:
    """The folder that holds FILES; fetched by npm where the cache has none of this lock file.

    Raises VendorError, CacheError.
    """
    lock = hashlib.sha256((HERE / MANIFESTS[1]).read_bytes()).hexdigest()[:16]
    kept = writable_folder(cache_folder() / "play", PACKAGE) / f"{PACKAGE}-{lock}"
    if all((kept / name).is_file() for name in FILES):
        return kept
    with temporary_folder(kept) as temporary:
        _fetch(temporary)
        for name in FILES:
            (temporary / name).replace(kept / name)
    return kept


def _fetch(folder: Path) -> None:
    """Let npm install what the lock file names, and take SOURCES of it into `folder`. Raises VendorError."""
    npm = shutil.which("npm")
    if npm is None:
        raise VendorError("the page needs a package from npm, and there is no npm here: install Node.js")
    with TemporaryDirectory(prefix="mvqlab-") as place:
        for name in MANIFESTS:
            shutil.copy(HERE / name, place)
        # nothing that a package would run is run
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=place, capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise VendorError(f"npm could not fetch {PACKAGE}: {said[0] if said else 'it does not say why'}")
        for source, name in SOURCES.items():
            shutil.copy(Path(place) / "node_modules" / PACKAGE / "dist" / source, folder / name)
