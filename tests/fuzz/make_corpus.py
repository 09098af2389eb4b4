#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tests/fuzz/make_corpus.py - writes tests/fuzz/corpus/: small valid inputs to begin from.

Usage: make_corpus.py [FOLDER]. Standard library only. Pickles come from Python's own pickler, over
stand-ins for torch's classes; archives from zipfile, with every CRC-32 left 0 as the target wants.
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

torch = types.ModuleType("torch")
torch_utils = types.ModuleType("torch._utils")
sys.modules["torch"], sys.modules["torch._utils"] = torch, torch_utils


def stand_in(module, name, value):
    value.__module__, value.__name__, value.__qualname__ = module.__name__, name, name
    setattr(module, name, value)
    return value


FLOAT = stand_in(torch, "FloatStorage", type("FloatStorage", (), {}))
BFLOAT16 = stand_in(torch, "BFloat16Storage", type("BFloat16Storage", (), {}))
HALF = stand_in(torch, "HalfStorage", type("HalfStorage", (), {}))
REBUILD = stand_in(torch_utils, "_rebuild_tensor_v2", lambda *arguments: None)
PARAMETER = stand_in(torch_utils, "_rebuild_parameter", lambda *arguments: None)


class Storage:
    def __init__(self, kind, key, count):
        self.identity = ("storage", kind, key, "cpu", count)


class Tensor:
    def __init__(self, storage, offset, shape, strides=None):
        self.parts = (storage, offset, shape, strides or contiguous(shape), False,
                      collections.OrderedDict())

    def __reduce_ex__(self, protocol):
        return REBUILD, self.parts


class Parameter:
    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce_ex__(self, protocol):
        return PARAMETER, (self.tensor, True, collections.OrderedDict())


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.identity if isinstance(value, Storage) else None


def contiguous(shape):
    strides, step = [], 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= size
    return tuple(strides)


def dump(value):
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def archive(table, storages, **extra):
    zipfile.crc32 = lambda data, crc=0: 0
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as file:
        entries = {"data.pkl": table, **{f"data/{key}": storages[key] for key in storages},
                   "byteorder": b"little", "version": b"3\n", **extra}
        for name, content in entries.items():
            file.writestr(zipfile.ZipInfo(f"m/{name}"), content)  # Of 1980: always the same bytes.
    return stream.getvalue()


def safetensors(tensors, **metadata):
    header, data = ({"__metadata__": metadata} if metadata else {}), b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def smallest_model():
    """One layer of 64 channels: the least that model_spec takes."""
    C, F, V = 64, 2, 2
    shapes = {"emb.weight": [V, C], "head.weight": [V, C]}
    for norm in ("blocks.0.ln0", "blocks.0.ln1", "blocks.0.ln2", "blocks.0.att.ln_x", "ln_out"):
        shapes[norm + ".weight"] = shapes[norm + ".bias"] = [C]
    for name in ("x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "w0", "a0", "k_k", "k_a"):
        shapes["blocks.0.att." + name] = [1, 1, C]
    for name in "wag":
        shapes[f"blocks.0.att.{name}1"], shapes[f"blocks.0.att.{name}2"] = [C, 1], [1, C]
    shapes["blocks.0.att.r_k"] = [1, C]
    for name in ("receptance", "key", "value", "output"):
        shapes[f"blocks.0.att.{name}.weight"] = [C, C]
    shapes["blocks.0.ffn.x_k"] = [1, 1, C]
    shapes["blocks.0.ffn.key.weight"], shapes["blocks.0.ffn.value.weight"] = [F, C], [C, F]
    return {name: ("BF16", shape, bytes(2 * size(shape))) for name, shape in shapes.items()}


def size(shape):
    count = 1
    for dimension in shape:
        count *= dimension
    return count


def pickles():
    storage = Storage(BFLOAT16, "0", 6)
    yield "plain", dump({"a": Tensor(storage, 0, (2, 3))})
    yield "shared", dump(collections.OrderedDict(
        a=Tensor(storage, 0, (3,)), b=Tensor(storage, 3, (1, 1, 3)), c=Tensor(storage, 5, ())))
    yield "transposed", dump({"a": Tensor(Storage(FLOAT, "7", 6), 0, (2, 3), (1, 2))})
    halves = Tensor(Storage(HALF, "0", 6), 0, (6,))
    yield "parameter", dump({"state_dict": {"a": Parameter(halves)}})
    yield "large", dump({"a": Tensor(Storage(FLOAT, "0", 1 << 40), 1 << 33, (1 << 32, 2))})
    yield "others", dump({"a": [1, 2.5, None, True, (), ("x", 70000), -1], "b": {"c": {}}})
    yield "many", dump({f"blocks.{i}.att.w1": Tensor(storage, 0, (6,)) for i in range(40)})


def model_files():
    storage = Storage(BFLOAT16, "0", 6)
    table = dict(pickles())
    content = {"0": bytes(range(12))}
    yield "plain.pth", archive(table["plain"], content)
    yield "shared.pth", archive(table["shared"], content, **{".data/serialization_id": b"1"})
    yield "transposed.pth", archive(table["transposed"], {"7": bytes(24)})
    yield "prefixed.pth", archive(
        dump({"module.blocks.0.att.w1": Tensor(storage, 0, (3, 2)),
              "module.emb.weight": Tensor(storage, 0, (2, 3))}), content)
    yield "plain.st", safetensors({"a": ("F32", [2], bytes(8)), "b": ("F16", [], bytes(2))},
                                  format="pt")
    yield "fla.st", safetensors({
        "model.embeddings.weight": ("BF16", [2, 3], bytes(12)),
        "model.layers.0.attn.w_lora.lora.0.weight": ("BF16", [2, 3], bytes(12)),
        "model.layers.0.attn.w_lora.lora.2.weight": ("BF16", [3, 2], bytes(12)),
        "model.layers.0.attn.x_x": ("BF16", [6, 3], bytes(36)),
        "lm_head.weight": ("BF16", [2, 3], bytes(12)),
    })
    yield "state.st", safetensors({"blocks.0.att.time_state": ("F32", [1, 2, 2], bytes(16))})
    yield "model.st", safetensors(smallest_model())
    yield "gguf", b"GGUF\x03\0\0\0"
    yield "lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    yield "page", b"<!DOCTYPE html><html></html>"


def vocabularies():
    yield "words", b"257 'hello' 5\n258 ' world' 6\n259 \"it's\" 4\n"
    yield "escapes", (b"257 '\\n\\t\\r\\\\\\'' 5\n258 '\\x80\\u4f60' 5\n259 b'\\xe4\\xbd' 2\n"
                      b"260 \"\\\"q\" 2\n")
    yield "utf8", "257 '你好' 6\n258 '  ' 2\n".encode()
    yield "returns", b"257 'ab' 2\r\n300 'abc' 3\r\n"
    yield "holes", b"65529 '        ' 8\n65535 '<|x|>' 5\n"
    yield "highest", b"1048575 'zz' 2\n"


def requests():
    """First byte: endpoint + 4 * chat template (fuzz_request.c)."""
    schema = {"type": "object", "properties": {"a": {"enum": [1, "x"]}, "b": {"$ref": "#"}},
              "required": ["a"], "additionalProperties": False}
    messages = [{"role": "user", "content": "hi"}]
    function = {"name": "add", "description": "sums", "parameters": schema}
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    chats = {
        "form": {"messages": messages, "response_format": {
            "type": "json_schema", "json_schema": {"name": "x", "strict": True,
                                                   "schema": schema}}},
        "choice": {"messages": messages, "structured_outputs": {"choice": ["a", "ab"]}},
        "tools": {"messages": messages, "tools": [{"type": "function", "function": function}],
                  "tool_choice": "required", "parallel_tool_calls": False},
        "named": {"messages": messages, "tools": [{"type": "function", "function": function}],
                  "tool_choice": {"type": "function", "function": {"name": "add"}}},
        "results": {"messages": messages + [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "3"}]},
    }
    for number, (name, body) in enumerate(chats.items()):
        yield name, bytes([4 * (number % 3)]) + json.dumps(body).encode()
    yield "completion", b"\x01" + json.dumps(
        {"prompt": "x", "structured_outputs": {"regex": "[a-z]{2}|\\d"}}).encode()
    yield "response", b"\x02" + json.dumps(
        {"input": "x", "tools": [{"type": "function", **function, "strict": True}],
         "text": {"format": {"type": "json_object"}}}).encode()
    yield "message", b"\x03" + json.dumps(
        {"messages": messages, "max_tokens": 9, "tool_choice": {"type": "any"},
         "tools": [{"name": "add", "input_schema": schema}]}).encode()


def main(folder):
    for target, inputs in (("fuzz_pickle", pickles()), ("fuzz_model_file", model_files()),
                           ("fuzz_request", requests()),
                           ("fuzz_vocabulary", vocabularies())):
        os.makedirs(os.path.join(folder, target), exist_ok=True)
        for name, content in inputs:
            with open(os.path.join(folder, target, name), "wb") as file:
                file.write(content)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else
         os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus"))
