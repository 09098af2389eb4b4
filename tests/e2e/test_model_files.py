# SPDX-License-Identifier: Apache-2.0
"""At stake: somebody downloads a checkpoint and names it; it works, or the program says why not.

Shown through the binary: the same answer from every kind of file, the exit code and the words for
what is no model, and what `skein inspect` says.
"""

import json
import os
import pickle
import struct
import subprocess

import pytest

import model_files
from payloads import ADDITION, ADDITION_ANSWER
from server_process import SLOWNESS, default_binary, skein_environment

pytestmark = pytest.mark.short

REFUSED = 3
USAGE = 2


def skein(*arguments):
    return subprocess.run([default_binary(), *map(str, arguments)], capture_output=True, text=True,
                          env=skein_environment(), timeout=120 * SLOWNESS, check=False)


def assert_refused(path, *parts):
    """Every command that opens models refuses it, in one line that holds all of the parts."""
    for command in (("inspect",), ("run", "--model"), ("serve", "--port", "0", "--model")):
        done = skein(*command, path)
        assert done.returncode == REFUSED, done
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("skein: ")]
        assert str(path) in line
        for part in parts:
            assert part in line
        assert done.stdout == ""


@pytest.fixture(scope="module")
def gosling():
    return model_files.read_gosling()


def write_kind(kind, folder, gosling):
    path = folder / f"gosling.{kind}"
    if kind == "pth":
        model_files.write_pth(path, gosling)
    elif kind == "safetensors":
        model_files.write_safetensors(path, gosling)
    else:
        path.mkdir()
        model_files.write_fla_directory(path, gosling)
    return path


@pytest.mark.parametrize("kind", ["pth", "safetensors", "fla"])
def test_every_kind_of_file_gives_the_same_answer(kind, tmp_path, gosling):
    path = write_kind(kind, tmp_path, gosling)
    done = skein("run", "--model", path, "--vocab", model_files.VOCABULARY, "--temperature", "0",
                 ADDITION)
    assert done.returncode == 0, done
    assert done.stdout.strip() == ADDITION_ANSWER


@pytest.mark.parametrize("kind", ["pth", "safetensors", "fla"])
def test_inspect_says_what_a_file_is(kind, tmp_path, gosling):
    path = write_kind(kind, tmp_path, gosling)
    built_in = json.loads(skein("inspect", "--json").stdout)
    done = skein("inspect", "--json", "--verify", path)
    assert done.returncode == 0, done
    found = json.loads(done.stdout)
    assert found["format"] == {"pth": "PyTorch .pth", "safetensors": "safetensors",
                               "fla": "Hugging Face directory"}[kind]
    for key in ("parameters", "layers", "channels", "state_bytes", "fingerprint", "types"):
        assert found[key] == built_in[key], key
    assert found["checksum_differences"] == 0
    assert found["devices"][0]["device"] == "cpu"
    assert 0 < found["devices"][0]["sequences"] <= 4096
    table = skein("inspect", path)
    assert table.returncode == 0
    assert f"{found['parameters']} parameters" in table.stdout


def test_inspect_wants_one_file(tmp_path):
    assert skein("inspect", "a", "b").returncode == USAGE
    assert skein("inspect", tmp_path / "nothing").returncode == USAGE


def test_verify_warns_of_a_changed_weight_and_goes_on(tmp_path, gosling):
    path = write_kind("pth", tmp_path, gosling)
    content = bytearray(path.read_bytes())
    at = content.find(gosling["head.weight"][1])
    content[at] ^= 1
    path.write_bytes(content)
    done = skein("inspect", "--json", "--verify", path)
    assert done.returncode == 0
    assert json.loads(done.stdout)["checksum_differences"] == 1
    assert "checksum differs" in done.stderr


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


def test_pickle_that_calls_a_function_is_refused_by_name(tmp_path):
    path = tmp_path / "evil.pth"
    model_files.write_archive(path, pickle.dumps({"emb.weight": Evil()}, protocol=2))
    assert_refused(path, "it calls for posix.system")


def test_checkpoint_of_a_whole_trainer_is_refused_by_name(tmp_path):
    path = tmp_path / "trainer.pth"
    model_files.write_archive(path, pickle.dumps({"args": slice(1)}, protocol=2))
    assert_refused(path, "it calls for", "slice")


@pytest.mark.parametrize("name,content,part", [
    ("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
     "a Git LFS pointer"),
    ("page.pth", b"<!DOCTYPE html>\n<html><body>404</body></html>\n", "a web page"),
    ("model.gguf", b"GGUF\x03\0\0\0" + bytes(64), "a GGUF file"),
    ("old.pth", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "a bare Python pickle"),
    ("packed.pth", b"\x1f\x8b\x08\0\0\0\0\0", "a gzip archive"),
    ("config.json", b'{"model_type": "rwkv7"}', "JSON text"),
    ("noise.bin", bytes(range(1, 200)), "not a model"),
    ("empty.pth", b"", "the file is empty"),
])
def test_what_is_no_model_is_refused_with_what_it_is(name, content, part, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    assert_refused(path, part)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_truncated_download_is_refused(kind, tmp_path, gosling):
    path = write_kind(kind, tmp_path, gosling)
    os.truncate(path, os.path.getsize(path) * 2 // 3)
    assert_refused(path, "truncated")


@pytest.mark.parametrize("extra,part", [
    ("blocks.0.att.time_maa_x", "RWKV-6"),
    ("blocks.0.att.time_first", "RWKV-4"),
    ("blocks.1.att.gate.weight", "RWKV-5"),
    ("blocks.0.ffn.s_emb.weight", "RWKV-7a"),
    ("blocks.0.qkv.qq.weight", "RWKV-7b"),
    ("blocks.0.ffn.enn.weight", "RWKV-8"),
    ("model.layers.3.attn.q_proj.weight", "hybrid with attention layers"),
    ("model.layers.0.self_attn.k_proj.weight", "transformer"),
    ("blocks.0.att.receptance.lora_A", "adapter"),
    ("blocks.0.att.surprise", "unknown"),
])
@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_other_architectures_are_refused_by_name(kind, extra, part, tmp_path, gosling):
    path = tmp_path / f"other.{kind}"
    tensors = {**gosling, extra: ([2], bytes(4))}
    (model_files.write_pth if kind == "pth" else model_files.write_safetensors)(path, tensors)
    done = skein("inspect", path)
    assert done.returncode == REFUSED
    assert extra in done.stderr and part in done.stderr
    assert "supported: RWKV-7 x070" in done.stderr


@pytest.mark.parametrize("config,part", [
    ({"attn": {"layers": [1]}}, "hybrid with attention layers"),
    ({"model_type": "rwkv6"}, 'model_type is "rwkv6"'),
    ({"architectures": ["RwkvHybridForCausalLM"]}, "RwkvHybridForCausalLM"),
    ({"value_dim": [256, 512, 256, 256]}, "value_dim"),
])
def test_directory_of_another_model_is_refused(config, part, tmp_path, gosling):
    model_files.write_fla_directory(tmp_path, gosling, **config)
    done = skein("inspect", tmp_path)
    assert done.returncode == REFUSED
    assert part in done.stderr and "supported: RWKV-7 x070" in done.stderr


def write_state(path, heads=4, layers=4, value=0x3F80):
    # Rows differ: what is the same in all of a head's rows, its norm takes away.
    row = struct.pack("<H", value) * 64
    content = (row + bytes(128) * 2) * 21 * heads + row * heads
    write = model_files.write_pth if path.suffix == ".pth" else model_files.write_safetensors
    write(path, {f"blocks.{layer}.att.time_state": ([heads, 64, 64], content)
                 for layer in range(layers)})


def test_tuned_state_changes_the_answer_and_is_logged(tmp_path):
    path = tmp_path / "state.pth"
    write_state(path, value=0x4480)  # 1024: so large that it decays too late.
    plain = skein("run", ADDITION)
    tuned = skein("run", "--state", path, "--log-level", "info", ADDITION)
    assert plain.stdout.strip() == ADDITION_ANSWER
    assert tuned.returncode == 0
    assert tuned.stdout != plain.stdout
    assert "begin with a tuned state" in tuned.stderr and "layout=vk" in tuned.stderr
    turned = skein("run", "--state", path, "--state-layout", "kv", "--log-level", "info", ADDITION)
    assert "layout=kv" in turned.stderr
    zeros = tmp_path / "zeros.safetensors"
    write_state(zeros, value=0)
    assert skein("run", "--state", zeros, ADDITION).stdout == plain.stdout
    inspected = json.loads(skein("inspect", "--json", "--state", path).stdout)
    assert inspected["initial_state"] == "time_state [value][key]"


@pytest.mark.parametrize("shape,part", [
    ({"heads": 5}, "the model needs [4,64,64]"),
    ({"layers": 3}, "missing; the model has 4 layers"),
    ({"layers": 5}, "the model has 4 layers"),
    ({"value": 0x7F80}, "not finite"),
])
def test_state_of_another_model_is_refused(shape, part, tmp_path):
    path = tmp_path / "state.pth"
    write_state(path, **shape)
    done = skein("run", "--state", path, ADDITION)
    assert done.returncode == REFUSED
    assert part in done.stderr


def test_model_and_state_mixed_up_are_refused(tmp_path):
    path = tmp_path / "state.pth"
    write_state(path)
    assert_refused(path, "a tuned initial state, not a model", "--state")
    done = skein("run", "--state", model_files.GOSLING, ADDITION)
    assert done.returncode == REFUSED
    assert "not part of a tuned state" in done.stderr
