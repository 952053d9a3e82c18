"""The models of one run of the smoke test: each precision is loaded once, when the first proof asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import sums
from .promise import PRECISIONS
from .proof import CannotRun

ANSWER_TOKENS = sums.ANSWER_DIGITS + 1  # the digits and the end
Loader = Callable[[Path, str, str], Any]


def load_model(folder: Path, precision: str, device: str) -> Any:
    """The model in `precision` on `device`, ready to run, through transformers and bitsandbytes, from local files."""
    import torch
    from transformers import BitsAndBytesConfig

    from .unfused import flatten_latents, model_class

    quantisation = {
        "float32": None,
        "int8": BitsAndBytesConfig(load_in_8bit=True),
        "nf4": BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32),
    }[precision]
    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "device_map": {"": device}}
    if quantisation is not None:
        options["quantization_config"] = quantisation
    return flatten_latents(model_class().from_pretrained(folder, **options).eval())


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A model in memory, and what loading it took."""

    model: Any
    load_seconds: float
    cuda_bytes: int | None  # growth of torch's allocations on the card; None on a CPU


class Session:
    """Where the proofs run: the device asked for, the model's folder, the lock, and the models loaded so far."""

    def __init__(
        self, *, device: str, model_folder: Path, lock: Path | None = None, loader: Loader = load_model
    ) -> None:
        self.device = device
        self.model_folder = model_folder
        self.lock = lock
        self._loader = loader
        self._loaded: dict[str, Loaded] = {}
        self._tokenizer: Any = None

    def require_device(self) -> None:
        """Raises CannotRun when the GPU that was asked for cannot be used: the CPU never stands in for it."""
        if self.device != "cuda":
            return
        import torch

        if not torch.cuda.is_available():
            build = torch.version.cuda or "none: a CPU build"
            raise CannotRun(
                f"device cuda was asked for and torch {torch.__version__} (CUDA {build}) sees no usable GPU"
            )

    def load(self, precision: str) -> Loaded:
        """A fresh model, owned by the caller."""
        import torch

        self.require_device()
        if precision not in PRECISIONS:
            raise CannotRun(f"unknown precision {precision!r}, expected one of {', '.join(PRECISIONS)}")
        self._import_libraries()
        on_card = self.device == "cuda"
        before = torch.cuda.memory_allocated() if on_card else 0
        started = time.monotonic()
        model = self._loader(self.model_folder, precision, self.device)
        if on_card:
            torch.cuda.synchronize()
        return Loaded(
            model=model,
            load_seconds=time.monotonic() - started,
            cuda_bytes=torch.cuda.memory_allocated() - before if on_card else None,
        )

    def loaded(self, precision: str) -> Loaded:
        """The shared model of this precision."""
        if precision not in self._loaded:
            self._loaded[precision] = self.load(precision)
        return self._loaded[precision]

    def decode(self, model: Any, pairs: Sequence[sums.Sum], batch: int = 250) -> list[list[int]]:
        """Greedy answers, as token numbers: a row of ANSWER_TOKENS for each pair."""
        import torch

        tokenizer = self.tokenizer()
        rows: list[list[int]] = []
        for start in range(0, len(pairs), batch):
            prompts = [sums.prompt(a, b) for a, b in pairs[start : start + batch]]
            inputs = tokenizer(prompts, return_tensors="pt", return_token_type_ids=False).to(self.device)
            with torch.inference_mode():
                output = model.generate(
                    **inputs, do_sample=False, max_new_tokens=ANSWER_TOKENS, min_new_tokens=ANSWER_TOKENS
                )
            rows += output[:, inputs["input_ids"].shape[1] :].tolist()
        return rows

    def right(self, rows: Sequence[Sequence[int]], pairs: Sequence[sums.Sum]) -> int:
        """How many answers are what arithmetic says. Only the digits count."""
        texts = self.tokenizer().batch_decode([list(row[: sums.ANSWER_DIGITS]) for row in rows])
        return sum(text == sums.answer(a, b) for text, (a, b) in zip(texts, pairs, strict=True))

    def tokenizer(self) -> Any:
        if self._tokenizer is None:
            from transformers import AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(self.model_folder, local_files_only=True)
        return self._tokenizer

    @staticmethod
    def _import_libraries() -> None:
        """Bring in the heavy libraries, so that load seconds are the model's and not Python's."""
        import logging

        import bitsandbytes  # noqa: F401
        import transformers

        # It says once for every product that float32 is cast to float16.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)

        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        transformers.DeepseekV3ForCausalLM  # noqa: B018  transformers imports a model's module when it is first named
