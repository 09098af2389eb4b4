#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/model_files/write_synthetic.py - a .safetensors file of an official shape, weights random.

Usage: write_synthetic.py [--layers N] SIZE PATH   SIZE: 0.1b 0.4b 1.5b 2.9b 7.2b 13.3b

Standard library only, about a gigabyte in two seconds: matrices are one megabyte of noise again and
again, small enough that activations stay finite; norms are 1 and 0, mixes and biases 0.5 and 0.
"""

import argparse
import array
import json
import os
import random
import struct

SIZES = {
    #        L   C     F      w    a    v    g
    "0.1b": (12, 768, 3072, 64, 64, 32, 128),
    "0.4b": (24, 1024, 4096, 64, 64, 32, 128),
    "1.5b": (24, 2048, 8192, 96, 96, 64, 256),
    "2.9b": (32, 2560, 10240, 96, 96, 64, 320),
    "7.2b": (32, 4096, 16384, 128, 128, 96, 480),
    "13.3b": (61, 4096, 16384, 192, 192, 128, 384),
}
V = 65536
NOISE_ELEMENTS = 1 << 19


def shapes(L, C, F, w, a, v, g):
    """Yields (name, shape, fill): fill is None for noise, else the bf16 value."""
    yield "emb.weight", [V, C], None
    yield "blocks.0.ln0.weight", [C], 1.0
    yield "blocks.0.ln0.bias", [C], 0.0
    for layer in range(L):
        block = f"blocks.{layer}."
        for norm in ("ln1", "ln2", "att.ln_x"):
            yield f"{block}{norm}.weight", [C], 1.0
            yield f"{block}{norm}.bias", [C], 0.0
        for name in ("x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "k_k", "k_a"):
            yield f"{block}att.{name}", [1, 1, C], 0.5
        ranks = {"w": w, "a": a, "v": v, "g": g}
        for name, rank in ranks.items():
            if name == "v" and layer == 0:
                continue
            if name != "g":
                yield f"{block}att.{name}0", [1, 1, C], 0.0
            yield f"{block}att.{name}1", [C, rank], None
            yield f"{block}att.{name}2", [rank, C], None
        yield f"{block}att.r_k", [C // 64, 64], 0.0
        for name in ("receptance", "key", "value", "output"):
            yield f"{block}att.{name}.weight", [C, C], None
        yield f"{block}ffn.x_k", [1, 1, C], 0.5
        yield f"{block}ffn.key.weight", [F, C], None
        yield f"{block}ffn.value.weight", [C, F], None
    yield "ln_out.weight", [C], 1.0
    yield "ln_out.bias", [C], 0.0
    yield "head.weight", [V, C], None


def bf16(value):
    return struct.pack("<f", value)[2:]


def noise(C):
    """Values of about 1/sqrt(C): sign and mantissa random, one exponent."""
    generator = random.Random(7)
    exponent = 127 - (C.bit_length() // 2 + 1)
    words = array.array("H", (
        (bits & 0x80) << 8 | exponent << 7 | bits & 0x7F
        for bits in generator.randbytes(NOISE_ELEMENTS)))
    return words.tobytes()


def count(shape):
    elements = 1
    for dimension in shape:
        elements *= dimension
    return elements


def write(path, size, layers=None):
    numbers = list(SIZES[size])
    numbers[0] = layers or numbers[0]
    header, offset = {}, 0
    for name, shape, _ in shapes(*numbers):
        end = offset + 2 * count(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    chunk = noise(numbers[1])
    with open(path, "wb", buffering=0) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape, fill in shapes(*numbers):
            left = 2 * count(shape)
            if fill is not None:
                file.write(bf16(fill) * (left // 2))
                continue
            while left > 0:
                left -= file.write(memoryview(chunk)[:left])
    return os.path.getsize(path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("path")
    arguments = parser.parse_args()
    print(f"{write(arguments.path, arguments.size, arguments.layers)} bytes")


if __name__ == "__main__":
    main()
