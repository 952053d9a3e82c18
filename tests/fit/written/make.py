"""Make by_gguf.gguf with the package gguf 0.19.0, and by_gguf.json: what that package's own reader says of it.

usage: pip install gguf==0.19.0 (in a folder of its own: it brings numpy), then run this with that Python. It is kept out
of the tests' lock for its 73 MB; the files here are 8 KB.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, quants
from gguf.constants import GGML_QUANT_SIZES

HERE = Path(__file__).parent
Q = GGMLQuantizationType
NUMBERS = {  # what DeepSeek-V2-Lite's converter would write, in small
    "add_block_count": 3,
    "add_context_length": 4096,
    "add_embedding_length": 256,
    "add_feed_forward_length": 512,
    "add_head_count": 4,
    "add_head_count_kv": 1,
    "add_key_length": 96,
    "add_value_length": 64,
    "add_kv_lora_rank": 64,
    "add_q_lora_rank": 48,
    "add_key_length_mla": 80,
    "add_value_length_mla": 40,
    "add_rope_dimension_count": 32,
    "add_expert_count": 8,
    "add_expert_used_count": 2,
    "add_expert_feed_forward_length": 128,
    "add_expert_shared_count": 1,
    "add_leading_dense_block_count": 1,
}


def main() -> None:
    path = HERE / "by_gguf.gguf"
    writer = GGUFWriter(path, "deepseek2")
    for method, number in NUMBERS.items():
        getattr(writer, method)(number)
    writer.add_token_list(["<s>", "é", "word"] * 5)
    writer.add_token_scores([0.5] * 15)
    writer.add_bool("x.flag", True)
    writer.add_array("deepseek2.attention.sliding_window_pattern", [True, False, True])
    random = numpy.random.default_rng(0)
    row = random.standard_normal((2, 256)).astype(numpy.float32)
    writer.add_tensor("token_embd.weight", row[:, :32])
    writer.add_tensor("half", row[:, :32].astype(numpy.float16))
    for kind in (Q.Q4_0, Q.Q8_0, Q.Q5_1, Q.BF16, Q.TQ1_0, Q.MXFP4):
        writer.add_tensor(f"blk.0.{kind.name}", quants.quantize(row, kind), raw_dtype=kind)
    experts = random.standard_normal((2, 3, 64)).astype(numpy.float32)
    writer.add_tensor("experts", quants.quantize(experts, Q.Q4_0), raw_dtype=Q.Q4_0)
    writer.add_tensor("bias", row[0, :7])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    said = {
        "tensors": sorted(
            [one.name, one.tensor_type.name, [int(size) for size in reversed(one.shape)], int(one.n_bytes)]
            for one in GGUFReader(path).tensors
        ),
        "types": {str(kind.value): [kind.name, *GGML_QUANT_SIZES[kind]] for kind in sorted(GGML_QUANT_SIZES)},
    }
    (HERE / "by_gguf.json").write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
