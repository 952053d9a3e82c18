"""``provision fit``: the command that looks forward. Its work is imported inside it (the start-up budget)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.option("--model", required=True, metavar="DIR|NAME", help="A model's folder, a GGUF file, or a published name.")
@click.option("--gpu", metavar="NAME", help='A card, for example "RTX 4090"; this machine\'s if left out.')
@click.option(
    "--gpu-memory-gib", type=float, metavar="GIB", help="The card's memory as CUDA reports it, instead of a name."
)
@click.option("--gpus", type=click.IntRange(1, 4096), help="How many of them.")
@click.option("--facts", "facts_path", metavar="FILE", help="The cards of this snapshot (- for standard input).")
@click.option("--tp", type=click.IntRange(1, 1024), help="Tensor parallel; all cards if left out.")
@click.option("--pp", type=click.IntRange(1, 256), default=1, show_default=True, help="Pipeline parallel.")
@click.option("--dp", type=click.IntRange(1, 1024), default=1, show_default=True, help="Data parallel.")
@click.option("--ep", is_flag=True, help="Experts whole on one card each (expert parallel).")
@click.option("--dtype", metavar="TYPE", help="Of unquantised weights: auto, bfloat16, float16 or float32.")
@click.option(
    "--quantization",
    metavar="METHOD",
    help="fp8, awq, gptq-int4, int4, nvfp4, bnb-nf4, gguf-q4_k_m …; the model's own if left out.",
)
@click.option(
    "--kv-cache-dtype", "kv_dtype", default="auto", show_default=True, metavar="TYPE", help="auto, bfloat16 or fp8."
)
@click.option(
    "--gpu-memory-utilization",
    "utilization",
    type=click.FloatRange(0.01, 1),
    metavar="SHARE",
    help="The engine's default if left out.",
)
@click.option(
    "--max-model-len",
    "length",
    type=click.IntRange(1, 100_000_000),
    metavar="TOKENS",
    help="The context each request may have.",
)
@click.option("--max-num-seqs", "seqs", type=click.IntRange(1, 65536), metavar="N", help="Requests at once, at most.")
@click.option(
    "--max-num-batched-tokens",
    "batched",
    type=click.IntRange(1, 1 << 24),
    metavar="TOKENS",
    help="Tokens of one step, at most.",
)
@click.option(
    "--users", type=click.IntRange(1, 1_000_000), metavar="N", help="Requests of that context that must fit at once."
)
@click.option(
    "--draft-tokens",
    "drafts",
    type=click.IntRange(0, 64),
    default=0,
    metavar="N",
    help="Tokens that the model's own draft layers guess ahead (MTP).",
)
@click.option("--enforce-eager", "eager", is_flag=True, help="Without CUDA graphs.")
@click.option("--activation-gib", type=click.FloatRange(0), metavar="GIB", help="Measured, instead of the estimate.")
@click.option("--non-torch-gib", type=click.FloatRange(0), metavar="GIB", help="Measured, instead of the estimate.")
@click.option(
    "--engine", default="vllm", show_default=True, metavar="NAME[==VERSION]", help="vllm, sglang or transformers."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")
@click.option(
    "--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with the picture there, too."
)
@click.pass_context
def fit(ctx: click.Context, /, facts_path: str | None, as_json: bool, page: Path | None, **given: Any) -> None:
    """Whether a model fits on some cards. With how much context, for how many users, and what would fit.

    Needs no network and no GPU. Exit code 0: it fits; 1: it does not; 2: a model or card that is not known.

    Example:  provision fit --model R1-Distill-Qwen-32B --gpu "RTX 4090" --gpus 2 --users 8
    """
    from provision.fit import command
    from provision.report import fit as report
    from provision.report import out

    here = None
    if given["gpu"] is None and given["gpu_memory_gib"] is None:
        from provision.fit import cards

        here = cards.here(facts_path)
    found = command.run(here=here, **given)
    if page:
        from provision.report import html

        out.emit(html.fit(found), page)
    out.emit(report.as_json(found) if as_json else report.text(found, out.style()))
    ctx.exit(0 if found.fits else 1)
