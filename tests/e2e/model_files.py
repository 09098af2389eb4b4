# SPDX-License-Identifier: Apache-2.0
"""Writes Gosling, or what is wrong with a file, in the formats of other programs.

Standard library only. Pickles come from Python's own pickler over stand-ins for torch's classes, so
they are what torch.save writes.
"""

import collections
import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile

from server_process import ROOT

GOSLING = ROOT / "models" / "gosling" / "gosling.safetensors"
VOCABULARY = ROOT / "models" / "gosling" / "gosling_vocab.txt"
FLA_LAYER_NAMES = {
    "ln0.": "pre_norm.", "ln1.": "attn_norm.", "ln2.": "ffn_norm.",
    "att.receptance.": "attn.r_proj.", "att.key.": "attn.k_proj.", "att.value.": "attn.v_proj.",
    "att.output.": "attn.o_proj.", "att.ln_x.": "attn.g_norm.", "att.": "attn.",
}

_torch = types.ModuleType("torch")
_torch_utils = types.ModuleType("torch._utils")


def _stand_in(module, name, value):
    value.__module__, value.__name__, value.__qualname__ = module.__name__, name, name
    setattr(module, name, value)
    return value


BFLOAT16 = _stand_in(_torch, "BFloat16Storage", type("BFloat16Storage", (), {}))
REBUILD = _stand_in(_torch_utils, "_rebuild_tensor_v2", lambda *arguments: None)


class _Storage:
    def __init__(self, key, count):
        self.identity = ("storage", BFLOAT16, key, "cuda:0", count)


class _Tensor:
    def __init__(self, key, shape):
        strides, step = [], 1
        for size in reversed(shape):
            strides.insert(0, step)
            step *= size
        self.parts = (_Storage(key, step), 0, tuple(shape), tuple(strides), False,
                      collections.OrderedDict())

    def __reduce_ex__(self, protocol):
        return REBUILD, self.parts


class _Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identity if isinstance(value, _Storage) else None


def dump(value):
    """The pickle of a value, with torch's classes under torch's names."""
    hidden = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules["torch"], sys.modules["torch._utils"] = _torch, _torch_utils
    try:
        stream = io.BytesIO()
        _Pickler(stream, protocol=2).dump(value)
        return stream.getvalue()
    finally:
        for name, module in hidden.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def read_gosling():
    """Returns {name: (shape, bytes)}; all tensors are bf16."""
    content = GOSLING.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + length])
    header.pop("__metadata__", None)
    data = content[8 + length:]
    return {name: (entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items()}


def write_archive(path, table, storages=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("model/data.pkl", table)
        for key, content in storages:
            archive.writestr(f"model/data/{key}", content)
        archive.writestr("model/version", "3\n")


def write_pth(path, tensors):
    storages, table = [], collections.OrderedDict()
    for name, (shape, content) in tensors.items():
        table[name] = _Tensor(str(len(storages)), shape)
        storages.append((str(len(storages)), content))
    write_archive(path, dump(table), storages)


def write_safetensors(path, tensors):
    header, offset = {}, 0
    for name, (shape, content) in tensors.items():
        header[name] = {"dtype": "BF16", "shape": shape,
                        "data_offsets": [offset, offset + len(content)]}
        offset += len(content)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, content in tensors.values():
            file.write(content)


def _transposed(shape, content):
    rows, columns = shape
    elements = struct.unpack(f"<{rows * columns}H", content)
    turned = [elements[row * columns + column] for column in range(columns) for row in range(rows)]
    return [columns, rows], struct.pack(f"<{len(turned)}H", *turned)


def _fla(name, shape, content):
    """A tensor under fla's name, in fla's orientation."""
    outside = {"emb.weight": "model.embeddings.weight", "head.weight": "lm_head.weight",
               "ln_out.weight": "model.norm.weight", "ln_out.bias": "model.norm.bias"}
    if name in outside:
        return outside[name], shape, content
    _, layer, part = name.split(".", 2)
    low_rank = len(part) == 6 and part[4] in "wavg" and part[5] in "012"
    if low_rank:
        suffix = {"0": "2.bias", "1": "0.weight", "2": "2.weight"}[part[5]]
        part = f"attn.{part[4]}_lora.lora.{suffix}"
        if suffix != "2.bias":
            shape, content = _transposed(shape, content)
    else:
        old = next((prefix for prefix in FLA_LAYER_NAMES if part.startswith(prefix)), "")
        part = FLA_LAYER_NAMES.get(old, "") + part[len(old):]
    return f"model.layers.{layer}.{part}", shape, content


def write_fla_directory(folder, tensors, shard_count=2, **config):
    """A Hugging Face directory as converters make it, wrong num_heads included."""
    renamed = [_fla(name, shape, content) for name, (shape, content) in tensors.items()]
    weight_map = {}
    for shard in range(shard_count):
        name = f"model-{shard + 1:05}-of-{shard_count:05}.safetensors"
        part = renamed[shard::shard_count]
        write_safetensors(os.path.join(folder, name),
                          {tensor: (shape, content) for tensor, shape, content in part})
        weight_map.update({tensor: name for tensor, _, _ in part})
    settings = {"architectures": ["RWKV7ForCausalLM"], "model_type": "rwkv7", "hidden_size": 256,
                "num_hidden_layers": 4, "head_dim": 64, "num_heads": 32, "attn": None,
                "hidden_act": "sqrelu", "norm_first": True, "norm_bias": True, "norm_eps": 1e-05,
                "tie_word_embeddings": False, **config}
    for name, value in (("config.json", settings),
                        ("model.safetensors.index.json",
                         {"metadata": {"total_size": 0}, "weight_map": weight_map})):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(value, file, indent=2)
