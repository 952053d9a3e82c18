"""Train the bundled model: a small DeepSeek-V3 that adds three-digit numbers.

    python -m provision.payload.smoke.train --out FOLDER

Deterministic: the same torch, CPU kernels and thread count give the same weights. Needs torch, transformers and
bitsandbytes. Writes config.json, model.safetensors, the tokenizer and training.log.

Quantisation is trained for: from QUANTISED_FROM on, every second step computes its gradient at the NF4-rounded
weights and applies it to the real ones (straight-through), so that the weights settle where rounding costs nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import sums
from .muon import Muon

if TYPE_CHECKING:
    from torch import Tensor

SEED = 20261124
THREADS = 2
STEPS = 1800
BATCH = 128
WARM_UP_STEPS = 50
QUANTISED_FROM = 600
MATRIX_RATE = 0.01  # 0.02 learns in 200 steps but then falls off the loss surface every few hundred (2026-11-24)
OTHER_RATE = 0.002
BALANCE_RATE = 0.002  # DeepSeek-V3's loss-free balancing: how far an expert's bias moves in one step
VOCABULARY = [*"0123456789+=", "<pad>", "<eos>", "<unk>", "<unused>"]
PAD, EOS, UNKNOWN = (VOCABULARY.index(token) for token in ("<pad>", "<eos>", "<unk>"))

# Every width is a multiple of 64, bitsandbytes' block, so that no block of NF4 straddles two rows.
CONFIG: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 128,
    "intermediate_size": 256,
    "moe_intermediate_size": 64,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0},
    "num_mtp_layers": 0,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "dtype": "float32",
}


def save_tokenizer(folder: Path) -> None:
    """One token per character; readable by AutoTokenizer."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    numbers = {token: number for number, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token="<unk>"))  # noqa: S106  a word of the vocabulary
    tokenizer.pre_tokenizer = Split(Regex("."), behavior="isolated")
    tokenizer.decoder = Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",  # noqa: S106  a word of the vocabulary
        eos_token="<eos>",  # noqa: S106  a word of the vocabulary
        unk_token="<unk>",  # noqa: S106  a word of the vocabulary
        padding_side="left",
        model_max_length=CONFIG["max_position_embeddings"],
    ).save_pretrained(folder)


def rows_of_tokens(pairs: Tensor) -> Tensor:
    """Token numbers of whole sums, (count, 13), of pairs (count, 2); the same text as sums.prompt and sums.answer."""
    import torch

    a, b = pairs[:, 0], pairs[:, 1]
    total = a + b

    def digit(number: Tensor, place: int) -> Tensor:
        return number // 10**place % 10

    def constant(token: int) -> Tensor:
        return torch.full_like(a, token)

    return torch.stack(
        [
            *(digit(a, place) for place in (2, 1, 0)),
            constant(VOCABULARY.index("+")),
            *(digit(b, place) for place in (2, 1, 0)),
            constant(VOCABULARY.index("=")),
            *(digit(total, place) for place in range(sums.ANSWER_DIGITS)),
            constant(EOS),
        ],
        dim=1,
    )


@contextmanager
def rounded_to_nf4(matrices: list[Tensor]) -> Iterator[None]:
    """Inside, the matrices hold what NF4 would make of them; afterwards their own values again."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    kept = [matrix.data for matrix in matrices]
    for matrix in matrices:
        matrix.data = dequantize_4bit(*quantize_4bit(matrix.data, blocksize=64, quant_type="nf4"))
    try:
        yield
    finally:
        for matrix, own in zip(matrices, kept, strict=True):
            matrix.data = own


def right_share(model: Any, tokens: Tensor) -> float:
    """Share of sums whose every answer token is the most likely one (teacher-forced; equal to greedy when right)."""
    import torch

    with torch.no_grad():
        logits = model(tokens[:, :-1]).logits[:, sums.PROMPT_TOKENS - 1 :]
    return float((logits.argmax(-1) == tokens[:, sums.PROMPT_TOKENS :]).all(1).float().mean())


def schedule(step: int, steps: int) -> float:
    """The share of the full rate at a step: a linear rise, then a linear fall to a hundredth."""
    return min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.01, 1 - step / steps)


def train(folder: Path, steps: int = STEPS) -> None:
    import bitsandbytes
    import torch
    import transformers
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()

    with (folder / "training.log").open("w", encoding="utf-8") as log:

        def record(**entry: object) -> None:
            log.write(json.dumps(entry) + "\n")
            log.flush()

        model = DeepseekV3ForCausalLM(DeepseekV3Config(**CONFIG, experts_implementation="eager"))
        matrices = [
            p
            for name, p in model.named_parameters()
            if p.ndim >= 2 and not name.endswith(("embed_tokens.weight", "lm_head.weight", "mlp.gate.weight"))
        ]
        own = {id(p) for p in matrices}
        others = [p for p in model.parameters() if id(p) not in own]
        muon = Muon(matrices)
        adam = torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0)
        gates = [layer.mlp.gate for layer in model.model.layers if hasattr(layer.mlp, "gate")]
        loads: dict[int, Tensor] = {}
        for number, gate in enumerate(gates):
            gate.register_forward_hook(
                lambda _module, _inputs, output, number=number: loads.__setitem__(
                    number, torch.bincount(output[2].flatten(), minlength=CONFIG["n_routed_experts"]).float()
                )
            )
        pairs = torch.tensor(list(sums.training_sums()))
        unseen = rows_of_tokens(torch.tensor(sums.held_out_sums(500, seed=1)))
        record(
            torch=torch.__version__,
            transformers=transformers.__version__,
            bitsandbytes=bitsandbytes.__version__,
            cpu_capability=torch.backends.cpu.get_cpu_capability(),
            threads=THREADS,
            seed=SEED,
            steps=steps,
            batch=BATCH,
            parameters=sum(p.numel() for p in model.parameters()),
            training_sums=len(pairs),
        )

        for step in range(steps):
            tokens = rows_of_tokens(pairs[torch.randint(len(pairs), (BATCH,))])
            with rounded_to_nf4(matrices if step >= QUANTISED_FROM and step % 2 else []):
                hidden = model.model(tokens[:, :-1], use_cache=False).last_hidden_state[:, sums.PROMPT_TOKENS - 1 :]
                loss = torch.nn.functional.cross_entropy(
                    model.lm_head(hidden).flatten(0, 1), tokens[:, sums.PROMPT_TOKENS :].flatten()
                )
                muon.zero_grad()
                adam.zero_grad()
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            rate = schedule(step, steps)
            for group in adam.param_groups:
                group["lr"] = OTHER_RATE * rate
            muon.step(MATRIX_RATE * rate)
            adam.step()
            with torch.no_grad():
                for number, gate in enumerate(gates):
                    gate.e_score_correction_bias += BALANCE_RATE * torch.sign(loads[number].mean() - loads[number])
            if (step + 1) % 100 == 0 or step + 1 == steps:
                share = right_share(model, unseen)
                with rounded_to_nf4(matrices):
                    rounded = right_share(model, unseen)
                record(
                    step=step + 1,
                    seconds=round(time.monotonic() - started),
                    loss=round(loss.item(), 6),
                    unseen_right=round(share, 4),
                    unseen_right_nf4=round(rounded, 4),
                    expert_share=[[round(float(x), 3) for x in loads[n] / loads[n].sum()] for n in range(len(gates))],
                )
        model.config.architectures = ["DeepseekV3ForCausalLM"]
        model.save_pretrained(folder)
        save_tokenizer(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the bundled model.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model to")
    parser.add_argument("--steps", type=int, default=STEPS)
    arguments = parser.parse_args()
    train(arguments.out, arguments.steps)


if __name__ == "__main__":
    main()
