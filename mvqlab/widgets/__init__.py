"""Widgets for JupyterLab and as a page of its own (`mvqlab explore`): the method, to be moved by hand.

MaskExplorer()        move the mask ratio, see what is kept and what comes back
GenerationPlayer()    watch Stackformer draw, pair by pair, the raster transformer beside it
CodebookAtlas()       the codes of plain VQ and of MQ-VAE, and what each stands for
"""

from mvqlab.widgets.codebook_atlas import CodebookAtlas
from mvqlab.widgets.generation_player import GenerationPlayer
from mvqlab.widgets.mask_explorer import MaskExplorer

__all__ = ["CodebookAtlas", "GenerationPlayer", "MaskExplorer"]
