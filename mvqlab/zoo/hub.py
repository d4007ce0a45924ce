"""Models for others: laid out in a folder that loads by itself, and such folders on the Hugging Face Hub.

    push_to_hub("results/mine/stage2", "me/my-stackformer", stage1="results/mine/stage1")
    trained = from_pretrained("me/my-stackformer")    # or a folder that `save_pretrained` wrote
    mvqlab.sample(model=trained.folder, stage1=trained.folder.with_name("stage1"))

A folder holds `stage1`, `stage2` where there is a transformer, and README.md, which the Hub shows. What is
pushed is what loads: settings (with the path of your images, where `data.root` has one), weights, curves,
captions' words and the note on the data, and no state of the training.
"""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import yaml

from mvqlab.models.caption_tokenizer import FILE_NAME as CAPTIONS
from mvqlab.models.mqvae import TokenModel
from mvqlab.support.files import temporary_folder, write_text_whole
from mvqlab.training import load_stage1
from mvqlab.training.checkpoint import WEIGHTS
from mvqlab.training.origin import FILE_NAME as TRAINED_ON
from mvqlab.zoo.shipped import CARD, is_shipped, shipped_card, shipped_folder
from mvqlab.zoo.trained import Trained, load_trained

STAGES = ("stage1", "stage2")
NEEDED = ("config.yaml", WEIGHTS)
FILES = (*NEEDED, "curves.csv", CAPTIONS, TRAINED_ON, CARD)
PAGE = "README.md"


class HubError(RuntimeError):
    """A model cannot be pushed, fetched or laid out. The message says why, and what to do."""


def save_pretrained(model: str | Path, folder: Path | str, stage1: Path | str | None = None) -> Path:
    """Lay a model out in `folder`, which has to be new or empty, so that it loads by itself.

    model: a shipped model's name, the folder of a run of stage 1, or of one of stage 2 and then `stage1` the
    folder of its stage 1. Raises HubError; SampleError, CheckpointError, ConfigError where it would not load.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HubError(f"{folder} holds something already: name a folder that is new or empty")
    sources = _sources(model, stage1)
    _load(sources)
    with temporary_folder(folder) as temporary:
        for stage, source in sources.items():
            (temporary / stage).mkdir()
            for name in FILES:
                if (source / name).exists():
                    shutil.copy(source / name, temporary / stage / name)
        write_text_whole(temporary / PAGE, _page(str(model), sources))
        for made in sorted(temporary.iterdir()):
            made.replace(folder / made.name)
    return folder


def push_to_hub(
    model: str | Path, repository: str, stage1: Path | str | None = None, *, private: bool = False
) -> str:
    """Lay a model out (see `save_pretrained`) and upload it to `repository`, OWNER/NAME; returns its address.

    It is made where there is none, `private` or for all to see. The token is the one of `hf auth login`, or
    HF_TOKEN. Raises HubError, also where there is no network, and as `save_pretrained` does.
    """
    hub = _hub()
    with TemporaryDirectory(prefix="mvqlab-") as temporary:
        folder = save_pretrained(model, Path(temporary) / "model", stage1)
        try:
            api = hub.HfApi(library_name="mvqlab")
            address = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"{Path(model).name}")
        except Exception as error:  # its client raises its own, httpx's and Python's
            raise _told(error, f"{repository} cannot be pushed to", "hf auth login") from error
    return str(address)


def from_pretrained(source: str | Path, *, revision: str | None = None) -> Trained | TokenModel:
    """The model in a folder that `save_pretrained` wrote, or of a repository OWNER/NAME of the Hub.

    A transformer comes with its stage 1; a stage 1 alone as itself, in evaluation mode on the CPU. revision:
    a branch, tag or commit of the repository. What was fetched before needs no network. Raises HubError,
    CheckpointError.
    """
    folder = Path(source)
    if not folder.is_dir():
        hub = _hub()
        try:
            folder = Path(hub.snapshot_download(str(source), revision=revision, library_name="mvqlab"))
        except Exception as error:  # as above
            raise _told(error, f"{source} is no folder, and cannot be fetched", "its name") from error
    sources = {stage: folder / stage for stage in STAGES if (folder / stage).is_dir()}
    if "stage1" not in sources:
        raise HubError(f"{source} holds no model of mvqlab: it has no folder stage1")
    return _load(sources)


def _sources(model: str | Path, stage1: Path | str | None) -> dict[str, Path]:
    """The folders of the stages of a model."""
    if is_shipped(model):
        if stage1 is not None:
            raise HubError(f"'{model}' comes with its own stage 1: give no other")
        card = shipped_card(str(model))
        if card["stage"] == 1:
            return {"stage1": shipped_folder(str(model))}
        return {"stage1": shipped_folder(card["stage1"]), "stage2": shipped_folder(str(model))}
    if stage1 is None:
        return {"stage1": Path(model)}
    return {"stage1": Path(stage1), "stage2": Path(model)}


def _load(sources: dict[str, Path]) -> Trained | TokenModel:
    for stage, source in sources.items():
        lacks = [name for name in NEEDED if not (source / name).exists()]
        if lacks:
            raise HubError(f"{source} is no run of {stage}, and no shipped model: it has no {lacks[0]}")
    if "stage2" in sources:
        return load_trained(sources["stage2"], sources["stage1"])
    return load_stage1(sources["stage1"])


def _page(name: str, sources: dict[str, Path]) -> str:
    """What the Hub shows: how to load the model, and the cards of those that come with mvqlab."""
    words = ["---", "library_name: mvqlab", "tags: [vector-quantization, mq-vae]", "---", ""]
    words += [f"# {Path(name).name}", "", "A model of masked vector quantisation, made with mvqlab."]
    words += ["", "```python", "from mvqlab.zoo.hub import from_pretrained", ""]
    words += ['model = from_pretrained("OWNER/NAME")  # this repository', "```", ""]
    for stage, source in sources.items():
        if (source / CARD).exists():
            card = yaml.safe_load((source / CARD).read_text(encoding="utf-8"))
            text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True).rstrip()
            words += [f"## {stage}", "", "```yaml", text, "```", ""]
    return "\n".join(words)


def _hub() -> ModuleType:
    try:
        return import_module("huggingface_hub")
    except ModuleNotFoundError:
        raise HubError("no huggingface_hub: pip install 'mvqlab[hub]'") from None


def _told(error: Exception, what: str, look_at: str) -> HubError:
    reason = (" ".join(str(error).split()) or type(error).__name__)[:300]
    return HubError(f"{what}: {reason} (look at the network, HF_HUB_OFFLINE, and {look_at})")
