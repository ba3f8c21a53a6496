"""The command `qlot train`. What it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

EPILOG = """**Examples**

`qlot train nano --data ../shared/data --rendered runs --out runs/nano` trains the shipped recipe; again resumes it.

`qlot train my-recipe.toml --data DATA --out runs/mine --steps 2000` is a shorter run.

`torchrun --nproc-per-node 4 --no-python qlot train my-recipe.toml --data DATA --out RUN --precision bf16-mixed` uses
four GPUs; the recipe's `micro` must be a multiple of four.
"""


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A shipped recipe by name, or a TOML file.", show_default=False)
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="FOLDER", help="Folder with the training material.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="The run's folder; a run found there goes on.")
    ],
    rendered: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of the recipe's rendered faces (`python -m qlot.training.data.synthetic.cache --help`).",
            show_default="--data",
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Replace the recipe's number of steps.")] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that decode, warp and augment; 0: the training's own.")
    ] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of PyTorch.", show_default="all cores")] = None,
    precision: Annotated[str, typer.Option(help="Of the arithmetic: 32-true, bf16-mixed or 16-mixed.")] = "32-true",
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    validate: Annotated[bool, typer.Option(help="Measure on faces/faces_val of the data folder now and then.")] = True,
) -> None:
    """Train a network from a recipe, or go on where a run was stopped.

    The folder gets `state.pt` to resume from, `weights.safetensors` (moving average of the weights) for export and
    evaluation, `log.jsonl` and `curves.png`. SIGTERM and Ctrl-C save before they end the run, with exit
    code 143 or 130.
    """
    import os

    import torch

    from qlot.runtime.stopping import exit_code
    from qlot.training.fit.loop import Run
    from qlot.training.fit.progress import bar
    from qlot.training.fit.recipe import load_recipe
    from qlot.training.fit.sources import open_sources
    from qlot.training.fit.validate import Validation

    if threads is not None:
        torch.set_num_threads(threads)
    read = load_recipe(recipe, steps=steps)
    sources = open_sources(read.material, data, rendered)
    check = Validation(data, read.config().image_size) if validate else None
    console = Console(quiet=os.environ.get("RANK", "0") != "0")  # one of the processes of torchrun speaks
    for source, share in sources:
        console.print(f"{share:5.2f}  {source.name}: {len(source)}", highlight=False, markup=False)
    with bar(console, read.steps) as report:
        run = Run(read, sources, out, check, workers, precision, accelerator, report)
        weights = run()
    console.print(f"weights: {weights}", highlight=False, markup=False, soft_wrap=True)
    if run.stopped_by:
        said = f"stopped at step {run.step} of {read.steps}: the same command goes on from there"
        console.print(said, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(exit_code(run.stopped_by))


def commands(app: typer.Typer) -> None:
    """Register `train`."""
    app.command(epilog=EPILOG)(train)
