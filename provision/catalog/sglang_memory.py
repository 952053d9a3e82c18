"""How SGLang works out ``mem_fraction_static`` and its token pool, by version (``reserve`` rows of ``engines.toml``).

The fraction is of what ``nvidia-smi`` prints, but is applied to the memory that was free before the weights were loaded:
pool = free after loading - free before loading x (1 - fraction); tokens = pool // bytes of a token.
"""

from __future__ import annotations

from provision.catalog.engine_memory import EngineMemory

MIB_OF_GIB = 1024


def static_fraction(
    engine: EngineMemory,
    gpu_mib: int,
    *,
    tp: int = 1,
    pp: int = 1,
    prefill_tokens: int | None = None,
    graph_seqs: int | None = None,
    latent: bool = False,
    speculative: bool = False,
) -> float:
    """``mem_fraction_static`` as this release sets it when it is not given.

    ``gpu_mib``: memory as ``nvidia-smi`` prints it. ``prefill_tokens`` and ``graph_seqs``: chunked_prefill_size and
    cuda_graph_max_bs where they are given. Without what models with vision, DP attention and graphs of the prefill
    other than latent attention's add. ``speculative``: EAGLE or MTP; from 0.5.14 on nothing is left for the draft, whose
    weights the pool, sized after loading, pays anyway.
    """
    row = engine.reserve(gpu_mib)
    gpus = tp * pp
    if row.kind.startswith("table"):
        eight = 0.83 if row.kind == "table-83" else 0.81
        return next(
            share for least, share in ((16, 0.79), (8, eight), (4, 0.85), (2, 0.87), (0, 0.88)) if gpus >= least
        )
    if row.kind == "flat-88":
        return 0.88
    if row.kind == "flat-79":
        return 0.79
    if row.kind == "least-18":
        left = row.base_mib + (row.speculative_mib if speculative else 0)
        return min(0.88 + 48 * MIB_OF_GIB * (1 - 0.88) / gpu_mib, (gpu_mib - left) / gpu_mib)
    left = row.base_mib + row.parallel_mib * gpus
    if row.kind == "formula":
        seqs = graph_seqs or (row.graph_seqs if tp < 4 else row.graph_seqs_tp4)
        left += max(prefill_tokens or row.prefill_tokens, 2048) * 1.5 + seqs * 2
        left += row.mla_graph_mib if latent else 0
        left = max(left, 10 * MIB_OF_GIB) if gpu_mib > 60 * MIB_OF_GIB else left
    left += row.speculative_mib if speculative else 0
    return round((gpu_mib - left) / gpu_mib, 3)
