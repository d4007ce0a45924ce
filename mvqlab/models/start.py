"""What stands before the pairs of a sequence: the start pair, alone, made of a class, or after a caption.

    nothing     (sos, L)                        (k_1, p_1)  (k_2, p_2) ...
    a class     (class y, L)                    (k_1, p_1)  (k_2, p_2) ...
    a caption   c_1 c_2 ... c_T  (sos, L)       (k_1, p_1)  (k_2, p_2) ...

Conditions have tables of their own, outside the codes, so that none can be sampled as a code. One value of
each stands for "not told", the null condition: trained on now and then, it is what guidance leads away from.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

PAD, BEGIN = 0, 1  # ids of a caption's tokens; a tokenizer's own come after them
N_RESERVED = 2


class Start(nn.Module):
    """Unconditional: every sequence starts with the same pair. Subclasses take `conditions`."""

    n_prefix = 0  # places before the start pair

    def forward(
        self, start: Float[Tensor, " width"], n_images: int, conditions: Int[Tensor, "B ..."] | None
    ) -> Float[Tensor, "B T width"]:
        """What every image's sequence starts with, (B, n_prefix + 1, width).

        start (width): the embedding of the start code. Raises ValueError if `conditions` do not fit.
        """
        if conditions is not None:
            raise ValueError("this model is unconditional: it takes no classes and no captions")
        return start.expand(n_images, 1, -1)  # (B, 1, width)

    def padding_mask(self, conditions: Int[Tensor, "B ..."] | None) -> Bool[Tensor, "B T"] | None:
        """(B, n_prefix): True where a place before the start pair is real, and may be attended to.

        None where no place is padding.
        """
        return None

    def null(self, n_images: int, device: torch.device | None = None) -> Int[Tensor, "B ..."]:
        """The conditions that tell nothing, one an image. Raises ValueError if the model was taught none."""
        raise ValueError("this model is unconditional: there is nothing to guide it by")

    def withhold(self, conditions: Int[Tensor, "B ..."], share: float) -> Int[Tensor, "B ..."]:
        """`conditions` with a random `share` of the images told nothing."""
        if share == 0.0:
            return conditions
        has_condition = torch.rand(len(conditions), device=conditions.device) >= share  # (B,)
        shape = (-1, *[1] * (conditions.ndim - 1))  # (B,) of classes, (B, 1) of captions
        null = self.null(len(conditions), conditions.device)
        return torch.where(has_condition.view(shape), conditions, null)  # as `conditions`: (B,) or (B, T)


class ClassStart(Start):
    """A class (B,) takes the start code's place."""

    def __init__(self, n_classes: int, width: int, has_null: bool) -> None:
        super().__init__()
        self.n_classes, self.has_null = n_classes, has_null
        self.classes = nn.Embedding(n_classes + has_null, width)

    def forward(
        self, start: Float[Tensor, " width"], n_images: int, conditions: Int[Tensor, "B ..."] | None
    ) -> Float[Tensor, "B T width"]:
        """As in `Start`, with the class's embedding in the place of `start`: (B, 1, width)."""
        if conditions is None:
            raise ValueError("this model is class-conditional: give `conditions`, one class an image")
        _require(n_images, conditions)
        of_class = self.classes(conditions.to(self.classes.weight.device))  # (B,) -> (B, width)
        return of_class.unsqueeze(1)  # (B, 1, width)

    def null(self, n_images: int, device: torch.device | None = None) -> Int[Tensor, "B ..."]:
        """As in `Start`: the number after the last class, once an image."""
        if not self.has_null:
            raise ValueError(
                "this model never saw an image without its class (transformer.condition_dropout was 0), so "
                "guidance has nothing to lead away from"
            )
        return torch.full((n_images,), self.n_classes, device=device)


class CaptionStart(Start):
    """The tokens of a caption (B, T), padded to the right; nobody attends to the padding."""

    def __init__(self, vocabulary_size: int, length: int, width: int) -> None:
        super().__init__()
        self.n_prefix = length
        self.tokens = nn.Embedding(vocabulary_size + N_RESERVED, width)
        self.places = nn.Parameter(torch.zeros(length, width))

    def forward(
        self, start: Float[Tensor, " width"], n_images: int, conditions: Int[Tensor, "B ..."] | None
    ) -> Float[Tensor, "B T width"]:
        """As in `Start`: the T tokens of each caption, then `start`; without captions, empty ones."""
        if conditions is None:
            conditions = self.null(n_images)
        _require(n_images, conditions)
        if conditions.ndim != 2 or conditions.shape[1] != self.n_prefix:
            raise ValueError(
                f"captions must be tokens (B, {self.n_prefix}) as CaptionTokenizer.encode gives them, not "
                f"{tuple(conditions.shape)}"
            )
        caption = self.tokens(conditions.to(self.places.device)) + self.places  # (B, T, width)
        return torch.cat([caption, start.expand(n_images, 1, -1)], dim=1)  # (B, T + 1, width)

    def padding_mask(self, conditions: Int[Tensor, "B ..."] | None) -> Bool[Tensor, "B T"] | None:
        """As in `Start`: True at a caption's tokens, False at the padding behind them.

        Without captions (1, n_prefix), of the empty one that all images have.
        """
        device = self.places.device
        return (self.null(1, device) if conditions is None else conditions.to(device)) != PAD

    def null(self, n_images: int, device: torch.device | None = None) -> Int[Tensor, "B ..."]:
        """As in `Start`: an empty caption, BEGIN and then padding, once an image."""
        empty = torch.full((n_images, self.n_prefix), PAD, device=device)
        empty[:, 0] = BEGIN
        return empty


def build_start(
    width: int,
    *,
    n_classes: int = 0,
    vocabulary_size: int = 0,
    caption_length: int = 0,
    has_null: bool = False,
) -> Start:
    """The start for `n_classes` classes, for captions over `vocabulary_size` tokens, or for neither."""
    if n_classes:
        return ClassStart(n_classes, width, has_null)
    if vocabulary_size:
        return CaptionStart(vocabulary_size, caption_length, width)
    return Start()


def _require(n_images: int, conditions: Int[Tensor, "B ..."]) -> None:
    if len(conditions) != n_images:
        raise ValueError(f"{n_images} images need {n_images} conditions, got {len(conditions)}")
