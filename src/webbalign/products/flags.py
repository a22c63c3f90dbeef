"""Names and numbers of the JWST data-quality bits."""

from __future__ import annotations

from webbalign.core.errors import OptionError

__all__ = ["bad_from_good_bits", "interpret_bits"]


def interpret_bits(flags: str | int | None, option: str = "bad_bits") -> int:
    """Return the sum of the DQ bits that a user has named.

    Parameters
    ----------
    flags : str, int or None
        Names and numbers joined by commas, plus or bar signs; a leading ``~`` means all others.
        ``""`` and ``None`` (also the word) mean no bit.
    option : str
        Name of the option, for the message.

    Raises
    ------
    OptionError
        If a name is unknown or a number is no sum of bits.

    Examples
    --------
    >>> interpret_bits("OUTLIER, SATURATED")
    18
    >>> interpret_bits("")
    0
    """
    from astropy.nddata.bitmask import InvalidBitFlag, interpret_bit_flags
    from stdatamodels.jwst.datamodels.dqflags import pixel

    if flags is None or str(flags).strip().lower() in ("", "none"):
        return 0
    try:
        bits = interpret_bit_flags(flags, flag_name_map=pixel)
    except (InvalidBitFlag, KeyError, ValueError, TypeError, AttributeError) as error:
        raise OptionError(
            f"option {option!r} is {flags!r}: {error} - give names such as DO_NOT_USE, OUTLIER "
            "or their numbers, joined by commas"
        ) from None
    # "~" gives a negative number: all bits but these
    return 0 if bits is None else int(bits) & 0xFFFFFFFF


def bad_from_good_bits(good_bits: str | int | None, option: str = "good_bits") -> int:
    """Return the bits that spoil a pixel, given those that do not.

    ``None`` and ``""`` mean what they mean to the peers: None ignores all flags, the empty string
    and 0 let every flag spoil.

    >>> bad_from_good_bits("~DO_NOT_USE")
    1
    """
    if good_bits is None or str(good_bits).strip().lower() == "none":
        return 0
    return ~interpret_bits(good_bits, option) & 0xFFFFFFFF
