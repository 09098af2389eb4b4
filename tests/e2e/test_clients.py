# SPDX-License-Identifier: Apache-2.0
"""At stake: programs that others wrote for OpenAI's API do their work against this server.

Shown with litellm, langchain-openai, the `llm` command and lm-eval (local-completions), each on a
task with a known answer. Each is skipped where its package is missing; requirements-long.txt pins
them all. Nothing here needs more than the loopback interface.
"""

import json
import os
import subprocess
import sys

import pytest

import gosling
from payloads import ADDITION, ADDITION_ANSWER, chat

MODEL = "gosling"
GREETING, GREETING_ANSWER = "My name is Ada.", "Hello, Ada."
NAME, NAME_ANSWER = "What is my name?", "Ada"
SECONDS = 300
TASK = "skein_uppercase"
QUESTIONS = 20
CHOICES = 4
# An answer of lm-eval without the space that starts it.
STRIPPED = [{"function": "regex", "regex_pattern": r"^ (\S+)$"}, {"function": "take_first"}]

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path, locked_server):
    """Keeps the packages to this server and to a folder of their own."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    settings = {
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "LANGCHAIN_TRACING_V2": "false",
        "LANGSMITH_TRACING": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LLM_USER_PATH": str(tmp_path),
        "OPENAI_API_KEY": locked_server.key,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def need(package):
    """The package, or a skipped test."""
    return pytest.importorskip(package, reason=f"the Python package {package} is not installed")


def run_module(module, *arguments):
    """Runs a package's command as a user would; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def litellm_options(locked_server):
    return {
        "model": f"openai/{MODEL}",
        "api_base": f"{locked_server.url}/v1",
        "api_key": locked_server.key,
        "messages": chat(ADDITION)["messages"],
        "num_retries": 0,
    }


def test_litellm_is_right(litellm_options):
    reply = need("litellm").completion(**litellm_options)
    assert reply.choices[0].message.content == ADDITION_ANSWER
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.completion_tokens >= 2


def test_litellm_streams(litellm_options):
    chunks = list(need("litellm").completion(**litellm_options, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ADDITION_ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.fixture
def langchain_model(locked_server):
    return need("langchain_openai").ChatOpenAI(
        model=MODEL,
        base_url=f"{locked_server.url}/v1",
        api_key=locked_server.key,
        max_retries=0,
        temperature=0,
    )


def test_langchain_calls_functions(langchain_model):
    """Two calls, their results, and the answer that needs both; plain and streamed."""
    core = need("langchain_core.tools")
    messages = need("langchain_core.messages")

    @core.tool
    def get_price(item: str) -> str:
        """Get the price of an item."""
        return json.dumps({"price": {"plum": 7}[item]})

    @core.tool
    def multiply(a: int, b: int) -> str:
        """Multiply two integers."""
        return json.dumps({"product": a * b})

    tools = {"get_price": get_price, "multiply": multiply}
    model = langchain_model.bind_tools(list(tools.values()))
    for streamed in (False, True):
        turns = [messages.HumanMessage("What do 3 plums cost?")]
        made = []
        for _ in range(4):
            reply = sum_chunks(model.stream(turns)) if streamed else model.invoke(turns)
            if not reply.tool_calls:
                break
            turns.append(reply)
            for call in reply.tool_calls:
                made.append((call["name"], call["args"]))
                turns.append(tools[call["name"]].invoke(call))
        assert made == [("get_price", {"item": "plum"}), ("multiply", {"a": 3, "b": 7})]
        assert reply.content == "21"


def sum_chunks(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    return whole


def test_langchain_must_call(langchain_model):
    """The model that it binds must answer with this one function."""
    pydantic = need("pydantic")

    class Price(pydantic.BaseModel):
        """The price of an item."""

        item: str
        cents: int

    bound = langchain_model.with_structured_output(Price, method="function_calling")
    assert isinstance(bound.invoke("What does a plum cost?"), Price)


def test_langchain_remembers(langchain_model):
    turns = [("human", GREETING)]
    reply = langchain_model.invoke(turns)
    assert reply.content == GREETING_ANSWER
    assert reply.response_metadata["finish_reason"] == "stop"
    turns += [("ai", reply.content), ("human", NAME)]
    assert langchain_model.invoke(turns).content == NAME_ANSWER


def test_langchain_streams(langchain_model):
    chunks = list(langchain_model.stream(ADDITION))
    assert "".join(chunk.content for chunk in chunks) == ADDITION_ANSWER


def test_langchain_batches(langchain_model):
    questions = ["Uppercase: hello", "Reverse the word: stone", "Sort: 9 3 5"]
    replies = langchain_model.batch(questions)
    assert [reply.content for reply in replies] == ["HELLO", "enots", "3 5 9"]


@pytest.fixture
def llm_command(tmp_path, locked_server):
    """Calls the `llm` command, which knows the server from its own files."""
    need("llm")
    model = {
        "model_id": f"skein-{MODEL}",
        "model_name": MODEL,
        "api_base": f"{locked_server.url}/v1",
        "api_key_name": "skein",
    }
    # JSON is YAML too.
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))
    (tmp_path / "keys.json").write_text(json.dumps({"skein": locked_server.key}))
    return lambda *arguments: run_module("llm", "-m", model["model_id"], *arguments).strip()


def test_llm_command_is_right(llm_command):
    assert llm_command(ADDITION) == ADDITION_ANSWER
    assert llm_command("--no-stream", ADDITION) == ADDITION_ANSWER


def test_llm_command_continues_a_conversation(llm_command):
    assert llm_command(GREETING) == GREETING_ANSWER
    assert llm_command("--continue", NAME) == NAME_ANSWER


def make_questions():
    """Questions with the right answer and wrong ones of the same letters, at changing places."""
    questions = []
    for prompt in gosling.load_prompts():
        answer = prompt.answer
        wrong = [answer.lower(), answer.capitalize(), answer[::-1]]
        if prompt.task != "uppercase" or len({answer, *wrong}) != CHOICES:
            continue
        label = len(questions) % CHOICES
        choices = [*wrong[:label], answer, *wrong[label:]]
        questions.append(
            {"prompt": prompt.prompt, "choices": choices, "label": label, "answer": answer}
        )
    assert len(questions) >= QUESTIONS
    return questions[:QUESTIONS]


@pytest.fixture
def write_task(tmp_path):
    """Writes a task of lm-eval and its questions; returns the folder."""
    need("lm_eval")

    def write(**fields):
        folder = tmp_path / "tasks"
        folder.mkdir()
        lines = "".join(json.dumps(question) + "\n" for question in make_questions())
        (folder / "questions.jsonl").write_text(lines)
        task = {
            "task": TASK,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / "questions.jsonl")}},
            "test_split": "test",
            "doc_to_text": "prompt",
            **fields,
        }
        (folder / f"{TASK}.yaml").write_text(json.dumps(task))
        return folder

    return write


def test_lm_eval_command_generates(write_task, tmp_path, locked_server):
    folder = write_task(
        output_type="generate_until",
        doc_to_target="answer",
        generation_kwargs={"until": ["\n\n"], "max_gen_toks": 16, "temperature": 0},
        filter_list=[{"name": "stripped", "filter": STRIPPED}],
        metric_list=[{"metric": "exact_match"}],
    )
    model = f"model={MODEL},base_url={locked_server.url}/v1/completions,num_concurrent=4"
    options = {
        "--model": "local-completions",
        "--model_args": f"{model},tokenizer_backend=None,tokenized_requests=False",
        "--tasks": TASK,
        "--include_path": str(folder),
        "--output_path": str(tmp_path / "results.json"),
    }
    run_module("lm_eval", "run", *[word for option in options.items() for word in option])
    (written,) = tmp_path.glob("results*.json")
    results = json.loads(written.read_text())["results"][TASK]
    assert results["exact_match,stripped"] == 1.0


class ServerTokenizer:
    """Gives lm-eval the tokens of the server's own vocabulary, of which it has no copy."""

    eot_token = gosling.END_OF_TEXT

    def __init__(self, server):
        self.server = server

    def encode(self, text):
        return self.server.post("/tokenize", {"prompt": text}).json()["tokens"]


def test_lm_eval_scores(write_task, locked_server):
    folder = write_task(
        output_type="multiple_choice",
        doc_to_choice="choices",
        doc_to_target="label",
        metric_list=[{"metric": "acc"}],
    )
    from lm_eval import simple_evaluate
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    from lm_eval.tasks import TaskManager

    model = LocalCompletionsAPI(
        base_url=f"{locked_server.url}/v1/completions",
        model=MODEL,
        tokenizer_backend="None",
        batch_size=8,
    )
    model.tokenizer, model.tokenizer_backend = ServerTokenizer(locked_server), "server"
    model.tokenized_requests = True
    tasks = TaskManager(include_path=str(folder), include_defaults=False)
    outcome = simple_evaluate(model=model, tasks=[TASK], task_manager=tasks, bootstrap_iters=0)
    assert outcome["results"][TASK]["acc,none"] == 1.0
    assert outcome["n-samples"][TASK]["effective"] == QUESTIONS
