"""All commands, in the order of the help.

Nothing is imported here that a list of the commands does not need; the declarations of the
options are imported when a command's help or its command line is read, everything else when it
is run.
"""

from __future__ import annotations

from webbalign.cli.adjust_commands import ADJUST_COMMANDS
from webbalign.cli.command import Command, terminal_flags
from webbalign.cli.coron_commands import CORON_COMMANDS
from webbalign.cli.file_commands import FILE_COMMANDS
from webbalign.cli.report_commands import REPORT_COMMANDS
from webbalign.cli.star_commands import STAR_COMMANDS
from webbalign.cli.status_commands import STATUS_COMMANDS
from webbalign.cli.step_entries import CORON3_STEPS, STEPS, StepEntry

__all__ = ["COMMANDS", "CORON3_STEPS", "STEPS", "Command", "StepEntry", "terminal_flags"]

COMMANDS = {
    command.name: command
    for group in (
        CORON_COMMANDS,
        STAR_COMMANDS,
        ADJUST_COMMANDS,
        STATUS_COMMANDS,
        REPORT_COMMANDS,
        FILE_COMMANDS,
    )
    for command in group
}
