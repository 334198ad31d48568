#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes ../text/chat_cases.jsonl: conversations and the text that the vendors' own code makes of them.

DeepSeek-V3.2: encoding_dsv32.py, DeepSeek's published encoder, as SGLang carries it.
GLM-5: the chat template that it shares with GLM-4.7, as llama.cpp carries it (GLM-4.7-Flash.jinja), or
batchgen (chat_template.jinja, with which these cases were made; the earlier ones came out the same).
GLM-5.1, 5.2, 5.3: chat_template.jinja of these checkpoints. Those of 5.2 and 5.3 are checked against
the SHA-256 of the released files; the released file of 5.1 is not known to us, and the one that the
cases were made with is batchgen's (github.com/batchgen-project/batchgen, chat_template_5_1.jinja).

    pip install jinja2
    pip download --no-deps sglang==0.5.23            # unzip sglang/srt/entrypoints/openai/encoding_dsv32.py
    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36
                                                     # vendor/llama.cpp/models/templates/GLM-4.7-Flash.jinja
    tests/interop/make_chat_cases.py encoding_dsv32.py GLM-4.7-Flash.jinja \\
        GLM-5.1.jinja GLM-5.2.jinja GLM-5.3.jinja
"""
import copy
import hashlib
import importlib.util
import json
import pathlib
import random
import sys

import jinja2

# zai-org/GLM-5.2 at b4734de4facf877f85769a911abafc5283eab3d9, zai-org/GLM-5.3 at
# aca966e4e02791568aa6a4ced368624b3d897f42.
RELEASED = {"glm-5.2": "172dc74a35e1752df75ecfb2b2cf9326d2852bb1379868ebeec9571654489679",
            "glm-5.3": "3740abcea51c45830cb3ca562084ad5fb2ef53589376f73332e9886f93ade41c"}

OUTPUT = pathlib.Path(__file__).parent.parent / "text" / "chat_cases.jsonl"

CALL = [{"type": "function", "id": "1", "function": {
    "name": "get_weather", "arguments": {"city": "Zürich", "days": 3, "units": ["C", "mm"],
                                         "options": {"wind": True, "at": None}, "factor": 0.5}}}]
TWO_CALLS = CALL + [{"type": "function", "id": "2", "function": {"name": "now", "arguments": {}}}]

# The example of DeepSeek-V3.2's model card, and what else a log may hold.
CONVERSATIONS = [
    [{"role": "user", "content": "hello"},
     {"role": "assistant", "content": "Hello! I am DeepSeek.", "reasoning_content": "thinking..."},
     {"role": "user", "content": "1+1=?"}],
    [{"role": "user", "content": "hello"}],
    [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "你好"},
     {"role": "assistant", "content": "你好！"}],
    [{"role": "user", "content": "1+1=?"},
     {"role": "assistant", "content": " 2\n", "reasoning_content": "\n easy \n"}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "\u3000b\u00a0 "},
     {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}],
    [{"role": "user", "content": "a"},
     {"role": "assistant", "content": "b", "reasoning_content": "first"},
     {"role": "user", "content": "c"},
     {"role": "assistant", "content": "d", "reasoning_content": "second"}],
    [{"role": "user", "content": "Weather?"},
     {"role": "assistant", "content": "", "tool_calls": CALL},
     {"role": "tool", "content": "{\"rain\": 0}"},
     {"role": "assistant", "content": "No rain."}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather and time?"},
     {"role": "assistant", "content": "Let me look.", "tool_calls": TWO_CALLS,
      "reasoning_content": "Two calls."},
     {"role": "tool", "content": "sun"}, {"role": "tool", "content": "12:00"},
     {"role": "assistant", "content": "Sun at noon.", "reasoning_content": "Done."},
     {"role": "user", "content": "Thanks"}],
    [{"role": "system", "content": ""}, {"role": "user", "content": " spaces kept "},
     {"role": "assistant", "content": None, "tool_calls": CALL}],
]

# Where the GLM releases differ: empty reasoning, reasoning in the content, and the order of results.
GLM_CONVERSATIONS = [
    [{"role": "user", "content": "a"},
     {"role": "assistant", "content": "b", "reasoning_content": ""},
     {"role": "user", "content": "c"},
     {"role": "assistant", "content": "d", "reasoning_content": ""}],
    [{"role": "user", "content": "a"},
     {"role": "assistant", "content": "<think> first </think> b"},
     {"role": "user", "content": "c"},
     {"role": "assistant", "content": "one</think>two</think> d"}],
    [{"role": "assistant", "content": "hello", "reasoning_content": " hm "}],
] + [
    [{"role": "user", "content": "Weather and time?"},
     {"role": "assistant", "content": "", "tool_calls": [{**CALL[0], "id": a},
                                                          {**TWO_CALLS[1], "id": b}]}]
    + [{"role": "tool", "content": f"result {i}", **({"tool_call_id": i} if i else {})} for i in ids]
    for a, b, ids in (("1", "2", ["2", "1"]), ("1", "2", ["2"]), ("1", "1", ["1", "1"]),
                      ("1", "2", ["2", "2"]), ("1", "2", ["2", "3"]), ("1", "2", ["2", None]),
                      ("1", "", ["1", "1"]), ("1", "2", ["2", "1", "1"]))
]


def thinks(messages):
    """Reasoning is given, and no answer to the last question lacks it."""
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1)
    answers = [m for m in messages[last + 1:] if m["role"] == "assistant"]
    return (any(m.get("reasoning_content") for m in messages)
            and all(m.get("reasoning_content") or m.get("tool_calls") for m in answers))


def random_conversation(rng):
    messages = [{"role": "system", "content": "s"}] if rng.random() < 0.3 else []
    for turn in range(rng.randint(1, 4)):
        messages.append({"role": "user", "content": f"question {turn}\n"})
        if rng.random() < 0.3:
            calls = copy.deepcopy(rng.choice([CALL, TWO_CALLS]))
            messages.append({"role": "assistant", "content": rng.choice(["", " hm "]), "tool_calls": calls})
            messages += [{"role": "tool", "content": f"result {i}"} for i in range(len(calls))]
        if turn < 3 or rng.random() < 0.5:
            answer = {"role": "assistant", "content": f"answer {turn}"}
            if rng.random() < 0.5:
                answer["reasoning_content"] = f" reason {turn}"
            messages.append(answer)
    return messages


def main():
    spec = importlib.util.spec_from_file_location("encoding", sys.argv[1])
    deepseek = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(deepseek)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True,
                                     extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    glm = {}
    for name, path in zip(("glm-5", "glm-5.1", "glm-5.2", "glm-5.3"), sys.argv[2:], strict=True):
        source = pathlib.Path(path).read_bytes()
        assert RELEASED.get(name) in (None, hashlib.sha256(source).hexdigest()), path
        glm[name] = environment.from_string(source.decode())
    rng = random.Random(5)
    conversations = CONVERSATIONS + [random_conversation(rng) for _ in range(21)]
    with OUTPUT.open("w") as out:
        def write(name, messages, text):
            line = {"format": name, "messages": messages, "text": text}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")

        for messages in conversations:
            mode = "thinking" if thinks(messages) else "chat"
            write("deepseek-v3.2", messages, deepseek.encode_messages(copy.deepcopy(messages), mode))
        for name, template in glm.items():
            for messages in conversations + GLM_CONVERSATIONS:
                filled = [{**m, "content": m["content"] or ""} for m in messages]
                write(name, messages, template.render(messages=filled))


if __name__ == "__main__":
    main()
