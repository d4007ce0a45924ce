"""MQ-VAE and Stackformer: masked vector quantisation of images, taught, trained and measured.

Importing the package is quick: torch and what stands on it are loaded by the modules that need them.
"""

__version__ = "0.1.0"
