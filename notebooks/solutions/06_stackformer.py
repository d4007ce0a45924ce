"""Solutions of notebook 6. Each cell answers the exercise that its head names."""


# %% exercise-1
def read_sequence(codes: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and positions that are read, each (B, N), for the pairs (B, N) to predict: start pair first."""
    return F.pad(codes[:, :-1], (1, 0), value=K), F.pad(positions[:, :-1], (1, 0), value=L)


# %% exercise-2
chance_code = math.log(K)
chance_position = math.log(L)
rules_position = math.log(math.comb(L, N)) / N


# %% exercise-3
def bits_per_image(code_loss: float, position_loss: float, n_pairs: int) -> float:
    """Bits for the `n_pairs` pairs of an image, given mean losses in nats a pair."""
    return n_pairs * (code_loss + position_loss) / math.log(2)


# %% exercise-4
def may_go(last: int, n_drawn: int, n_pairs: int, n_places: int) -> torch.Tensor:
    """(n_places,) bool: where pair number `n_drawn` (from 0) may go; `last` is -1 before the first."""
    places = torch.arange(n_places)
    still_to_come = n_pairs - n_drawn - 1
    return (places > last) & (places < n_places - still_to_come)


# %% exercise-5
def nucleus(probabilities: torch.Tensor, p: float) -> torch.Tensor:
    """The law (n,) that top-p makes of `probabilities` (n,)."""
    falling, indices = probabilities.sort(descending=True)
    before = falling.cumsum(dim=0) - falling
    kept = torch.where(before < p, falling, 0.0)
    return torch.zeros_like(probabilities).scatter(0, indices, kept / kept.sum())
