"""Solutions of notebook 7. Each cell answers the exercise that its head names."""


# %% exercise-1
def block_parameters(width: int) -> int:
    """Parameters of one block: 2 LayerNorms, attention, and an MLP of four times the width."""
    norms = 2 * (2 * width)
    attention = 4 * (width * width + width)
    mlp = (width * 4 * width + 4 * width) + (4 * width * width + width)
    return norms + attention + mlp  # 12 w^2 + 13 w


# %% exercise-2
# 15 bits for K = 512 and L = 64.
bits_of_one_region = math.log2(K) + math.log2(L)


# %% exercise-3
def precision(real: torch.Tensor, radii: torch.Tensor, drawn: torch.Tensor) -> float:
    """Share of `drawn` (m, F) that lies in the ball of at least one of `real` (n, F), `radii` (n,)."""
    is_inside = torch.cdist(drawn, real) <= radii  # (m, n)
    return float(is_inside.any(dim=1).double().mean())


# %% exercise-4
blocks = config.transformer.code_layers + config.transformer.position_layers
calls_stackformer = N * blocks
calls_raster = L * blocks


# %% exercise-5
def is_worth_having(speed: list[float], fid: list[float]) -> list[bool]:
    """For each model, whether no other beats it: higher `speed` and lower `fid` are better."""
    models = list(zip(speed, fid, strict=True))

    def beats(other: tuple[float, float], one: tuple[float, float]) -> bool:
        return other[0] >= one[0] and other[1] <= one[1] and other != one

    return [not any(beats(other, one) for other in models) for one in models]
