"""Arrays in, arrays and frozen dataclasses out: the algorithms, which know no files."""
