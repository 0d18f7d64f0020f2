"""The headless command line: `python -m hunyuan_av foley ...`."""

import argparse
import sys
from collections.abc import Sequence

from . import avatar_command, batch_command, desync_command, foley_command
from .mistakes import MISTAKES, sentence

INTERRUPTED = 130  # the shell's exit status for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. What goes wrong is one sentence on standard error and an exit status that is not 0."""
    parser = argparse.ArgumentParser(
        prog="hunyuan_av", description="Sound for silent video, and talking portraits, without ComfyUI."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    foley_command.add_parser(commands)
    avatar_command.add_parser(commands)
    batch_command.add_parser(commands)
    desync_command.add_parser(commands)

    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("\nCancelled. Nothing half-made was left behind.", file=sys.stderr)
        return INTERRUPTED
    except MISTAKES as error:
        print(f"Error: {sentence(error)}", file=sys.stderr)
        return 1
    return 0
