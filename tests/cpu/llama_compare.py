#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/cpu/llama_compare.py - skein and llama.cpp on the same weights, the same cores, in turns.

Usage: llama_compare.py [--skein PATH] [--size 0.4b] [--type bf16|f16] [--threads 2] [--rounds 5]

Writes random weights in an official shape once as .safetensors for skein and once as GGUF for
llama.cpp, then lets one and the other decode one sequence and read a prompt of 512 tokens. Prints
the tokens a second of every round, the medians and their ratio. Needs the packages numpy, gguf and
llama-cpp-python; not part of test.sh, which needs no network and no quiet machine.
skein's numbers include sampling, those of llama.cpp only the logits.
"""

import argparse
import ctypes
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PROMPT_TOKENS = 512
SECONDS = 2.0
LOW_RANK = ("w1", "w2", "a1", "a2", "v1", "v2", "g1", "g2")
MIXES = ("x_r", "x_w", "x_k", "x_v", "x_a", "x_g")

# Official name of a layer's tensor -> its name in GGUF; mixes are joined apart.
LAYER_NAMES = {
    "ln1.weight": "attn_norm.weight", "ln1.bias": "attn_norm.bias",
    "ln2.weight": "attn_norm_2.weight", "ln2.bias": "attn_norm_2.bias",
    "att.ln_x.weight": "time_mix_ln.weight", "att.ln_x.bias": "time_mix_ln.bias",
    "att.receptance.weight": "time_mix_receptance.weight",
    "att.key.weight": "time_mix_key.weight", "att.value.weight": "time_mix_value.weight",
    "att.output.weight": "time_mix_output.weight",
    "ffn.x_k": "channel_mix_lerp_k.weight", "ffn.key.weight": "channel_mix_key.weight",
    "ffn.value.weight": "channel_mix_value.weight",
}
LAYER_NAMES |= {f"att.{name}": f"time_mix_{name}.weight"
                for name in LOW_RANK + ("w0", "a0", "v0", "k_k", "k_a", "r_k")}
MODEL_NAMES = {
    "emb.weight": "token_embd.weight", "head.weight": "output.weight",
    "blocks.0.ln0.weight": "token_embd_norm.weight", "blocks.0.ln0.bias": "token_embd_norm.bias",
    "ln_out.weight": "output_norm.weight", "ln_out.bias": "output_norm.bias",
}


def read_tensors(path):
    """The BF16 tensors of a .safetensors file as {name: uint16 array}."""
    import numpy as np
    with open(path, "rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_bytes))
    data = np.memmap(path, np.uint8, "r", 8 + header_bytes)
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = data[begin:end].view(np.uint16).reshape(entry["shape"])
    return tensors


def widened(bits):
    import numpy as np
    return (bits.astype(np.uint32) << 16).view(np.float32)


class GgufFile:
    """Matrices go in as they are (or as F16), vectors as F32, in GGUF's names."""

    def __init__(self, path, kind):
        import gguf
        self.gguf = gguf
        self.kind = kind
        self.writer = gguf.GGUFWriter(path, "rwkv7")

    def add_matrix(self, name, bits):
        import numpy as np
        if self.kind == "f16":
            self.writer.add_tensor(name, widened(bits).astype(np.float16))
        else:
            self.writer.add_tensor(name, np.ascontiguousarray(bits).view(np.uint8),
                                   raw_dtype=self.gguf.GGMLQuantizationType.BF16)

    def add_layer(self, layer, tensors):
        import numpy as np
        block = f"blk.{layer}."
        self.writer.add_tensor(block + "time_mix_lerp_fused.weight", np.stack(
            [widened(tensors["att." + name]).reshape(1, 1, -1) for name in MIXES]))
        if layer == 0:  # Wanted and not used: any of the right shape.
            tensors = tensors | {f"att.v{n}": tensors[f"att.a{n}"] for n in "012"}
        for name, bits in tensors.items():
            if name.removeprefix("att.") in LOW_RANK:
                self.add_matrix(block + LAYER_NAMES[name], bits.T)
            elif name.endswith(".weight") and bits.ndim == 2:
                self.add_matrix(block + LAYER_NAMES[name], bits)
            elif name in LAYER_NAMES:
                self.writer.add_tensor(block + LAYER_NAMES[name], widened(bits).reshape(-1))

    def add_header(self, layer_count, tensors):
        V, C = tensors["emb.weight"].shape
        writer = self.writer
        writer.add_context_length(1 << 20)
        writer.add_embedding_length(C)
        writer.add_block_count(layer_count)
        writer.add_layer_norm_eps(1e-5)
        writer.add_wkv_head_size(64)
        writer.add_decay_lora_rank(tensors["blocks.0.att.w1"].shape[1])
        writer.add_iclr_lora_rank(tensors["blocks.0.att.a1"].shape[1])
        writer.add_value_residual_mix_lora_rank(tensors["blocks.1.att.v1"].shape[1])
        writer.add_gate_lora_rank(tensors["blocks.0.att.g1"].shape[1])
        writer.add_feed_forward_length(tensors["blocks.0.ffn.key.weight"].shape[0])
        writer.add_head_count(0)
        writer.add_tokenizer_model("rwkv")
        writer.add_token_list([f"token{index}" for index in range(V)])
        writer.add_token_types([self.gguf.TokenType.NORMAL] * V)

    def close(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def write_gguf(tensors, path, kind):
    layers = {}
    for name, bits in tensors.items():
        if name.startswith("blocks.") and name not in MODEL_NAMES:
            _, layer, rest = name.split(".", 2)
            layers.setdefault(int(layer), {})[rest] = bits
    file = GgufFile(path, kind)
    file.add_header(len(layers), tensors)
    for name, gguf_name in MODEL_NAMES.items():
        if tensors[name].ndim == 2:
            file.add_matrix(gguf_name, tensors[name])
        else:
            file.writer.add_tensor(gguf_name, widened(tensors[name]).reshape(-1))
    for layer in sorted(layers):
        file.add_layer(layer, layers[layer])
    file.close()


class Llama:
    """llama.cpp through its C interface: decode calls and nothing around them."""

    def __init__(self, path, threads):
        import llama_cpp
        self.api = llama_cpp
        llama_cpp.llama_backend_init()
        self.quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        self.model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params())
        assert self.model, "llama.cpp cannot load the GGUF"
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = 4096
        params.n_batch = params.n_ubatch = PROMPT_TOKENS
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        assert self.context, "llama.cpp cannot make a context"

    def decode(self, tokens):
        array = (self.api.llama_token * len(tokens))(*tokens)
        batch = self.api.llama_batch_get_one(array, len(tokens))
        assert self.api.llama_decode(self.context, batch) == 0
        logits = self.api.llama_get_logits_ith(self.context, -1)
        assert logits[0] == logits[0], "not a number"

    def restart(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def rate(self, token_count):
        """Tokens a second of decode calls of that many tokens."""
        self.restart()
        self.decode([1] * token_count)
        begin = time.monotonic()
        done = 0
        while time.monotonic() - begin < SECONDS:
            if token_count > 1:
                self.restart()
            self.decode([(done * 7 + index * 31) % 60000 for index in range(token_count)])
            done += token_count
        return done / (time.monotonic() - begin)


def skein_rates(skein, model, threads):
    """(decode, prefill) in tokens a second."""
    # Five rounds are the least it takes; their medians are one round here.
    command = [skein, "bench", "--model", str(model), "--threads", str(threads), "--decode", "1",
               "--prefill", f"1x{PROMPT_TOKENS}", "--seconds", str(SECONDS / 5), "--json"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL).stdout)
    return tuple(row["tokens_per_second"] for row in report["rows"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--skein", default="build/skein")
    parser.add_argument("--size", default="0.4b")
    parser.add_argument("--type", choices=("bf16", "f16"), default="bf16", help="of the GGUF")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rates = {"decode B=1": [], f"prefill 1x{PROMPT_TOKENS}": []}
    with tempfile.TemporaryDirectory() as folder:
        model = os.path.join(folder, "model.safetensors")
        subprocess.run([sys.executable, HERE.parent / "model_files" / "write_synthetic.py",
                        options.size, model], check=True)
        gguf_path = os.path.join(folder, "model.gguf")
        write_gguf(read_tensors(model), gguf_path, options.type)
        llama = Llama(gguf_path, options.threads)
        for _ in range(options.rounds):
            ours = skein_rates(options.skein, model, options.threads)
            theirs = (llama.rate(1), llama.rate(PROMPT_TOKENS))
            for row, pair in zip(rates.values(), zip(ours, theirs)):
                row.append(pair)
                print("skein %.1f, llama.cpp %.1f tok/s" % pair, flush=True)
    for name, pairs in rates.items():
        ours, theirs = (statistics.median(column) for column in zip(*pairs))
        ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
        print(f"{name}: skein {ours:.1f}, llama.cpp ({options.type}) {theirs:.1f} tok/s, "
              f"ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
