#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks the engines' own packages what they make of a configuration, and compares layer by layer.

    tests/interop/engines.sh build/dev/indexcache-search     # installs what this needs, then runs it

For every published pattern: the exported override goes through the engine's own parsing of the model's
configuration, the written config.json likewise, and the engine's own rule says which layers skip. Then
odd configurations (wrong length, lower case, nulls, overrides that meet derived indexer_types) are given to
both, and `inspect` must foresee the engine. Where a rule is a function of a module that only imports beside
a GPU, or stands inside a constructor, its statements are taken from the installed source and run as they are.
DeepSeek-V4 has a letter for each layer of ratio 4 and is shared by one engine; the code that the others have
for it is searched for the sharing keys, so that a release that begins to read them shows. Exit code 1 when
anything differs.
"""
import ast
import importlib.metadata
import importlib.util
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import types

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
os.environ["VLLM_PLUGINS"] = "none"  # vllm-ascend would want its device
import yaml  # noqa: E402
from transformers import AutoConfig  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
GLM_HALF = "FFSFSSSFSSFFFSSSFFFSFSSSSSSFFSFFSFFSSFFFFFFSFFFFFSFFSSSSSSFSFFFSFSSSFSFFSFFSSS"
GLM_QUARTER = "FFSFSSSFSSFSFSSSSSSSFSSSSSSFSSSFSFSSSSFFFFFSSSFFSSSFSSSSSSSSFSSSFSSSSSSFSFSSSS"
GLM_52 = "FFF" + "SSSF" * 18 + "SSS"
HY4_NATIVE = "F" + "FSSS" * 19 + "F"
PAPER_30B = "FSFSFSSSSFSSSFSSFFSSFSSFSSSSFSSSFSSSSFSSSSSSSSS"
# configuration of configs/, pattern
EXPORTED = [
    ("glm-5", GLM_HALF),
    ("glm-5", GLM_QUARTER),
    ("glm-5.2", GLM_52),
    ("glm-5.2", GLM_52[:6] + "S" + GLM_52[7:]),
    ("dsa-30b", PAPER_30B),
    ("deepseek-v3.2", GLM_HALF[:61]),
    ("deepseek-v3.2", "F" + "FSSS" * 15),
    ("hy4", HY4_NATIVE),
    ("hy4", "FS" + HY4_NATIVE[2:]),
    ("deepseek-v4-flash", "F" + "SF" * 10),
    ("deepseek-v4-flash", "F" + "S" * 20),
]
# configuration, keys of config.json besides, override
ODD = [
    ("deepseek-v3.2", {}, {}),
    ("deepseek-v3.2", {}, {"index_topk_pattern": "FSSS"}),
    ("deepseek-v3.2", {}, {"index_topk_pattern": "FSSS" * 20}),
    ("deepseek-v3.2", {}, {"index_topk_pattern": ("fsSF" * 16)[:61]}),
    ("deepseek-v3.2", {}, {"index_topk_pattern": ("FRSF" * 16)[:61]}),
    ("deepseek-v3.2", {}, {"index_topk_pattern": "S" * 61}),
    ("deepseek-v3.2", {}, {"index_topk_freq": 4}),
    ("deepseek-v3.2", {}, {"index_topk_freq": 4, "index_skip_topk_offset": 3}),
    ("deepseek-v3.2", {}, {"index_topk_freq": None}),
    ("deepseek-v3.2", {"index_topk_freq": 4, "index_skip_topk_offset": 1}, {}),
    ("glm-5", {}, {}),
    ("glm-5", {}, {"index_topk_pattern": GLM_HALF}),
    ("glm-5", {}, {"index_topk_pattern": GLM_HALF, "use_index_cache": True}),
    ("glm-5", {}, {"indexer_types": ["full", "shared"] * 39}),
    ("glm-5", {}, {"indexer_types": ["full", "shared"] * 10}),
    ("glm-5", {"index_topk_pattern": GLM_HALF}, {}),
    ("glm-5", {"index_topk_pattern": "FSSS"}, {}),
    ("glm-5", {"index_topk_pattern": GLM_HALF.lower()}, {}),
    ("glm-5", {"index_topk_freq": None}, {}),
    ("glm-5", {"index_topk_freq": 4}, {"index_topk_freq": 2}),
    ("glm-5", {"index_topk_pattern": GLM_HALF, "indexer_types": ["full"] * 78}, {}),
    ("glm-5.2", {}, {}),
    ("glm-5.2", {}, {"index_topk_pattern": GLM_QUARTER}),
]
# The same for engines that share in Hy4.
ODD_HY4 = [
    ("hy4", {}, {}),
    ("hy4", {}, {"index_topk_pattern": "FSSS" * 19 + "FS"}),
    ("hy4", {"index_topk_freq": 2}, {}),
    ("hy4", {"indexer_types": ["full"] * 78}, {}),
    ("hy4", {"indexer_types": ["full"] * 78}, {"indexer_types": ["full", "shared"] * 39}),
    ("hy4", {"index_topk_pattern": "FSSS" * 19 + "FS"}, {}),
]
# The same for engines that share in DeepSeek-V4.
FLAG = {"use_index_cache": True}
ODD_V4 = [
    ("deepseek-v4-flash", {}, {}),
    ("deepseek-v4-flash", {}, {"index_topk_pattern": "F" + "SF" * 10}),
    ("deepseek-v4-flash", {}, {**FLAG, "index_topk_pattern": "FSSS"}),
    ("deepseek-v4-flash", {}, {**FLAG, "index_topk_pattern": "FS" * 22}),
    ("deepseek-v4-flash", {}, {**FLAG, "index_topk_pattern": "SF" * 10 + "F"}),
    ("deepseek-v4-flash", {}, {**FLAG, "index_topk_pattern": "Fs" * 10 + "F"}),
    ("deepseek-v4-flash", {}, {**FLAG, "index_topk_pattern": ""}),
    ("deepseek-v4-flash", {"use_index_cache": True, "index_topk_freq": 2}, {}),
    ("deepseek-v4-flash", {}, {**FLAG, "index_topk_freq": 4, "index_skip_topk_offset": 3}),
    ("deepseek-v4-flash", {}, {**FLAG, "index_topk_freq": None}),
]
SHARING_KEYS = ("index_topk_pattern", "index_topk_freq", "use_index_cache", "indexer_types", "skip_topk")


def source(package, path):
    return ast.parse(pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0], path).read_text())


def function(tree, name, *others):
    """A function of a module that is not imported, with nothing around it but builtins and the others."""
    scope = {}
    for wanted in (name, *others):
        node = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == wanted)
        for argument in node.args.args:
            argument.annotation = None
        node.returns = None
        exec(compile(ast.Module([node], []), wanted, "exec"), scope)
    return scope[name]


def v4_files_with_keys(package):
    """Files of the code for DeepSeek-V4 (not V4.1) that name a sharing key."""
    root = pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0])
    code = [path for path in root.rglob("*.py")
            if any(name in str(path.relative_to(root)) for name in ("deepseek_v4", "dsv4")) and "41" not in str(path.relative_to(root))]
    assert code, f"{package} has no code for DeepSeek-V4"
    return [str(path.relative_to(root)) for path in code if any(key in path.read_text() for key in SHARING_KEYS)]


def vllm_rule():
    """Statements of DeepseekV32Attention.__init__ from the reading of the keys to skip_topk."""
    tree = source("vllm", "models/deepseek_v32/attention.py")
    owner = next(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == "DeepseekV32Attention")
    init = next(n for n in owner.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    wanted = {"index_topk_freq", "index_topk_pattern", "index_skip_topk_offset"}

    def belongs(node):
        if isinstance(node, ast.Assign):
            return any(isinstance(t, ast.Name) and t.id in wanted for t in node.targets)
        return isinstance(node, ast.If) and "skip_topk" in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)
                                                            and isinstance(n.ctx, ast.Store)}
    body = [node for node in init.body if belongs(node)]
    assert len(body) == 4, "vLLM's rule has another form"
    code = compile(ast.Module(body, []), "vllm", "exec")

    def skips(config, layer):
        scope = {"config": config, "layer_id": layer}
        exec(code, scope)
        return scope["skip_topk"]
    return skips


class Vllm:
    name, package, shares_in_hy4, shares_in_v4 = "vllm", "vllm", True, False

    def __init__(self):
        rule = vllm_rule()
        of_hy4 = function(source("vllm", "models/hy_v4/nvidia/attention.py"), "compute_skip_topk_layers")
        self.skips = lambda config, layer: (layer in of_hy4(config) if config.model_type == "hy_v4"
                                            else rule(config, layer))

    def config(self, folder, overrides):
        from vllm.transformers_utils.config import get_config
        return get_config(str(folder), False, hf_overrides_kw=overrides or None)


class VllmAscend(Vllm):
    name, package, shares_in_hy4, shares_in_v4 = "vllm-ascend", "vllm_ascend", False, True

    def __init__(self):
        utils = source("vllm_ascend", "utils.py")
        rule, of_v4 = function(utils, "should_reuse_topk"), function(utils, "dsv4_skips_indexer_topk", "get_dsv4_compress_ratio")
        self.skips = lambda config, layer: (of_v4 if config.model_type == "deepseek_v4" else rule)(config, layer)

    def config(self, folder, overrides):
        # The package is for vLLM 0.30, whose own class keeps every key of DeepSeek-V4's config.json; the one of
        # transformers, which vLLM has used since, drops compress_ratios.
        keys = json.loads((folder / "config.json").read_text())
        if keys["model_type"] == "deepseek_v4":
            return types.SimpleNamespace(**{**keys, **overrides})
        return super().config(folder, overrides)


class Sglang:
    name, package, shares_in_hy4, shares_in_v4 = "sglang", "sglang", True, False

    def __init__(self):
        from sglang.srt.configs.model_config import dsa_layer_skips_topk
        self.skips = dsa_layer_skips_topk

    def config(self, folder, overrides):
        from sglang.srt.utils.hf_transformers.config import get_config
        frozen = json.loads(json.dumps(overrides))
        return getattr(get_config, "__wrapped__", get_config)(str(folder), False, model_override_args=frozen)


class Transformers:
    name, package, shares_in_hy4, shares_in_v4 = "transformers", "transformers", True, False

    def config(self, folder, overrides):
        config = AutoConfig.from_pretrained(folder)
        config.update(overrides)
        return config

    @staticmethod
    def skips(config, layer):
        # GlmMoeDsaAttention.__init__, HYV4Attention.__init__; DeepSeek-V3.2's class reads none of the keys.
        return config.model_type in ("glm_moe_dsa", "hy_v4") and config.indexer_types[layer] == "shared"


class Lmdeploy(Transformers):
    name, package, shares_in_hy4, shares_in_v4 = "lmdeploy", "lmdeploy", False, False

    def __init__(self):
        rule = function(source("lmdeploy", "pytorch/models/glm_moe_dsa.py"), "_get_layer_indexer_type")
        self.skips = lambda config, layer: config.model_type == "glm_moe_dsa" and rule(config, layer) == "shared"


def schedule(engine, folder, overrides):
    """F and S as the engine runs it; empty where it stops."""
    try:
        config = engine.config(folder, overrides)
        layers = range(config.num_hidden_layers)
        if config.model_type == "deepseek_v4":
            layers = [i for i in layers if config.compress_ratios[i] == 4]
        return "".join("S" if engine.skips(config, i) else "F" for i in layers)
    except (TypeError, KeyError, IndexError, ValueError, AssertionError):
        return ""


def config_folder(name, keys, folder):
    config = yaml.safe_load((ROOT / f"configs/{name}.yaml").read_text())["config"]
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, **keys}))
    return folder


def run(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True)


class Check:
    def __init__(self, tool, folder):
        self.tool, self.folder, self.bad, self.done = tool, folder, 0, 0

    def same(self, engine, what, actual, expected):
        self.done += 1
        if actual != expected:
            self.bad += 1
            print(f"FAIL {engine.name}: {what}\n  engine {actual or 'stops'}\n  ours   {expected or 'stops'}")

    def fresh(self):
        return self.folder / str(len(list(self.folder.iterdir())))

    def exported(self, engine, name, pattern):
        model = config_folder(name, {}, self.fresh())
        result = run(self.tool, "export", pattern, "-e", engine.name, "-m", model, "--json")
        refused = ("only in GLM-5 models", "shares index sets in Hy4", "shares index sets in DeepSeek-V4")
        if result.returncode == 3 and any(reason in result.stderr for reason in refused):
            return
        keys = json.loads(result.stdout)["keys"]
        self.same(engine, f"override of {name}", schedule(engine, model, keys), pattern)
        written = self.fresh()
        run(self.tool, "export", pattern, "-e", engine.name, "-m", model, "--write-config", written)
        self.same(engine, f"config.json of {name}", schedule(engine, written, {}), pattern)

    def odd(self, engine, name, keys, overrides):
        model = config_folder(name, keys, self.fresh())
        result = run(self.tool, "inspect", model / "config.json", "--override", json.dumps(overrides), "--json")
        reading = next(r for r in json.loads(result.stdout)["engines"] if r["engine"] == engine.name)
        self.same(engine, f"{name} with {keys} and {overrides}", schedule(engine, model, overrides),
                  reading["schedule"])


def main():
    logging.disable(logging.CRITICAL)
    bad = 0
    for kind in (Vllm, Sglang, Transformers, VllmAscend, Lmdeploy):
        try:
            version = importlib.metadata.version(kind.package)
            engine = kind()
        except (ImportError, StopIteration) as missing:
            print(f"----  {kind.name}: cannot be asked here ({missing})")
            continue
        with tempfile.TemporaryDirectory() as folder:
            check = Check(sys.argv[1], pathlib.Path(folder))
            for name, pattern in EXPORTED:
                check.exported(engine, name, pattern)
            odd = ODD + (ODD_HY4 if kind.shares_in_hy4 else []) + (ODD_V4 if kind.shares_in_v4 else [])
            for name, keys, overrides in odd:
                check.odd(engine, name, keys, overrides)
            if not kind.shares_in_v4:
                check.same(engine, "sharing keys in its code for DeepSeek-V4", v4_files_with_keys(kind.package), [])
        bad += check.bad
        print(f"{'FAIL' if check.bad else 'ok  '}  {kind.name} {version}: {check.done} schedules, {check.bad} differ")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
