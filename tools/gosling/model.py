# SPDX-License-Identifier: Apache-2.0
"""RWKV-7 (x070) in PyTorch: a chunked form for training and a recurrent form for generation.

Formulas: "RWKV-7 Goose with Expressive Dynamic State Evolution", arXiv 2503.14456. Modules carry
the official tensor names, so `state_dict()` is the checkpoint. Both forms compute one function;
`test_gosling.py` holds them together.

Shape letters: B rows, T tokens, D channels, H heads, N = 64 channels a head, C tokens a chunk.
"""

import json
import math
import struct

import torch
from torch import nn
from torch.nn import functional as F

HEAD = 64
CHUNK = 32
GROUP_NORM_EPS = 64e-5
DECAY_SCALE = math.exp(-0.5)  # log w = -exp(-1/2) * sigmoid(wx)


def _wide(x):
    """At least float32: decay, norms and the state are never computed in half precision."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _norm(x, weight, bias):
    return F.layer_norm(_wide(x), (x.shape[-1],), weight, bias, 1e-5)


def _shifted(x, keep):
    """The previous token's row; zeros before the first of a row or, by keep, of a conversation."""
    shifted = F.pad(x, (0, 0, 1, -1))
    return shifted if keep is None else shifted * keep.unsqueeze(-1)


# ---------------------------------------------------------------------------------------------
# Chunked WKV-7
# ---------------------------------------------------------------------------------------------


def _product(x, y):
    """A matrix product of small matrices in full precision, whatever the TF32 setting."""
    return (x.unsqueeze(-1) * y.unsqueeze(-3)).sum(-2)


def _inverse_16(a):
    """(I - a)^-1 for strictly lower 16x16 a: (I + a)(I + a^2)(I + a^4)(I + a^8), exact there."""
    inverse = torch.eye(16, dtype=a.dtype, device=a.device) + a
    power = a
    for _ in range(3):
        power = _product(power, power)
        inverse = inverse + _product(inverse, power)
    return inverse


class _UnitLowerInverse(torch.autograd.Function):
    """(I - a)^-1 for strictly lower 32x32 a, from its two diagonal blocks of 16."""

    @staticmethod
    def forward(ctx, a):
        top = _inverse_16(a[..., :16, :16])
        bottom = _inverse_16(a[..., 16:, 16:])
        corner = bottom @ a[..., 16:, :16] @ top
        inverse = torch.cat(
            (torch.cat((top, torch.zeros_like(top)), -1), torch.cat((corner, bottom), -1)), -2
        )
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx, gradient):
        (inverse,) = ctx.saved_tensors
        transposed = inverse.transpose(-1, -2)
        return (transposed @ gradient @ transposed).tril(-1)


class _StateScan(torch.autograd.Function):
    """States before each chunk: S[0] = 0, S[c + 1] = S[c] P[c] + Q[c].

    P, Q: [chunks][rows][N][N]. Returns S of the same shape.
    """

    @staticmethod
    def forward(ctx, p, q):
        states = torch.zeros_like(q)
        for c in range(len(p) - 1):
            torch.baddbmm(q[c], states[c], p[c], out=states[c + 1])
        ctx.save_for_backward(p, states)
        return states

    @staticmethod
    def backward(ctx, gradient):
        p, states = ctx.saved_tensors
        after = torch.zeros_like(states)  # gradient of the state after each chunk
        for c in range(len(p) - 1, 0, -1):
            torch.baddbmm(gradient[c], after[c], p[c].transpose(1, 2), out=after[c - 1])
        return states.transpose(2, 3) @ after, after


def _chunked(x):
    """[B][T][H][N] -> [T/C][B][H][C][N]."""
    b, t, h, n = x.shape
    return x.view(b, t // CHUNK, CHUNK, h, n).permute(1, 0, 3, 2, 4)


def _wkv_prepare(r, log_w, k, v, a, b):
    """What each chunk does to the state and to its own rows, all chunks at once.

    Inputs [B][T][H][N], T a multiple of C. Factors are taken around the middle row: |log w| is
    below 0.607, so no exponent exceeds 10.
    """
    r, log_w, k, v, a, b = (_chunked(x) for x in (r, log_w, k, v, a, b))
    g = log_w.cumsum(-2)
    e = g - log_w
    middle = g[..., CHUNK // 2 - 1 : CHUNK // 2, :]
    last = g[..., -1:, :]
    r_left, a_left = r * (g - middle).exp(), a * (e - middle).exp()
    shrink = (middle - g).exp()
    b_right, k_right = (b * shrink).transpose(-1, -2), (k * shrink).transpose(-1, -2)
    ab = (a_left @ b_right).tril(-1)
    ak = (a_left @ k_right).tril(-1)
    rb = (r_left @ b_right).tril()
    rk = (r_left @ k_right).tril()
    inverse = _UnitLowerInverse.apply(ab)
    w = inverse @ (a * e.exp())
    u = inverse @ (ak @ v)
    to_end = (last - g).exp()
    b_end, k_end = b * to_end, k * to_end
    p = torch.diag_embed(last.squeeze(-2).exp()) + w.transpose(-1, -2) @ b_end
    q = u.transpose(-1, -2) @ b_end + v.transpose(-1, -2) @ k_end
    # Rows: y = (r e^g + rb w) S0^T + rb u + rk v.
    return p, q, r * g.exp() + rb @ w, rb @ u + rk @ v


def _wkv_finish(states, from_state, local):
    """Rows of all chunks from the states before them: [T/C][B][H][C][N] -> [B][T][H][N]."""
    y = local + from_state @ states.transpose(-1, -2)
    c, b, h, _, n = y.shape
    return y.permute(1, 0, 3, 2, 4).reshape(b, c * CHUNK, h, n)


def wkv_chunked(r, log_w, k, v, a, b):
    """WKV-7 from zero state over [B][T][H][N]; T is a multiple of 32."""
    p, q, from_state, local = _wkv_prepare(r, log_w, k, v, a, b)
    states = _StateScan.apply(p.flatten(1, 2), q.flatten(1, 2)).view_as(q)
    return _wkv_finish(states, from_state, local)


def wkv_step(state, r, log_w, k, v, a, b):
    """One token: state [B][H][value][key], vectors [B][H][N]. Returns y and the new state."""
    sa = state @ a.unsqueeze(-1)
    state = (
        state * log_w.exp().unsqueeze(-2)
        + sa * b.unsqueeze(-2)
        + v.unsqueeze(-1) * k.unsqueeze(-2)
    )
    return (state @ r.unsqueeze(-1)).squeeze(-1), state


# ---------------------------------------------------------------------------------------------
# Blocks
# ---------------------------------------------------------------------------------------------


class TimeMix(nn.Module):
    """The attention replacement of one layer. LoRA matrices lie [in][out]."""

    def __init__(self, layer, layers, d, rank_w, rank_a, rank_v, rank_g):
        super().__init__()
        self.is_first = layer == 0
        ratio = layer / max(layers - 1, 1)
        rest = 1.0 - layer / layers
        n = torch.arange(d)
        ramp = n / d
        linear = n / (d - 1) - 0.5
        zigzag = ((n % HEAD) - (HEAD - 1) / 2) / ((HEAD - 1) / 2)
        zigzag = zigzag * zigzag.abs()
        vector = lambda x: nn.Parameter(x.reshape(1, 1, d).clone())

        def lora(rank):
            up = torch.empty(rank, d)
            nn.init.orthogonal_(up, 0.1 * math.sqrt(max(1.0, rank / d)))
            return nn.Parameter(torch.zeros(d, rank)), nn.Parameter(up)

        for name, exponent in zip("rwkvag", (0.2, 0.9, 0.7, 0.7, 0.9, 0.2)):
            setattr(self, "x_" + name, vector(1.0 - ramp ** (exponent * rest)))
        speed = -6 + 6 * (n / (d - 1)) ** (1 + ratio**0.3)
        self.w0 = vector(speed + 0.5 + zigzag * 2.5)
        self.w1, self.w2 = lora(rank_w)
        self.a0 = vector(-0.19 + zigzag * 0.3 + linear * 0.4)
        self.a1, self.a2 = lora(rank_a)
        if layer > 0:
            self.v0 = vector(0.73 - linear * 0.4)
            self.v1, self.v2 = lora(rank_v)
        self.g1, self.g2 = lora(rank_g)
        self.k_k = vector(0.71 - linear * 0.1)
        self.k_a = vector(torch.full((d,), 1.02))
        self.r_k = nn.Parameter(torch.full((d // HEAD, HEAD), -0.04))
        self.receptance = nn.Linear(d, d, bias=False)
        self.key = nn.Linear(d, d, bias=False)
        self.value = nn.Linear(d, d, bias=False)
        self.output = nn.Linear(d, d, bias=False)
        self.ln_x = nn.LayerNorm(d)
        with torch.no_grad():
            edge = 0.5 / math.sqrt(d)
            self.receptance.weight.uniform_(-edge, edge)
            self.key.weight.uniform_(-edge / 10, edge / 10)
            self.value.weight.uniform_(-edge, edge)
            self.output.weight.zero_()
            self.ln_x.weight.fill_(((1 + layer) / layers) ** 0.7)

    def inputs(self, x, before, v_first, vectors):
        """From this token's and the previous token's norm to the vectors of the recurrence.

        x, before [B][T][D]. Returns r, log_w, k, v, -kk, kk * a as [B][T][H][N], gate and v_first.
        """
        dx = before - x
        mixed = lambda name: x + dx * vectors["x_" + name]
        heads = lambda y: y.unflatten(-1, (-1, HEAD))
        xv = mixed("v")
        r = _wide(self.receptance(mixed("r")))
        k = _wide(self.key(mixed("k")))
        v = _wide(self.value(xv))
        wx = vectors["w0"] + _wide(torch.tanh(mixed("w") @ self.w1) @ self.w2)
        a = torch.sigmoid(vectors["a0"] + _wide(mixed("a") @ self.a1 @ self.a2))
        gate = torch.sigmoid(mixed("g") @ self.g1) @ self.g2
        kk = F.normalize(heads(k * vectors["k_k"]), dim=-1, eps=1e-12)
        k = k * (1 + (a - 1) * vectors["k_a"])
        if self.is_first:
            v_first = v
        else:
            v = v + (v_first - v) * torch.sigmoid(
                vectors["v0"] + _wide(xv @ self.v1 @ self.v2)
            )
        log_w = -DECAY_SCALE * torch.sigmoid(wx)
        return heads(r), heads(log_w), heads(k), heads(v), -kk, kk * heads(a), gate, v_first

    def outputs(self, y, r, k, v, gate):
        """Group norm, bonus, gate and output matrix; y, r, k, v [B][T][H][N]."""
        mean = y.mean(-1, keepdim=True)
        variance = (y - mean).square().mean(-1, keepdim=True)
        y = ((y - mean) * (variance + GROUP_NORM_EPS).rsqrt()).flatten(-2)
        y = y * self.ln_x.weight + self.ln_x.bias
        bonus = ((r * k * self.r_k).sum(-1, keepdim=True) * v).flatten(-2)
        return self.output((y + bonus) * gate)


class ChannelMix(nn.Module):
    """The feed-forward part of one layer."""

    def __init__(self, layer, layers, d, f):
        super().__init__()
        ramp = torch.arange(d) / d
        self.x_k = nn.Parameter((1.0 - ramp ** ((1.0 - layer / layers) ** 4)).reshape(1, 1, d))
        self.key = nn.Linear(d, f, bias=False)
        self.value = nn.Linear(f, d, bias=False)
        with torch.no_grad():
            self.key.weight.uniform_(-0.5 / math.sqrt(d), 0.5 / math.sqrt(d))
            self.value.weight.zero_()

    def forward(self, x, before, vectors):
        k = self.key(x + (before - x) * vectors["ffn.x_k"])
        return self.value(torch.relu(k).square())


class Block(nn.Module):
    """One layer. The training form is cut in two around the scan over chunks."""

    def __init__(self, layer, layers, d, f, ranks):
        super().__init__()
        if layer == 0:
            self.ln0 = nn.LayerNorm(d)
        self.ln1 = nn.LayerNorm(d)
        self.ln2 = nn.LayerNorm(d)
        self.att = TimeMix(layer, layers, d, *ranks)
        self.ffn = ChannelMix(layer, layers, d, f)

    def vectors(self):
        """The [1][1][D] parameters as [D]. Taken outside the compiled halves: PyTorch 2.11 gives
        compiled gradients of such parameters the wrong shape."""
        vectors = {n: p.view(-1) for n, p in self.att.named_parameters() if p.dim() == 3}
        vectors["ffn.x_k"] = self.ffn.x_k.view(-1)
        return vectors

    def before_scan(self, x, v_first, vectors, keep):
        x = _norm(x, self.ln1.weight, self.ln1.bias)
        r, log_w, k, v, a, b, gate, v_first = self.att.inputs(
            x, _shifted(x, keep), v_first, vectors
        )
        with torch.autocast(x.device.type, enabled=False):
            p, q, from_state, local = _wkv_prepare(r, log_w, k, v, a, b)
        if keep is not None:  # a conversation that begins with a chunk finds a zero state
            goes_on = F.pad(keep[:, CHUNK::CHUNK], (0, 1)).t()[..., None, None, None]
            p, q = p * goes_on, q * goes_on
        return (p, q, from_state, local), (r, k, v, gate), v_first

    def after_scan(self, x, states, from_state, local, r, k, v, gate, vectors, keep):
        with torch.autocast(x.device.type, enabled=False):
            y = _wkv_finish(states, from_state, local)
        x = x + self.att.outputs(y, r, k, v, gate)
        xn = _norm(x, self.ln2.weight, self.ln2.bias)
        return x + self.ffn(xn, _shifted(xn, keep), vectors)


class Gosling(nn.Module):
    """The whole model. `forward` is the training form, `step` the recurrent one."""

    def __init__(self, vocabulary, layers=4, d=256, f=1024, ranks=(32, 32, 16, 64)):
        super().__init__()
        self.emb = nn.Embedding(vocabulary, d)
        self.blocks = nn.ModuleList(Block(i, layers, d, f, ranks) for i in range(layers))
        self.ln_out = nn.LayerNorm(d)
        self.head = nn.Linear(d, vocabulary, bias=False)
        with torch.no_grad():
            self.emb.weight.uniform_(-0.1, 0.1)
            nn.init.orthogonal_(self.head.weight, 0.5)
        self.plain = [(block.before_scan, block.after_scan) for block in self.blocks]
        self.halves = self.plain

    def fuse(self):
        """Compiles the two halves of each layer for training; the scan between stays as it is."""
        self.halves = [
            tuple(torch.compile(half, dynamic=False) for half in halves) for halves in self.plain
        ]

    def forward(self, ids, keep=None):
        """ids [B][T] from zero state, T a multiple of 32. Returns logits [B][T][V].

        keep [B][T] packs several conversations into a row: 0 where one begins (at a multiple of
        32), else 1.
        """
        ln0 = self.blocks[0].ln0
        x = _norm(self.emb(ids), ln0.weight, ln0.bias)
        v_first = None
        halves = self.halves if torch.is_grad_enabled() else self.plain
        for block, (before, after) in zip(self.blocks, halves):
            vectors = block.vectors()
            (p, q, from_state, local), kept, v_first = before(
                x, v_first, vectors, keep
            )
            states = _StateScan.apply(p.flatten(1, 2), q.flatten(1, 2)).view_as(q)
            x = after(x, states, from_state, local, *kept, vectors, keep)
        return self.head(_norm(x, self.ln_out.weight, self.ln_out.bias))

    def zero_state(self, rows):
        """[layer][att shift [B][1][D], WKV state [B][H][value][key], ffn shift [B][1][D]]."""
        like = self.head.weight
        d = like.shape[1]
        return [
            [
                like.new_zeros(rows, 1, d),
                like.new_zeros(rows, d // HEAD, HEAD, HEAD),
                like.new_zeros(rows, 1, d),
            ]
            for _ in self.blocks
        ]

    def step(self, ids, state):
        """One token of each row: ids [B]. Returns logits [B][V]; state is advanced in place."""
        ln0 = self.blocks[0].ln0
        x = _norm(self.emb(ids.unsqueeze(1)), ln0.weight, ln0.bias)
        v_first = None
        for block, kept in zip(self.blocks, state):
            vectors = block.vectors()
            xn = _norm(x, block.ln1.weight, block.ln1.bias)
            r, log_w, k, v, a, b, gate, v_first = block.att.inputs(
                xn, kept[0], v_first, vectors
            )
            y, kept[1] = wkv_step(kept[1], *(u.squeeze(1) for u in (r, log_w, k, v, a, b)))
            kept[0] = xn
            x = x + block.att.outputs(y.unsqueeze(1), r, k, v, gate)
            xn = _norm(x, block.ln2.weight, block.ln2.bias)
            x = x + block.ffn(xn, kept[2], vectors)
            kept[2] = xn
        return self.head(_norm(x, self.ln_out.weight, self.ln_out.bias)).squeeze(1)


def vocabulary_rows(id_count):
    """Embedding and head rows: the ids, rounded up to a multiple of 32."""
    return -(-id_count // 32) * 32


# ---------------------------------------------------------------------------------------------
# The checkpoint file
# ---------------------------------------------------------------------------------------------


def save(model, path):
    """Writes bf16 safetensors in layer order; every tensor begins at a multiple of 64 bytes."""
    header, blobs, offset = {"__metadata__": {"format": "pt"}}, [], 0
    names = sorted(model.state_dict(), key=_order)
    for name in names:
        tensor = model.state_dict()[name].detach().cpu().to(torch.bfloat16).contiguous()
        blob = tensor.view(torch.int16).numpy().tobytes()
        assert offset % 64 == 0 and len(blob) % 64 == 0, name
        header[name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for blob in blobs:
            file.write(blob)


def _order(name):
    """Embedding, layers in order, final norm, head; inside a layer as the state dictionary."""
    if name.startswith("blocks."):
        return 1, int(name.split(".")[1])
    return {"emb.weight": 0, "ln_out.weight": 2, "ln_out.bias": 2, "head.weight": 3}[name], 0


def load(path):
    """Reads what `save` wrote into a float32 model on the CPU."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw = torch.frombuffer(data[begin:end], dtype=torch.bfloat16)
        tensors[name] = raw.view(entry["shape"]).float()
    vocabulary, d = tensors["emb.weight"].shape
    layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    ranks = [tensors[f"blocks.{layers - 1}.att.{c}1"].shape[1] for c in "wavg"]
    model = Gosling(vocabulary, layers, d, tensors["blocks.0.ffn.key.weight"].shape[0], ranks)
    model.load_state_dict(tensors)
    return model
