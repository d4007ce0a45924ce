"""MQ-VAE and Stackformer: masked vector quantisation of images, taught, trained and measured.

Importing the package is quick: torch and what stands on it are loaded by the modules that need them.
"""

from mvqlab.torchvision_guard import guard_torchvision

__version__ = "0.1.0"

guard_torchvision()
