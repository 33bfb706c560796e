"""Colours of all pictures: the palette of Okabe and Ito, which colour-blind readers can tell apart."""

__all__ = ["BLUE", "GREEN", "ORANGE", "PALETTE", "PINK", "SKY", "VERMILION"]

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION)
"""Colours in the order in which the lines of a panel use them."""
