"""Solutions of notebook 4. Each cell answers the exercise that its head names."""


# %% exercise-1
def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, trust: torch.Tensor) -> torch.Tensor:
    """softmax(QK^T / sqrt(d)) with key columns times `trust` (B, L), times V; all else (B, 1, L, d)."""
    return F.scaled_dot_product_attention(query, key, value * trust[:, None, :, None])


# %% exercise-2
row_sum_if_uniform = (N + 0.02 * (L - N)) / L  # 0.265 with a quarter of the places kept


# %% exercise-3
def update(trust: torch.Tensor) -> torch.Tensor:
    """The trust (B, L) of the next layer."""
    return trust.sqrt()


def trust_in_layer(n: int, at_first: float = 0.02) -> float:
    """The trust in a dropped place in layer n = 1, 2, ..., in closed form."""
    return at_first ** (1.0 / 2 ** (n - 1))


# %% exercise-4
# 0.02^(1/2^(n-1)) > 1/2, so 2^(n-1) > log(0.02) / log(0.5) = 5.6: three updates, layer 4.
first_layer_above_half = 4


# %% exercise-5
def bias_of(trust: torch.Tensor) -> torch.Tensor:
    """What is added to the logits (B, L, L), as (B, 1, L), so that the softmax gives A'."""
    return trust.log().unsqueeze(1)


# %% exercise-6
# (1 + B) / 2 > 0.95 needs B > 0.9, so 2^(n-1) > log(0.02) / log(0.9) = 37.1: six updates, layer 7.
layer_above_95 = 7
