"""The four files of Fashion-MNIST: where they lie, how they get there, and whether they are whole.

They lie as torchvision keeps them, ROOT/FashionMNIST/raw/train-images-idx3-ubyte and so on, so a folder that
torchvision has filled is read as it is. What is checked are the unpacked files: the packed ones differ from
one source to the next, by what gzip writes beside the content.

Fashion-MNIST: Zalando SE, MIT licence; https://github.com/zalandoresearch/fashion-mnist
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from mvqlab.data.dataset import DataError
from mvqlab.data.fetching import network_patience
from mvqlab.support.files import write_bytes_whole
from mvqlab.support.torchvision_guard import import_torchvision

DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where that package puts the packed files

SHA256 = {  # of the unpacked files
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def raw_folder(root: Path) -> Path:
    """The folder of the four files below `root`, as torchvision names it."""
    return root / "FashionMNIST" / "raw"


def read_whole(root: Path, name: str) -> bytes:
    """The content of one unpacked file. Raises DataError, naming it, where it is missing or damaged."""
    path = raw_folder(root) / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    if not _is_whole(content, name):
        raise DataError(
            f"{path}: is damaged (its SHA-256 is not that of Fashion-MNIST); 'mvqlab data get fashion' with "
            "the same --root replaces it"
        )
    return content


def are_there(root: Path) -> bool:
    """Whether all four files lie below `root`; what is in them is checked when they are read."""
    return all((raw_folder(root) / name).is_file() for name in SHA256)


def are_at_hand(root: Path) -> bool:
    """Whether a run that asks for them gets all four without a network: from below `root`, or unpacked."""
    return all((raw_folder(root) / name).is_file() or _packed(root, name) for name in SHA256)


def provide(root: Path, download: bool) -> None:
    """Make sure that the files lie below `root`, for a run that is about to read them.

    What the Debian package left on this machine is unpacked; `download` says whether the network may be
    asked. Raises DataError with the ways to get the files.
    """
    if are_there(root) or unpack(root):
        return
    if not download:
        raise DataError(_ways(root, "Fashion-MNIST is not there"))
    _download(root)


def get(root: Path) -> str:
    """Bring the files below `root` from wherever they can be had, in place of damaged ones; says from where.

    Raises DataError with the ways to get the files.
    """
    _remove_damaged(root)
    if are_there(root):
        return "was there, and whole"
    try:
        _download(root)
    except DataError:
        if not unpack(root):
            raise
        return f"unpacked from the Debian package {DEBIAN_PACKAGE}"
    return "downloaded"


def unpack(root: Path) -> bool:
    """Unpack what is missing from NAME.gz beside it or in the Debian package's folder; whether it was there.

    Raises DataError, naming the packed file that is damaged.
    """
    missing = [name for name in SHA256 if not (raw_folder(root) / name).is_file()]
    packed = {name: path for name in missing if (path := _packed(root, name)) is not None}
    if len(packed) < len(missing):
        return False
    for name, path in packed.items():
        write_bytes_whole(raw_folder(root) / name, _unpacked(path, name))
    return True


def _packed(root: Path, name: str) -> Path | None:
    places = [folder / f"{name}.gz" for folder in (raw_folder(root), DEBIAN_FOLDER)]
    return next((path for path in places if path.is_file()), None)


def _unpacked(path: Path, name: str) -> bytes:
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); remove it, or fetch it anew") from None
    if not _is_whole(content, name):
        raise DataError(f"{path}: is damaged (what it holds is not {name} of Fashion-MNIST); fetch it anew")
    return content


def _download(root: Path) -> None:
    """All four files, as torchvision downloads them, with its progress bars. Raises DataError."""
    import_torchvision()  # before what is torchvision's
    from torchvision.datasets import FashionMNIST

    try:
        with network_patience():
            FashionMNIST(str(root), download=True)
    # a network fails in many ways: URLError and timeouts are OSErrors, torchvision adds RuntimeError
    except (OSError, RuntimeError, EOFError) as error:
        reason = " ".join(str(error).split())
        raise DataError(_ways(root, f"Fashion-MNIST cannot be downloaded ({reason})")) from None


def _remove_damaged(root: Path) -> None:
    for name in SHA256:
        path = raw_folder(root) / name
        if path.is_file() and not _is_whole(path.read_bytes(), name):
            path.unlink()


def _is_whole(content: bytes, name: str) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256[name]


def _ways(root: Path, what: str) -> str:
    return (
        f"{what}: 'mvqlab data get fashion' (or data.download=true) fetches it where there is a network, "
        f"'apt-get install {DEBIAN_PACKAGE}' brings it on Debian and Ubuntu, or put its four files, packed "
        f"or not, into {raw_folder(root)} by hand"
    )
