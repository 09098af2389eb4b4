#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Float64 reference of RWKV-7 on a miniature model: writes tests/data/golden_expected.h.

Written from the paper (RWKV-7 "Goose", arXiv 2503.14456), apart from the C code; needs numpy.
Every tensor is made from its name alone:
    x = FNV-1a 32 of the name; for each element in row-major order x = 1664525 x + 1013904223
    kind M(e):     ((x >> 24) - 128) * 2^-e
    kind V(c, e):  c + ((x >> 28) - 8) * 2^-e
so all values are exact in bf16, f16 and f32.

usage: golden_model.py > golden_expected.h
"""
import numpy as np

V, L, C, H, N, F = 16, 2, 128, 2, 64, 256
RANK_W, RANK_A, RANK_V, RANK_G = 8, 8, 8, 16
TOKEN_COUNT = 40
STATES_AFTER = (0, 16, 39)


def sequence(seed, count):
    values, x = [], seed
    for _ in range(count):
        x = (1664525 * x + 1013904223) & 0xFFFFFFFF
        values.append(x)
    return np.array(values, dtype=np.int64)


def fnv1a(name):
    x = 2166136261
    for byte in name.encode("ascii"):
        x = ((x ^ byte) * 16777619) & 0xFFFFFFFF
    return x


def matrix(name, shape, exponent):
    x = sequence(fnv1a(name), int(np.prod(shape)))
    return (((x >> 24) - 128) * 2.0**-exponent).reshape(shape)


def vector(name, count, centre, exponent):
    x = sequence(fnv1a(name), count)
    return centre + ((x >> 28) - 8) * 2.0**-exponent


def make_weights():
    w = {"emb.weight": matrix("emb.weight", (V, C), 7),
         "head.weight": matrix("head.weight", (V, C), 9)}
    norms = ["blocks.0.ln0", "ln_out"]
    for i in range(L):
        block, att, ffn = f"blocks.{i}.", f"blocks.{i}.att.", f"blocks.{i}.ffn."
        norms += [block + "ln1", block + "ln2", att + "ln_x"]
        for letter in "rwkvag":
            w[att + "x_" + letter] = vector(att + "x_" + letter, C, 0.5, 4)
        for name, centre, exponent in (("w0", -2, 1), ("a0", 0, 2), ("v0", 0.5, 3),
                                       ("k_k", 0.75, 4), ("k_a", 1, 5), ("r_k", 0, 4)):
            w[att + name] = vector(att + name, C, centre, exponent)
        for name, rank, down, up in (("w", RANK_W, 9, 7), ("a", RANK_A, 10, 8),
                                     ("v", RANK_V, 10, 8), ("g", RANK_G, 9, 8)):
            w[att + name + "1"] = matrix(att + name + "1", (C, rank), down)
            w[att + name + "2"] = matrix(att + name + "2", (rank, C), up)
        for name in ("receptance", "key", "value", "output"):
            w[att + name] = matrix(att + name + ".weight", (C, C), 10)
        w[ffn + "x_k"] = vector(ffn + "x_k", C, 0.5, 4)
        w[ffn + "key"] = matrix(ffn + "key.weight", (F, C), 10)
        w[ffn + "value"] = matrix(ffn + "value.weight", (C, F), 10)
    for name in norms:
        w[name + ".weight"] = vector(name + ".weight", C, 1, 5)
        w[name + ".bias"] = vector(name + ".bias", C, 0, 5)
    return w


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def norm(x, w, name, epsilon):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    flat = ((x - mean) / np.sqrt(variance + epsilon)).reshape(-1)
    return flat * w[name + ".weight"] + w[name + ".bias"]


def time_mix(w, i, x, state, v_first):
    p = f"blocks.{i}.att."
    difference, state[i][0] = state[i][0] - x, x
    xr, xw, xk, xv, xa, xg = (x + difference * w[p + "x_" + letter] for letter in "rwkvag")
    r, k, v = w[p + "receptance"] @ xr, w[p + "key"] @ xk, w[p + "value"] @ xv
    decay = np.exp(-np.exp(-0.5) * sigmoid(w[p + "w0"] + np.tanh(xw @ w[p + "w1"]) @ w[p + "w2"]))
    a = sigmoid(w[p + "a0"] + xa @ w[p + "a1"] @ w[p + "a2"])
    g = sigmoid(xg @ w[p + "g1"]) @ w[p + "g2"]
    kk = (k * w[p + "k_k"]).reshape(H, N)
    kk = kk / np.maximum(np.sqrt((kk * kk).sum(1, keepdims=True)), 1e-12)
    k = k * (1 + (a - 1) * w[p + "k_a"])
    if i == 0:
        v_first = v
    else:
        v = v + (v_first - v) * sigmoid(w[p + "v0"] + xv @ w[p + "v1"] @ w[p + "v2"])
    r, k, v, decay, a = (u.reshape(H, N) for u in (r, k, v, decay, a))
    s = state[i][1]
    removed = np.einsum("hvk,hk->hv", s, -kk)
    s = s * decay[:, None, :]
    s = s + removed[:, :, None] * (kk * a)[:, None, :] + v[:, :, None] * k[:, None, :]
    state[i][1] = s
    y = norm(np.einsum("hvk,hk->hv", s, r), w, p + "ln_x", 64e-5)
    bonus = ((r * k * w[p + "r_k"].reshape(H, N)).sum(1, keepdims=True) * v).reshape(-1)
    return w[p + "output"] @ ((y + bonus) * g), v_first


def channel_mix(w, i, x, state):
    p = f"blocks.{i}.ffn."
    xk = x + (state[i][2] - x) * w[p + "x_k"]
    state[i][2] = x
    return w[p + "value"] @ np.maximum(w[p + "key"] @ xk, 0) ** 2


def zero_state():
    return [[np.zeros(C), np.zeros((H, N, N)), np.zeros(C)] for _ in range(L)]


def step(w, token, state):
    x, v_first = norm(w["emb.weight"][token], w, "blocks.0.ln0", 1e-5), None
    for i in range(L):
        change, v_first = time_mix(w, i, norm(x, w, f"blocks.{i}.ln1", 1e-5), state, v_first)
        x = x + change
        x = x + channel_mix(w, i, norm(x, w, f"blocks.{i}.ln2", 1e-5), state)
    return w["head.weight"] @ norm(x, w, "ln_out", 1e-5)


def checksums(state_of_layer):
    att_prev, s, ffn_prev = state_of_layer
    flat = s.reshape(-1)
    weights = np.arange(flat.size) % 7 - 3
    root = np.sqrt((flat * flat).sum())
    return [att_prev.sum(), ffn_prev.sum(), flat.sum(), root, (flat * weights).sum()]


def rows(values):
    return ",\n".join("    {" + ", ".join(f"{value:.17g}" for value in row) + "}" for row in values)


def main():
    w = make_weights()
    tokens = [int(x >> 28) for x in sequence(42, TOKEN_COUNT)]
    state, logits, sums = zero_state(), [], []
    for t, token in enumerate(tokens):
        logits.append(step(w, token, state))
        if t in STATES_AFTER:
            sums += [checksums(state[i]) for i in range(L)]
    tuned, tuned_logits = zero_state(), []
    for i in range(L):
        tuned[i][1] = matrix(f"blocks.{i}.att.time_state", (H, N, N), 8)
    for token in tokens[:5]:
        tuned_logits.append(step(w, token, tuned))
    state, greedy = zero_state(), []
    for token in tokens[:8]:
        last = step(w, token, state)
    for _ in range(24):
        greedy.append(int(np.argmax(last)))
        last = step(w, greedy[-1], state)
    points = ", ".join(map(str, STATES_AFTER))
    print(f"""/* SPDX-License-Identifier: Apache-2.0
 *
 * tests/data/golden_expected.h - what the golden model must answer; written by golden_model.py.
 *
 * Float64 throughout. Do not edit: run the script again. */
#pragma once

#include <stdint.h>

/* The prompt. */
static const int32_t golden_tokens[{TOKEN_COUNT}] = {{
    {", ".join(map(str, tokens[:20]))},
    {", ".join(map(str, tokens[20:]))},
}};

/* Logits after each token, from the zero state. */
static const double golden_logits[{TOKEN_COUNT}][{V}] = {{
{rows(logits)}
}};

/* Per layer after tokens {points}: sum of att_prev, sum of ffn_prev, and of S: sum, root of
 * the sum of squares, sum weighted by (index % 7 - 3). */
static const uint32_t golden_states_after[{len(STATES_AFTER)}] = {{{points}}};
static const double golden_state_sums[{len(STATES_AFTER)} * {L}][5] = {{
{rows(sums)}
}};

/* Logits after the first 5 tokens, when S of each layer starts as the tensor time_state. */
static const double golden_tuned_logits[5][{V}] = {{
{rows(tuned_logits)}
}};

/* The most likely tokens after the first 8 of the prompt; the closest call is won by 0.14. */
static const int32_t golden_greedy[24] = {{
    {", ".join(map(str, greedy))},
}};""")


if __name__ == "__main__":
    main()
