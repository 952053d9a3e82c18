"""The quantised model is right, is really quantised, and takes the memory that was promised."""

from __future__ import annotations

from .. import resident, sums
from ..promise import PRECISIONS
from ..proof import Promise, Verdict, proof
from ..session import Session

CUDA_ALLOCATION_BYTES = 512  # torch's CUDA allocator rounds every tensor up to a multiple of this
# On a CPU with AVX512-BF16 bitsandbytes 0.50 packs NF4 again and keeps its scales in 16 bits: 1/32 byte of 9/16 a number.
LESS_THAN_PROMISED = 0.10


@proof("MEM-P1", "gpu_memory")
def sums_right(session: Session, promised: Promise) -> Verdict:
    """The model adds correctly in every precision.

    ## What it proves
    The bundled model answers three-digit sums that were held out of its training, in float32, in 8 bit (LLM.int8) and
    in 4 bit (NF4). Truth is arithmetic: no recorded output is compared. Weights, tokenizer, kernels and quantisation
    must all work for the answers to be right.

    ## When it fails
    Wrong in every precision: the weights or the tokenizer are damaged; copy the model folder again. Wrong in 8 or
    4 bit only: the bitsandbytes kernels of this machine; compare its version with the lock, and the CPU's flags.
    """
    pairs = sums.held_out_sums(int(promised["sums"]))
    measured: dict[str, float] = {"sums": len(pairs)}
    failures = []
    for precision in PRECISIONS:
        right = session.right(session.decode(session.loaded(precision).model, pairs), pairs)
        measured[precision] = right / len(pairs)
        if measured[precision] < promised[precision]:
            failures.append(
                f"{precision}: {right} of {len(pairs)} sums right ({measured[precision]:.4f}), "
                f"promised {promised[precision]}"
            )
    return Verdict(measured=measured, failures=tuple(failures))


@proof("MEM-P2", "gpu_memory")
def really_quantised(session: Session, promised: Promise) -> Verdict:
    """The weights are really stored in 8 and 4 bit, every routed expert included.

    ## What it proves
    Counted from the loaded tensors' types and storage: the share of parameters outside embeddings and norms that is
    stored in 8 bit, or in 4 bit NF4, with its scales; and the routed experts of which any matrix is not.

    ## When it fails
    Experts left out: the library keeps them as one three-dimensional parameter, which bitsandbytes passes over; the
    payload must load them unfused (`smoke/unfused.py`). A low share otherwise: a layer is on a skip list.
    """
    measured: dict[str, object] = {}
    failures = []
    for precision in resident.QUANTISED_BITS:
        found = resident.quantised(session.loaded(precision).model, precision)
        measured[precision] = {
            "share": round(found.share, 4),
            "experts": found.experts,
            "experts_left_out": found.experts_left_out,
        }
        if found.experts_left_out:
            failures.append(f"{precision}: {found.experts_left_out} of {found.experts} routed experts not quantised")
        if found.share < promised["share"]:
            failures.append(f"{precision}: {found.share:.4f} of the parameters quantised, promised {promised['share']}")
    return Verdict(measured=measured, failures=tuple(failures))


@proof("MEM-P3", "gpu_memory")
def memory_as_promised(session: Session, promised: Promise) -> Verdict:
    """The weights take the memory that the plan computed.

    ## What it proves
    The plan computes the bytes of the weights per precision from the model's files (`smoke/promise.py`). Here the
    distinct storages behind the loaded model are added up, quantisation state included; on a GPU the growth of
    torch's allocations is held to the same promise, 512 bytes of rounding for each storage apart.

    ## When it fails
    More than promised: something stayed in a wider type, or a copy is kept. Less: weights are missing, or stored
    narrower than the precision says.
    """
    tolerance = promised["tolerance"]
    measured: dict[str, int] = {}
    failures = []
    for precision in PRECISIONS:
        loaded = session.loaded(precision)
        found = resident.storages(loaded.model)
        expected = promised[precision]
        measured[precision] = sum(found.values())
        if not expected * (1 - LESS_THAN_PROMISED) <= measured[precision] <= expected * (1 + tolerance):
            failures.append(f"{precision}: {measured[precision]} bytes, promised {expected} within {tolerance:.0%}")
        if loaded.cuda_bytes is not None:
            measured[f"{precision}_cuda_allocated"] = loaded.cuda_bytes
            if loaded.cuda_bytes > expected * (1 + tolerance) + CUDA_ALLOCATION_BYTES * len(found):
                failures.append(f"{precision}: {loaded.cuda_bytes} bytes allocated on the GPU, promised {expected}")
    return Verdict(measured=measured, failures=tuple(failures))
