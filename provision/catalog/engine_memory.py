"""What vLLM and SGLang do by version when they share out a GPU's memory (``engines.toml``).

Sizes are bytes unless a name says otherwise. vLLM: cache = total x utilisation - non_kv - graphs, where total is what
CUDA reports. SGLang: see ``sglang_memory``. Neither loads a multi-token-prediction layer unless speculative decoding
asks for it.
"""

from __future__ import annotations

import functools
from typing import Literal, Protocol, TypeVar

from provision.catalog import tables
from provision.catalog.version import numbers, older
from provision.record import record


class _Row(Protocol):
    @property
    def engine(self) -> str: ...
    @property
    def first(self) -> str: ...


R = TypeVar("R", bound=_Row)


@record
class Utilisation:
    """The share of a card that vLLM takes when nothing is said."""

    engine: str
    first: str
    fraction: float
    source: str
    date: str


@record
class Batch:
    """Tokens of one step and sequences at once, for cards of ``from_bytes`` and more. 0 tokens: see ``tokens``."""

    engine: str
    first: str
    from_bytes: int
    cards: tuple[str, ...]
    not_cards: tuple[str, ...]
    served_tokens: int  # behind the API server
    offline_tokens: int  # in the LLM class
    seqs: int
    source: str
    date: str

    def fits(self, device_bytes: int, name: str) -> bool:
        words = name.lower()
        named = not self.cards or any(card in words for card in self.cards)
        return named and device_bytes >= self.from_bytes and not any(card in words for card in self.not_cards)

    def tokens(self, context: int, *, served: bool = True) -> int:
        """``max_num_batched_tokens``: with V0 the whole context, at least 2048."""
        return (self.served_tokens if served else self.offline_tokens) or max(context, 2048)


@record
class Graphs:
    """Which batch sizes CUDA graphs are captured for."""

    engine: str
    first: str
    per_seq: int  # 0: whatever the number of sequences
    per_draft: bool  # times the tokens of a speculative step
    step: int  # between sizes from 256 on
    cap: int
    cap_blackwell: int  # on data-centre Blackwell
    source: str
    date: str

    def sizes(self, seqs: int, *, step_tokens: int = 1, blackwell: bool = False) -> tuple[int, ...]:
        """The sizes, ascending. ``step_tokens``: 1 plus the speculative tokens of a step."""
        top = self.cap_blackwell if blackwell else self.cap
        if self.per_seq:
            top = min(top, seqs * self.per_seq * (step_tokens if self.per_draft else 1))
        return tuple(n for n in (1, 2, 4, *range(8, 256, 8), *range(256, top + 1, self.step)) if n <= top)


@record
class Rule:
    """A choice that has a word: ``topic`` is a field of ``EngineMemory``."""

    engine: str
    topic: str
    first: str
    rule: str
    source: str
    date: str


@record
class Reserve:
    """What SGLang leaves free of a card of ``from_mib`` (as ``nvidia-smi`` has it) and more, to work out its fraction."""

    engine: str
    first: str
    from_mib: int
    prefill_tokens: int  # chunked_prefill_size
    graph_seqs: int  # cuda_graph_max_bs below four-way tensor parallelism; 0: no default read
    graph_seqs_tp4: int  # and from four on
    kind: Literal["table-83", "table-81", "flat-88", "flat-79", "least-18", "tiers", "formula"]  # see sglang_memory.py
    base_mib: float
    parallel_mib: float  # more for each GPU of tp x pp
    speculative_mib: float  # more with EAGLE or MTP
    mla_graph_mib: float  # more for graphs of the prefill with latent attention
    source: str
    date: str


@record
class Layout:
    """A cache layout of fixed size: bytes of one state and layer. Not every token has one: V4 compresses 4 or 128."""

    engine: str
    name: str
    first: str
    state_bytes: int
    source: str
    date: str


@record
class Block:
    """Tokens of a vLLM block with an attention backend; an empty name: any other."""

    engine: str
    backend: str
    first: str
    tokens: int
    source: str
    date: str


@record
class EngineTables:
    """``engines.toml``."""

    utilisation: tuple[Utilisation, ...]
    batch: tuple[Batch, ...]
    graphs: tuple[Graphs, ...]
    rule: tuple[Rule, ...]
    reserve: tuple[Reserve, ...]
    layout: tuple[Layout, ...]
    block: tuple[Block, ...]


@record
class EngineMemory:
    """One release of one engine. None and empty: that engine has no such thing.

    ``graph_memory``: CUDA graphs are captured "after" the cache is sized and take what is left; "measured": their size
    is measured and reported, not subtracted; "before": subtracted, unless nothing is captured (``--enforce-eager``).
    ``token_count``, the line "GPU KV cache size": "blocks": blocks x block size; "groups": blocks // layer groups x
    block size; "concurrency": requests of full context that fit x that context; "pool" (SGLang): bytes of the pool //
    bytes of a token.
    ``sliding``: sliding-window and chunked layers keep the "full" context, or the "window" (and one step's tokens);
    "ratio" (SGLang): their pool has 0.8 of the full layers' tokens.
    ``mamba``, pages of state a request and layer, speculative tokens added: "none" 1; "align" 2; "all-or-align" one a
    block of the context where the model supports it, else 2. Without prefix caching 1 in every version. "ratio"
    (SGLang): the states get 0.9 of the memory that the token pool gets, 9/19 of what there is.
    ``non_kv``: "peak" = weights + torch's peak over them + memory that is not torch's; "consumed" = memory consumed
    since the start + torch's peak over what it still holds.
    ``sampling``: top-k and top-p "sort" all logits, or "mask" them where they are. ``kv_type``: a cache of type "auto" is
    the "model"'s, or what the "checkpoint" of modelopt was quantised for. ``nf4``: bitsandbytes' scales stay quantised
    ("nested"), or are made float32 while loading ("flat").
    """

    engine: str
    version: str  # as asked; empty: the newest
    utilisation: float | None
    batches: tuple[Batch, ...]
    graphs: Graphs | None
    graph_memory: str | None
    token_count: str | None
    sliding: str | None
    mamba: str | None
    non_kv: str | None
    sampling: str | None
    kv_type: str | None
    nf4: str | None
    reserves: tuple[Reserve, ...]
    layouts: tuple[Layout, ...]  # those that this release has
    blocks: tuple[Block, ...]

    def state_bytes(self, layout: str) -> int | None:
        """Bytes of one state and layer in this layout; None where the release lacks it."""
        return next((row.state_bytes for row in self.layouts if row.name == layout), None)

    def block_tokens(self, backend: str = "") -> int | None:
        """Tokens of a block with this attention backend; None for an engine without blocks (SGLang counts tokens)."""
        sizes = {row.backend: row.tokens for row in self.blocks}
        return sizes.get(backend, sizes.get(""))

    def batch(self, device_bytes: int, name: str) -> Batch:
        """vLLM's defaults for a card. Raises ``LookupError`` where the engine has no such table."""
        for tier in self.batches:
            if tier.fits(device_bytes, name):
                return tier
        raise LookupError(f"{self.engine} {self.version} has no batch sizes in engines.toml")

    def reserve(self, gpu_mib: int) -> Reserve:
        """SGLang's defaults for a card of ``gpu_mib``. Raises ``LookupError`` where the engine has no such table."""
        for tier in sorted(self.reserves, key=lambda row: row.from_mib, reverse=True):
            if gpu_mib >= tier.from_mib:
                return tier
        raise LookupError(f"{self.engine} {self.version} has no reserve in engines.toml")


@functools.cache
def engine_tables() -> EngineTables:
    return tables.read("engines.toml", EngineTables)


@functools.cache
def accounting(engine: str, version: str | None = None) -> EngineMemory:
    """How this release does it; None and builds without a release number ("0.1.dev19754+g3a09"): as the newest.

    A version between two rows takes the earlier, one before all rows the first. Raises ``LookupError`` for an engine
    that the table lacks.
    """
    known = engine_tables()
    if engine not in {row.engine for row in known.rule}:
        raise LookupError(f"{engine}: no memory accounting in engines.toml")
    if version is None or version.startswith("0.1.dev"):
        version = ""

    def words(topic: str) -> str | None:
        rows = _current(tuple(r for r in known.rule if r.topic == topic), engine, version)
        return rows[0].rule if rows else None

    utilisation = _current(known.utilisation, engine, version)
    graphs = _current(known.graphs, engine, version)
    return EngineMemory(
        engine=engine,
        version=version,
        utilisation=utilisation[0].fraction if utilisation else None,
        batches=_current(known.batch, engine, version),
        graphs=graphs[0] if graphs else None,
        graph_memory=words("graph_memory"),
        token_count=words("token_count"),
        sliding=words("sliding"),
        mamba=words("mamba"),
        non_kv=words("non_kv"),
        sampling=words("sampling"),
        kv_type=words("kv_type"),
        nf4=words("nf4"),
        reserves=_current(known.reserve, engine, version),
        layouts=_begun(known.layout, engine, version),
        blocks=_begun(known.block, engine, version),
    )


def _begun(rows: tuple[R, ...], engine: str, version: str) -> tuple[R, ...]:
    """The rows whose ``first`` is not after ``version``; empty: all of the engine's."""
    return tuple(r for r in rows if r.engine == engine and (not version or not older(version, r.first)))


def _current(rows: tuple[R, ...], engine: str, version: str) -> tuple[R, ...]:
    """The rows of the last ``first`` that is not after ``version``; empty: the last of all."""
    mine = [row for row in rows if row.engine == engine]
    begun = _begun(rows, engine, version) or mine[:1]
    last = max((numbers(row.first) for row in begun), default=())
    return tuple(row for row in mine if numbers(row.first) == last)
