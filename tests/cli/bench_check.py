# SPDX-License-Identifier: Apache-2.0
"""tests/cli/bench_check.py - skein bench on the built-in model: rows, figures, refusals.

At stake: that numbers people compare mean what they say. Shown by: the JSON of a short run, whose
figures must follow from each other; and mistakes in options, which must be named.
Usage: bench_check.py SKEIN
"""

import json
import subprocess
import sys


def run(skein, *arguments):
    return subprocess.run([skein, "bench", *arguments], capture_output=True, text=True,
                          timeout=240, check=False)


def check_figures(report):
    read = report["read_bytes_per_second"]
    multiply = report["multiply_flops_per_second"]
    assert report["rounds"] == 5 and report["device"] == "cpu", report
    for ceiling in (read, multiply):
        assert ceiling["highest"] >= ceiling["median"] > 0, ceiling
    names = [row["name"] for row in report["rows"]]
    assert names == ["decode B=1", "decode B=3", "prefill 1x600", "prefill 2x40"], names
    for row in report["rows"]:
        seconds = row["milliseconds_per_step"] * 1e-3
        tokens = row["sequences"] * row["tokens"]
        rate = tokens / (row["steps"] * seconds)
        assert abs(rate / row["tokens_per_second"] - 1) < 1e-6, row
        bound = max(row["bytes_per_step"] / read["highest"],
                    row["flops_per_step"] / multiply["highest"])
        assert abs(bound / seconds / row["share"] - 1) < 1e-6, row
        assert 0 < row["share"] <= 1.0001, row
    steps = {row["name"]: row["steps"] for row in report["rows"]}
    assert steps["prefill 1x600"] == 2 and steps["prefill 2x40"] == 1, steps  # 512 rows a step.
    flops = {row["name"]: row["flops_per_step"] for row in report["rows"]}
    assert abs(flops["decode B=3"] / flops["decode B=1"] - 3) < 1e-9, flops


def check_refusal(skein, code, part, *arguments):
    result = run(skein, *arguments)
    assert result.returncode == code and part in result.stderr, (arguments, result)
    assert result.stdout == "", result.stdout


def main(skein):
    result = run(skein, "--decode", "1,3", "--prefill", "1x600,2x40", "--seconds", "0.01", "--json")
    assert result.returncode == 0, result.stderr
    check_figures(json.loads(result.stdout))
    table = run(skein, "--decode", "2", "--prefill", "none", "--seconds", "0")
    assert table.returncode == 0 and "decode B=2" in table.stdout, table
    check_refusal(skein, 2, "--synthetic 3b", "--synthetic", "3b")
    check_refusal(skein, 2, "--decode 0", "--decode", "0")
    check_refusal(skein, 2, "--prefill 8", "--prefill", "8")
    check_refusal(skein, 2, "--rounds 4", "--rounds", "4")
    check_refusal(skein, 2, "--ffn-zeros", "--ffn-zeros", "0.5")
    check_refusal(skein, 2, "exclude", "--synthetic", "0.1b", "--model", skein)
    check_refusal(skein, 2, "--cpu-kernels none", "--cpu-kernels", "none")
    check_refusal(skein, 2, "needs a CUDA device", "--device", "cpu", "--kernels")
    check_refusal(skein, 4, "--device cuda", "--device", "cuda")


if __name__ == "__main__":
    main(sys.argv[1])
