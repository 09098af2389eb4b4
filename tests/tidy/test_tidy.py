# SPDX-License-Identifier: Apache-2.0
"""At stake: a rule of tidy.py that never fires is no rule.
Shown by: small trees, each with one violation, or with what is just still allowed.
"""

import os
import stat
import tempfile
import unittest

import tidy

HEADER = "/* SPDX-License-Identifier: Apache-2.0\n *\n * {path} - a file.\n *\n * Thread: any. */\n"


def violations(files, *tables):
    """What tidy says about a tree of {path: text after the file comment}; `tables` are what its
    programs print."""
    with tempfile.TemporaryDirectory() as tree:
        for path, text in files.items():
            full = os.path.join(tree, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write((HEADER.format(path=path) if path.endswith((".c", ".h")) else "") + text)
        programs = []
        for index, table in enumerate(tables):
            programs.append(os.path.join(tree, f"print{index}"))
            with open(programs[-1], "w", encoding="utf-8") as file:
                file.write(f"#!/bin/sh\nprintf '%s\\n' '{table}'\n")
            os.chmod(programs[-1], stat.S_IRWXU)
        return tidy.check_tree(tree, programs).failures


class Includes(unittest.TestCase):
    def check(self, path, header, allowed):
        found = violations({path: f"#include {header}\n"})
        self.assertEqual(found == [], allowed, f"{path} includes {header}: {found}")

    def test_directions(self):
        self.check("engine/a.c", '"base/text.h"', True)
        self.check("engine/a.c", '"engine/b.h"', True)
        self.check("engine/a.c", '"config/config.h"', False)
        self.check("base/a.c", '"engine/b.h"', False)
        self.check("cpu/a.c", '"engine/sampler_math.h"', True)
        self.check("cpu/a.c", '"engine/scheduler.h"', False)
        self.check("server/a.c", '"config/config.h"', True)
        self.check("server/a.c", '"config/config_print.h"', False)
        self.check("server/a.c", '"engine/backend.h"', False)
        self.check("models/m/a.c", '"engine/backend.h"', False)
        self.check("cli/a.c", '"cpu/cpu_backend.h"', True)
        self.check("base/a.c", '"text.h"', False)

    def test_libraries(self):
        self.check("server/http_loop.c", "<microhttpd.h>", True)
        self.check("server/server.c", "<microhttpd.h>", False)
        self.check("server/server.c", "<uv.h>", True)
        self.check("cli/serve.c", "<uv.h>", False)
        self.check("engine/model_file_safetensors.c", "<cjson/cJSON.h>", False)
        self.check("engine/model_file_zip.c", "<zlib.h>", True)
        self.check("server/openai_chat.c", "<cjson/cJSON.h>", False)
        self.check("tests/server/a.c", "<cjson/cJSON.h>", True)


class Code(unittest.TestCase):
    def test_banned_calls(self):
        for name in tidy.BANNED_CALLS:
            self.assertTrue(violations({"base/a.c": f"    {name} (x);\n"}), name)
        self.assertEqual(violations({"cli/a.c": "    exit(1);\n"}), [])
        self.assertEqual(violations({"base/a.c": '    my_atoi(x); /* atoi( */ f("atoi(");\n'}), [])

    def test_function_length(self):
        for lines, allowed in ((70, True), (71, False)):
            body = "void f(int a,\n       int b)\n{\n" + "    ;\n" * (lines - 2) + "}\n"
            found = violations({"base/a.c": body})
            self.assertEqual(found == [], allowed, found)
        self.assertIn("f has 71 lines", found[0])

    def test_file_length(self):
        for lines, allowed in ((1000, True), (1001, False)):
            found = violations({"base/a.c": "int a;\n" * (lines - HEADER.count("\n"))})
            self.assertEqual(found == [], allowed, found)

    def test_file_comment(self):
        header = "#pragma once\n"
        self.assertEqual(violations({"base/a.h": header}), [])
        self.assertEqual(len(violations({"base/a.h": ""})), 1)
        self.assertEqual(len(violations({"base/a.cuh": header})), 3)


class Lines(unittest.TestCase):
    def test_length(self):
        self.assertEqual(violations({"a.py": "x" * 100}), [])
        self.assertEqual(len(violations({"a.py": "x" * 101})), 1)
        self.assertEqual(violations({"a.md": "x" * 101}), [])

    def test_words_and_places(self):
        for text in ("# TO" + "DO: later", "x = '/ho" + "me/me/x'", "pypi" + ".org/simple", "\tx",
                     "x "):
            self.assertEqual(len(violations({"a.py": text + "\n"})), 1, text)
        for text in ("mkstemp('a_XX" + "XXXX')", "x/work" + "/y", "https://example.org/"):
            self.assertEqual(violations({"a.py": text + "\n"}), [], text)

    def test_data(self):
        self.assertEqual(violations({"tests/data/a.h": "x" * 101}), [])
        self.assertEqual(len(violations({"tests/data/a.py": "x" * 101})), 1)

    def test_skipped_folders(self):
        bad = "# TO" + "DO\n"
        for folder in ("build", "build-test/x", ".git", "shared"):
            self.assertEqual(violations({f"{folder}/a.py": bad}), [])
        self.assertEqual(len(violations({".ci/run": bad})), 1)


class Readme(unittest.TestCase):
    def test_tables(self):
        page = "# x\n<!-- options -->\n{}\n<!-- /options -->\n"
        self.assertEqual(violations({"README.md": page.format("|a|")}, "|a|"), [])
        self.assertEqual(len(violations({"README.md": page.format("|b|")}, "|a|")), 1)
        self.assertEqual(len(violations({"README.md": "# x\n"}, "|a|")), 1)
        self.assertEqual(violations({"base/a.c": ""}, "|a|"), [])
        both = page.format("|a|") + "<!-- fields -->\n|f|\n<!-- /fields -->\n"
        self.assertEqual(violations({"README.md": both}, "|a|", "|f|"), [])
        self.assertEqual(len(violations({"README.md": both}, "|a|", "|g|")), 1)
        self.assertEqual(len(violations({"README.md": page.format("|a|")}, "|a|", "|f|")), 1)


if __name__ == "__main__":
    unittest.main()
