"""Draw the loss curve of a LoRA's training, training and validation, from the history that train_lora.py wrote."""

import argparse
from pathlib import Path

from relane import cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--history", type=Path, required=True, help="loss_history.json")
    options.add_argument("--output", type=Path, required=True, help="PNG to write")
    return options


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(argv)
    from relane.io.files import read_json
    from relane.training.lora.curve import draw_loss

    history = read_json(args.history)
    draw_loss(args.output, history["training"], history["validation"])


if __name__ == "__main__":
    cli.run(main)
