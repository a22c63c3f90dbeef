"""How many processes work on images at a time within the memory that the user allows."""

from __future__ import annotations

from dataclasses import dataclass

from webbalign.core.errors import OptionError

__all__ = ["STARS", "ImageMemory"]


@dataclass(frozen=True)
class ImageMemory:
    """What work on images takes, in bytes resident.

    Attributes
    ----------
    alone : float
        One process that does everything.
    shared : float
        With worker processes: the one that hands out the work, and the one that starts them.
    each : float
        One worker, with the image that it works on.
    per_image : float
        What is kept of every image until the end (stars, header).
    """

    alone: float
    shared: float
    each: float
    per_image: float

    def workers(self, memory: int, images: int, most: int, least: int = 1) -> int:
        """Return how many images may be worked on at a time; 1: in one process alone.

        Parameters
        ----------
        memory : int
            Bytes that all processes together may have resident.
        images : int
            How many there are.
        most : int
            Not more than these.
        least : int
            0: one worker means a process of its own.

        Raises
        ------
        OptionError
            If not even one image fits.
        """
        kept = images * self.per_image
        fitting = int(max(0.0, memory - self.shared - kept) // self.each)
        needed = kept + (self.alone if least else self.shared + self.each)
        if memory < needed:
            raise OptionError(
                f"option 'memory' is {memory / 1e6:.0f} MB, too little for {images} images - "
                f"give at least {needed / 1e6:.0f} MB"
            )
        return max(1, min(fitting, most))


# Finding stars and correcting images, measured with images of 2048 x 2048 pixels: 291 MB alone;
# 157 + 170 + 13 MB and 264 MB for each worker; 6 to 8 MB more for some 20 images more.
STARS = ImageMemory(alone=330e6, shared=360e6, each=270e6, per_image=0.4e6)
