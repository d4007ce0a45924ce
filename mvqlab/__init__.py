"""MQ-VAE and Stackformer: masked vector quantisation of images, taught, trained and measured.

Importing the package is quick: torch and what stands on it are loaded by the modules that need them.
"""

from typing import Any

from mvqlab.support.torchvision_guard import guard_torchvision

__version__ = "0.1.0"

guard_torchvision()


def __getattr__(name: str) -> Any:
    """`mvqlab.sample`, whose module is imported when it is first asked for."""
    if name == "sample":
        from mvqlab.zoo.by_name import sample

        return sample
    raise AttributeError(f"module 'mvqlab' has no attribute '{name}'")
