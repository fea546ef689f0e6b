"""Classification networks that E_loc is distilled from, and SPADE's backbones."""
