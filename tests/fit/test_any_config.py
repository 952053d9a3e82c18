"""Any configuration whatever ends in an answer or in one line of what is wrong with it."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from provision.catalog import published
from provision.errors import UsageError
from provision.fit import accounting, precision
from provision.fit.architecture import architecture
from provision.fit.forecast import Asked, forecast
from provision.fit.parallel import Parallel, refuse
from provision.fit.weights import weights

GIB = 2**30
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.integers(0, 300), st.floats(), st.text(max_size=20)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
_BASES = [
    "deepseek-ai/DeepSeek-V4-Flash",
    "Qwen/Qwen3.8-27B",
    "openai/gpt-oss-20b",
    "meta-llama/Llama-3.1-8B",
    "deepseek-ai/DeepSeek-V2-Lite",
]


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    base = copy.deepcopy(published.find(draw(st.sampled_from(_BASES))).config)
    flat = {**base, **(base.get("text_config") or {})}
    for key in draw(st.lists(st.sampled_from(sorted(flat)), max_size=3)):
        place = base["text_config"] if key in (base.get("text_config") or {}) else base
        place[key] = draw(_VALUES)
        base["text_config"] = dict(place) if place is not base else base.get("text_config")
    return base


@settings(max_examples=400, deadline=None)
@given(configurations(), st.integers(1, 16))
def test_any_configuration_is_answered_or_refused_in_one_line(config: dict[str, Any], tp: int) -> None:
    try:
        shapes = architecture(config)
        own = precision.of_config(config)
        parallel = Parallel(tp=tp)
        refuse(shapes, parallel)
        how = accounting.of("vllm", None, card_name="", card_bytes=24 * GIB, length=shapes.context or 0)
        forecast(shapes, weights(shapes), own, Asked(card_bytes=24 * GIB, parallel=parallel), how)
    except UsageError as error:
        assert "\n" not in error.message
        assert len(error.message) < 500


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=30), _VALUES, max_size=8))
def test_any_object_is_refused_in_one_line(config: dict[str, Any]) -> None:
    try:
        architecture(config)
    except UsageError as error:
        assert len(error.message) < 500
