"""What documentation and docstrings name exists: links, files, config files, modules, commands with their options."""

import ast
import importlib
import importlib.metadata
import importlib.util
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import yaml
from detectron2.config import CfgNode

REPO = Path(__file__).resolve().parent.parent
PACKAGES = ("d2road", "diffusion_det", "efficientad", "mono3dvg", "benchmarks")
NAMES = "|".join(PACKAGES)
SETUP = REPO / "scripts/setup_env.sh"
SITE_HOOK = REPO / "scripts/docs_site.py"
CONFIG_FILE = re.compile(r"(?<![\w./<>{*-])(?:configs/)?((?:diffusion_det|efficientad|mono3dvg)/[\w./-]+\.yaml)")
SOURCE_FILE = re.compile(rf"(?<![\w./<>{{*:-])((?:{NAMES}|datasets|tests|docs|scripts)/[\w./-]+\.(?:py|md|sh))\b")
DOTTED_NAME = re.compile(rf"`((?:{NAMES})(?:\.\w+)+)`")
COMMAND = re.compile(
    r"^\s*(?:[#$>]\s*)?((?:d2road [a-z]|python train_net\.py|python -m (?:d2road|benchmarks)\.|python datasets/"
    r"|torchrun .*train_net\.py).*)$",
    re.M,
)
# The entry points, and where the wheel has the configs.
NO_MODULES = ("d2road.projects", "d2road.configs")
CONFIG_KEY = re.compile(r"\b((?:MODEL|INPUT|SOLVER|DATASETS|DATALOADER|TEST|TIME_SPACE|MODEL_EMA)\.[A-Z][\w.]*\w)")


def tracked(*patterns: str) -> list[Path]:
    """Files of the checkout, or of an archive of it."""
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=REPO, capture_output=True, text=True)
    names = listed.stdout.split("\n") if listed.returncode == 0 else []
    return [REPO / name for name in names if name and (REPO / name).is_file()]


PAGES = [p for p in tracked("*.md") if "benchmarks/results" not in p.as_posix() and "CHANGELOG" not in p.name]
MODULES = [p for p in tracked("*.py") if p.parts[len(REPO.parts)] in (*PACKAGES, "datasets", "train_net.py")]


def docstrings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield text


def texts() -> Iterator[tuple[Path, str]]:
    """(file, text) of every page, config comment and docstring."""
    for page in (*PAGES, *tracked("configs/*.yaml"), REPO / "Makefile"):
        yield page, page.read_text()
    for module in MODULES:
        for text in docstrings(module):
            yield module, text


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    heads = re.findall(r"^#+\s+(.*?)\s*$", page.read_text(), re.M)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|`", lambda m: m.group(1) or "", head).lower() for head in heads]
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(REPO).as_posix())
def test_links_of_a_page_lead_somewhere(page):
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+://|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            wrong.append(target)
    assert not wrong


def test_files_that_are_named_exist():
    """Config files by their path below configs/, and files of the source tree."""
    configs = {p.relative_to(REPO / "configs").as_posix() for p in tracked("configs/*.yaml")}
    wrong = []
    for source, text in texts():
        missing = [name for name in CONFIG_FILE.findall(text) if name not in configs]
        for name in SOURCE_FILE.findall(text):
            places = (REPO, source.parent, REPO / "tests")
            if not any((place / name).is_file() for place in places) and "/results/" not in name:  # these are made
                missing.append(name)
        wrong += [(source.relative_to(REPO).as_posix(), name) for name in missing]
    assert not wrong


def test_modules_and_names_in_backticks_exist():
    wrong = []
    for source, text in texts():
        wrong += [(source.relative_to(REPO).as_posix(), n) for n in DOTTED_NAME.findall(text) if not resolves(n)]
    assert not wrong


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one; a name of a file with a suffix counts as none."""
    if name.rpartition(".")[2] in ("pt", "pth", "py", "md", "yaml") or name in NO_MODULES:
        return True
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        place = REPO.joinpath(*parts[:end])
        if place.is_dir() or place.with_suffix(".py").is_file():
            found = importlib.import_module(".".join(parts[:end]))
            for part in parts[end:]:
                if not hasattr(found, part):
                    return False
                found = getattr(found, part)
            return True
    return False


def commands() -> list[tuple[str, list[str]]]:
    """(file, words) of every command of this project, continued lines joined."""
    found = []
    for source, text in texts():
        joined = re.sub(r"\\+\n\s*", " ", text)
        for line in COMMAND.findall(joined):
            line = re.split(r"\s{2,}|\s#\s", line.strip())[0].split("|")[0]
            try:
                words = shlex.split(line)
            except ValueError:
                words = line.split()
            found.append((source.relative_to(REPO).as_posix(), words))
    return found


def parser_of(words: list[str]):
    """The parser of a command, and the words behind its name; None where the command has none of its own."""
    if words[0] == "d2road":
        module, rest = f"d2road.cli.{words[1].replace('-', '_')}", words[2:]
    elif words[0] == "torchrun" or words[1] == "train_net.py":
        module, rest = "d2road.cli.train", words[words.index("train_net.py") + 1 :]
    elif words[1] == "-m":
        module, rest = words[2], words[3:]
    else:
        return None, words[2:]
    place = REPO / module.replace(".", "/")
    if not place.with_suffix(".py").is_file() and not (place / "__main__.py").is_file():
        raise AssertionError(f"there is no {module}")
    build = getattr(importlib.import_module(module), "build_parser", None)
    return (build() if build else None), rest


def options_of(parser) -> set[str]:
    """All option strings of a parser and its subcommands."""
    options = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(getattr(action, "choices", None), dict):
            for sub in action.choices.values():
                options |= options_of(sub)
    return options


def test_commands_have_the_options_that_are_named():
    wrong = []
    for source, words in commands():
        try:
            parser, rest = parser_of(words)
        except AssertionError as error:
            wrong.append((source, str(error)))
            continue
        if parser is None:
            continue
        known = options_of(parser)
        flags = [word.partition("=")[0] for word in rest if word.startswith("--")]
        wrong += [(source, " ".join(words[:3]), flag) for flag in flags if flag not in known]
    assert not wrong


def first_options_of(parser) -> set[str]:
    """The name of each option that its help gives first; others are kept for earlier scripts."""
    first = set()
    for action in parser._actions:
        first |= {next((text for text in action.option_strings if text.startswith("--")), "")}
        if isinstance(getattr(action, "choices", None), dict):
            for sub in action.choices.values():
                first |= first_options_of(sub)
    return first


def test_commands_name_options_as_their_help_does():
    """Not by a name of earlier versions, such as --out for --output."""
    wrong = []
    for source, words in commands():
        parser, rest = parser_of(words)
        if parser is not None:
            first = first_options_of(parser)
            flags = [word.partition("=")[0] for word in rest if word.startswith("--")]
            wrong += [(source, " ".join(words[:3]), flag) for flag in flags if flag not in first]
    assert not wrong


def test_make_targets_that_are_named_exist():
    rules = (REPO / "Makefile").read_text()
    targets = set(re.findall(r"^([\w.-]+):", rules, re.M))
    wrong = []
    for source, text in texts():
        for name in re.findall(r"`make ([a-z][\w-]*)|^make ([a-z][\w-]*)", text, re.M):
            target = name[0] or name[1]
            if target not in targets and not target.startswith("bench-"):
                wrong.append((source.relative_to(REPO).as_posix(), target))
        for name in re.findall(r"make (bench-[\w-]+\w)", text):
            if name not in targets:
                wrong.append((source.relative_to(REPO).as_posix(), name))
    assert not wrong


def test_config_keys_that_are_named_exist():
    from d2road.config import make_cfg
    from d2road.config.merge import all_keys

    cfg = make_cfg()
    cfg.MODEL.BLOB = CfgNode({"WIDTH": 8})  # of the example of docs/extending.md
    known = set(all_keys(cfg))
    wrong = []
    for source, text in texts():
        for name in CONFIG_KEY.findall(text.replace(".KEY", "")):
            if name not in known and not any(key.startswith(name) for key in known):
                wrong.append((source.relative_to(REPO).as_posix(), name))
    assert not wrong


def test_messages_that_troubleshooting_quotes_are_those_of_the_programs():
    """What stands in backticks in the first column, unless it is a command, a part of it at each side of "...".

    Texts of the sources are joined where a line ends, as Python joins them.
    """
    sources = [re.sub(r'"\s*\n\s*f?r?"', "", module.read_text()) for module in MODULES]
    missing, quoted = [], 0
    for row in re.findall(r"^\| (.*?) \|", (REPO / "docs/troubleshooting.md").read_text(), re.M):
        for text in re.findall(r"`([^`]+)`", row):
            if text.startswith(("d2road ", "eval-", "SEED")):
                continue
            for part in filter(None, map(str.strip, text.split("..."))):
                quoted += 1
                if not any(part in source for source in sources):
                    missing.append(part)
    assert not missing and quoted > 25


def test_container_images_are_of_what_is_here():
    """Sources of the Dockerfile exist, and its torch is that of the set-up; nothing is built here."""
    text = (REPO / "Dockerfile").read_text()
    sources = [name for line in re.findall(r"^COPY (.*)$", text, re.M) for name in line.split()[:-1]]
    assert len(sources) > 5 and all((REPO / name).exists() for name in sources)
    pins = [set(re.findall(r"torch(?:vision)?==[\d.]+", source)) for source in (text, SETUP.read_text())]
    assert pins[0] == pins[1] and len(pins[0]) == 2


def test_dockerfile_is_one_by_its_grammar():
    """Known instructions, arguments that are declared, shell that parses, extras and stages that exist."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (REPO / "Dockerfile").read_text(), flags=re.M))
    lines = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    assert {word for word, _ in lines} <= {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "CMD", "USER", "ENTRYPOINT"}
    stages, known, before = {}, set(), {"PATH"}
    for word, rest in lines:
        used = set(re.findall(r"\$\{?(\w+)", rest))
        assert used <= (known | before), f"{word} {rest}"
        if word == "FROM":
            source, *name = re.split(r"\s+AS\s+", rest)
            known = set(stages.get(source, ()))
            stages[name[0] if name else ""] = known
        elif word in ("ARG", "ENV"):
            (known if stages else before).update(re.findall(r"(\w+)(?==|$)", rest) or [rest])
        elif word == "RUN":
            done = subprocess.run(["sh", "-n", "-c", rest], capture_output=True, text=True, check=False)
            assert not done.returncode, done.stderr
        elif word in ("CMD", "ENTRYPOINT"):
            assert all(isinstance(one, str) for one in json.loads(rest))
    extras = set(importlib.metadata.metadata("d2road").get_all("Provides-Extra") or ())
    asked = re.findall(r"setup_env\.sh ([\w ]+)", joined)
    assert asked and all(set(words.split()) <= extras for words in asked)
    container = json.loads((REPO / ".devcontainer/devcontainer.json").read_text())
    assert container["build"]["target"] in stages and f"VENV={container['remoteEnv']['VENV']}" in joined


def test_site_has_every_page():
    """`make docs` fails on others; here without MkDocs."""
    site = yaml.safe_load((REPO / "mkdocs.yml").read_text())
    in_menu = set(re.findall(r"[\w/-]+\.md", yaml.safe_dump(site["nav"])))
    from_elsewhere = ast.literal_eval(re.search(r"^PAGES = (\{.*?\})$", SITE_HOOK.read_text(), re.M | re.S).group(1))
    assert all((REPO / source).is_file() for source in from_elsewhere)
    ours = {page.relative_to(REPO / "docs").as_posix() for page in tracked("docs/*.md")}
    assert in_menu == ours | set(from_elsewhere.values())


def test_reference_has_every_package_that_programs_of_the_documentation_import():
    text = re.search(r"^REFERENCE = (\(.*?\))$", SITE_HOOK.read_text(), re.M | re.S).group(1)
    described = ast.literal_eval(text)
    programs = [path.read_text() for path in tracked("examples/*.py")]
    for page in PAGES:
        programs += re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
    imported = {
        name for text in programs for name in re.findall(rf"^\s*(?:from|import) ((?:{NAMES})[\w.]*)", text, re.M)
    }
    assert len(imported) > 10
    assert [name for name in sorted(imported) if not f"{name}.".startswith(tuple(f"{one}." for one in described))] == []


def test_links_out_of_docs_become_paths_on_the_site():
    hook = pytest.importorskip("mkdocs.config.defaults", reason="`make docs` installs MkDocs") and load_hook()
    text = "see [data](../datasets/README.md#toy), [keys](../configs/x.yaml), ![a](images/a.png)"
    plain = hook.relink(text, "docs/z.md", "z.md", SimpleNamespace(extra={}))
    assert plain == "see [data](datasets.md#toy), keys (`configs/x.yaml`), ![a](images/a.png)"
    linked = hook.relink(text, "docs/z.md", "z.md", SimpleNamespace(extra={"source_url": "https://host/tree"}))
    assert "[keys](https://host/tree/configs/x.yaml)" in linked


def test_formulas_become_mathml_that_an_xml_parser_reads():
    pytest.importorskip("latex2mathml", reason="`make docs` installs it")
    pytest.importorskip("mkdocs", reason="`make docs` installs it")
    hook = load_hook()
    for page in sorted((REPO / "docs").glob("math_*.md")):
        shown = hook.with_mathml(page.read_text())
        formulas = re.findall(r"<math.*?</math>", shown, re.S)
        assert len(formulas) > 30 and "$" not in shown
        for formula in formulas:
            ElementTree.fromstring(formula)
            assert "\\" not in re.sub(r"<[^>]+>", "", formula), f"{page.name}: {formula}"


def load_hook():
    spec = importlib.util.spec_from_file_location("docs_site", SITE_HOOK)
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    return hook
