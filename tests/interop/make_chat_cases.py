#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes ../text/chat_cases.jsonl: conversations and the text that the vendors' own code makes of them.

DeepSeek-V3.2: encoding_dsv32.py, DeepSeek's published encoder, as SGLang carries it.
GLM-5: the chat template that it shares with GLM-4.7, as llama.cpp carries it.

    pip install jinja2
    pip download --no-deps sglang==0.5.23            # unzip sglang/srt/entrypoints/openai/encoding_dsv32.py
    pip download --no-deps --no-binary :all: llama-cpp-python==0.3.36
                                                     # vendor/llama.cpp/models/templates/GLM-4.7-Flash.jinja
    tests/interop/make_chat_cases.py encoding_dsv32.py GLM-4.7-Flash.jinja
"""
import copy
import importlib.util
import json
import pathlib
import random
import sys

import jinja2

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
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    glm = environment.from_string(pathlib.Path(sys.argv[2]).read_text())
    rng = random.Random(5)
    conversations = CONVERSATIONS + [random_conversation(rng) for _ in range(21)]
    with OUTPUT.open("w") as out:
        for messages in conversations:
            mode = "thinking" if thinks(messages) else "chat"
            for name, text in (
                    ("deepseek-v3.2", deepseek.encode_messages(copy.deepcopy(messages), mode)),
                    ("glm-5", glm.render(messages=[{**m, "content": m["content"] or ""} for m in messages]))):
                line = {"format": name, "messages": messages, "text": text}
                out.write(json.dumps(line, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
