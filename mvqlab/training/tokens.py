"""Turn a data set into pairs of code and position, once, for stage 2 to train on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mvqlab.config import PairOrder
from mvqlab.data import PictureDataset, batches_in_order
from mvqlab.data.seeds import short_hash
from mvqlab.models.mqvae import Encoding, TokenModel
from mvqlab.models.pairs import Pairs, concatenate
from mvqlab.support.evaluation_mode import evaluation_mode
from mvqlab.support.files import whole_file
from mvqlab.support.progress import Progress
from mvqlab.training.weights import check_finite_model


@dataclass
class TokenSet:
    """The pairs of a data set, and what is known of its images.

    conditions: classes (M,), -1 where there is none, or the tokens of captions (M, T).
    """

    pairs: Pairs
    conditions: Tensor

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, rows: slice | Tensor) -> TokenSet:
        return TokenSet(self.pairs[rows].trimmed(), self.conditions[rows])

    def to(self, device: torch.device | str) -> TokenSet:
        """The same tokens on another device, as the int64 that embeddings and losses take."""
        pairs = self.pairs.to(device)
        pairs = Pairs(pairs.codes.long(), pairs.positions.long(), pairs.side)
        return TokenSet(pairs, self.conditions.to(device))


def order_pairs(encoding: Encoding, order: PairOrder, generator: torch.Generator | None = None) -> Pairs:
    """The pairs of `encoding` by rising position, by falling score (the released code's other order), or any.

    generator: what a random order is drawn from; None: torch's own.
    """
    if order == "raster":
        return encoding.pairs
    if order == "random":
        return encoding.pairs.shuffled(generator)
    with_padding = F.pad(encoding.scores, (0, 1), value=-torch.inf)  # (B, L) -> (B, L + 1): L is padding's
    return encoding.pairs.in_order(-with_padding.gather(1, encoding.positions))  # by (B, N)


@torch.no_grad()
def tokenise(
    model: TokenModel,
    dataset: PictureDataset,
    *,
    order: PairOrder = "raster",
    batch_size: int = 64,
    seed: int = 0,
    limit: int | None = None,
    workers: int = 0,
) -> TokenSet:
    """Encode `dataset` (its first `limit` images) with a trained stage-1 model; the result is on the CPU.

    Raises CheckpointError if a weight of `model` is NaN or infinite: every image would have the same codes.

    The model encodes in evaluation mode, and is as it was afterwards. `seed` is what a random
    mask and a random order are drawn from. See `cached_tokens` for sets that are worth keeping.
    """
    check_finite_model(model, "the model that is to encode")
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    n_images = min(len(dataset), limit or len(dataset))
    pairs, labels = [], []
    with evaluation_mode(model), Progress("encoding", -(-n_images // batch_size)) as progress:
        for batch in batches_in_order(dataset, batch_size, limit, workers):
            on_device = batch.to(device)
            encoding = model.encode(on_device.images, on_device.importance, generator)
            pairs.append(order_pairs(encoding, order, generator).to("cpu"))
            labels.append(batch.labels)
            progress.advance()
    return TokenSet(concatenate(pairs), torch.cat(labels))


def cached_tokens(path: Path, encode: Callable[[], TokenSet], *, is_writer: bool = True) -> TokenSet:
    """The tokens in the file at `path`, memory-mapped; without one that can be read, `encode` them first.

    Of several processes only the writer encodes; the others must call this when it is done.
    """
    if is_writer and not _is_readable(path):
        _write(encode(), path)
    with safe_open(path, framework="pt") as file:
        side = int(file.metadata()["side"])
    stored = load_file(path)
    return TokenSet(Pairs(stored["codes"], stored["positions"], side), stored["labels"])


def tokens_key(model: TokenModel, *of_the_data: object) -> str:
    """Names tokens by all that decides them: the weights of `model`, and what is said of the data."""
    return short_hash(weights_hash(model), *of_the_data)


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of all tensors of `model` and their names, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _is_readable(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return "side" in (file.metadata() or {}) and {"codes", "positions", "labels"} <= set(file.keys())
    except (OSError, SafetensorError):
        return False


def _write(tokens: TokenSet, path: Path) -> None:
    pairs = tokens.pairs
    stored = {
        "codes": _narrow(pairs.codes),
        "positions": _narrow(pairs.positions),
        "labels": tokens.conditions.contiguous(),
    }
    with whole_file(path) as temporary:
        save_file(stored, temporary, metadata={"side": str(pairs.side)})


def _narrow(numbers: Tensor) -> Tensor:
    """`numbers` in 16 bits where they fit, else in 32: a million images then take one gigabyte, not four."""
    fits = int(numbers.max()) <= torch.iinfo(torch.int16).max
    return numbers.to(torch.int16 if fits else torch.int32).contiguous()
