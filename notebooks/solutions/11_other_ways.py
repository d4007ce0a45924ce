"""Solutions of notebook 11. Each cell answers the exercise that its head names."""


# %% exercise-1
def index_of(steps: torch.Tensor, levels: list[int]) -> torch.Tensor:
    """Numbers (M,) of the tuples `steps` (M, d): entry i has levels[i] steps, the first runs fastest."""
    worth = torch.tensor([1, *levels[:-1]]).cumprod(dim=0)  # (d,)
    return (steps * worth).sum(dim=1)


def steps_of(index: torch.Tensor, levels: list[int]) -> torch.Tensor:
    """The tuples (M, d) that have the numbers `index` (M,)."""
    worth = torch.tensor([1, *levels[:-1]]).cumprod(dim=0)  # (d,)
    return index.unsqueeze(1) // worth % torch.tensor(levels)


# %% exercise-2
def dual_grain_bits(fine: int, n_blocks: int, codebook_size: int) -> float:
    """Bits of an image with `fine` of `n_blocks` blocks of 2 x 2 regions fine, codes and choice of blocks."""
    n_codes = n_blocks + 3 * fine
    return n_codes * math.log2(codebook_size) + math.log2(math.comb(n_blocks, fine))


# 16 log2 256 + log2 C(64, 16) = 176.8 bits, less log2 C(16, 6) = 13.0, over 34 codes: 4.82 bits each.
equal_codebook = 28


# %% exercise-3
def places_fixed(n_places: int, n_steps: int) -> list[int]:
    """How many of `n_places` hidden places are fixed in step 1, 2, ..., `n_steps`."""
    hidden = [n_places]
    for step in range(1, n_steps):
        hidden.append(max(1, int(n_places * math.cos(math.pi * step / (2 * n_steps)))))
    hidden.append(0)
    return [hidden[i] - hidden[i + 1] for i in range(n_steps)]


# %% exercise-4
def keep_exactly(log_odds: torch.Tensor, uniform: torch.Tensor, n: int) -> torch.Tensor:
    """Which places (B, L) bool are kept: `n` of each image, by `log_odds` (B, L) and `uniform` (B, L)."""
    noisy = log_odds - (-uniform.log()).log()
    best = noisy.topk(n, dim=1).indices
    return torch.zeros_like(log_odds, dtype=torch.bool).scatter(1, best, True)


# %% exercise-5
def bits_of_view(nats: torch.Tensor, is_hidden: torch.Tensor) -> torch.Tensor:
    """Estimated bits (B,) of each image, from nats (B, L) of its hidden places, is_hidden (B, L) bool."""
    n_hidden = is_hidden.sum(dim=1)
    return nats.shape[1] / n_hidden * (nats * is_hidden).sum(dim=1) / math.log(2)
