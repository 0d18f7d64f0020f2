"""Every node speaks each of our languages, and has a help page in each, in step with its schema."""

import json
import re
import sys
from pathlib import Path

import pytest
from pack import nodes

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import locale_files  # noqa: E402

SCHEMAS = {schema.node_id: schema for schema in (node.define_schema() for node in nodes.NODES)}
SECTIONS = {
    "en": ["Inputs", "Outputs", "Tips", "Example"],
    "zh": ["输入", "输出", "提示", "示例"],
    "ja": ["入力", "出力", "ヒント", "例"],
}
TRANSLATED = ["zh", "ja"]
IDEOGRAPHS_OR_KANA = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
ADDED_BY_THE_PAGE = {"control_after_generate"}  # the widget under a seed

every_node = pytest.mark.parametrize("node_id", SCHEMAS)
translations = pytest.mark.parametrize("language", TRANSLATED)
languages = pytest.mark.parametrize("language", SECTIONS)


def texts(language: str) -> dict:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text("utf8"))


def tooltips(node: dict) -> dict[str, str]:
    """Every sentence about a node, by where it stands."""
    sockets = [(kind, key, text) for kind in ("inputs", "outputs") for key, text in node[kind].items()]
    return {
        "description": node["description"],
        **{f"{kind}.{key}": text["tooltip"] for kind, key, text in sockets if key not in ADDED_BY_THE_PAGE},
    }


def test_english_texts_and_the_lists_of_help_pages_are_those_of_the_schemas():
    stale = [path for path, text in locale_files.wanted() if path.read_text("utf8") != text]
    assert not stale, "run: python tools/locale_files.py"


@languages
def test_no_text_is_left_of_a_node_that_is_gone(language):
    assert set(texts(language)) == set(SCHEMAS)
    pages = {path.stem for path in (ROOT / "web" / "docs").glob("*.md")}
    folders = {path.name for path in (ROOT / "web" / "docs").iterdir() if path.is_dir()}
    assert pages == folders == set(SCHEMAS)


@translations
@every_node
def test_a_translation_covers_every_input_and_output(node_id, language):
    schema, node = SCHEMAS[node_id], texts(language)[node_id]
    assert set(node["inputs"]) - ADDED_BY_THE_PAGE == {socket.id for socket in schema.inputs}
    assert list(node["outputs"]) == [str(i) for i in range(len(schema.outputs))]
    assert node["display_name"]
    assert all(text["name"] for kind in ("inputs", "outputs") for text in node[kind].values())


@translations
@every_node
def test_every_sentence_is_translated(node_id, language):
    for place, text in tooltips(texts(language)[node_id]).items():
        assert IDEOGRAPHS_OR_KANA.search(text), f"{place} is not translated: {text}"


@translations
@every_node
def test_a_translation_names_the_numbers_and_files_of_the_original(node_id, language):
    translated = tooltips(texts(language)[node_id])
    for place, text in tooltips(texts("en")[node_id]).items():
        facts = set(re.findall(r"\d[\d.]*\d|\d|\b\w+/\w+\b|\b\w+\.(?:pth|json|txt|onnx|pt)\b", text))
        missing = {fact for fact in facts if fact not in translated[place]}
        assert not missing, f"{place}: {missing} not in {translated[place]}"


@languages
@every_node
def test_a_help_page_tells_all_that_it_should(node_id, language):
    page = locale_files.help_page(node_id, language).read_text("utf8")
    assert page.startswith(f"# {texts(language)[node_id]['display_name']}\n")
    assert re.findall(r"(?m)^## (.+)$", page) == SECTIONS[language]
    introduction, *sections = re.split(r"(?m)^## .+$", page)
    assert len(introduction.split("\n", 1)[1].strip()) > 20
    assert all(section.strip() for section in sections)


@languages
@every_node
def test_a_help_page_needs_nothing_from_elsewhere(node_id, language):
    path = locale_files.help_page(node_id, language)
    for target in re.findall(r"(?:\]\(|src=\")([^)\"]+)", path.read_text("utf8")):
        assert not target.startswith(("http:", "//")), target
        if not target.startswith("https:"):
            assert (path.parent / target).exists(), target
