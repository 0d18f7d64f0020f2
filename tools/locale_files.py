"""Keeps the English texts and the lists in the help pages as the nodes' schemas have them.

    python tools/locale_files.py            writes what is out of date
    python tools/locale_files.py --check    names it, and exits 1 if there is any

`locales/en/nodeDefs.json` is written whole. Other languages' `nodeDefs.json` are translated by hand. A help
page, `web/docs/<id>.md` in English, `web/docs/<id>/<language>.md` in others, is written by hand but for its
two lists of sockets, which are made of the schema and of the language's `nodeDefs.json`. (Lists, not tables:
ComfyUI shows help in a panel a few words wide.)
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _pack
from hunyuan_av import nodes

WORDS = json.loads((_pack.ROOT / "tools" / "help_words.json").read_text("utf8"))
LARGEST_SEED = 2**64 - 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is out of date")
    check = parser.parse_args().check
    stale = [(path, text) for path, text in wanted() if not path.exists() or path.read_text("utf8") != text]
    for path, text in stale:
        print(f"{'out of date' if check else 'wrote'}: {path.relative_to(_pack.ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf8")
    return 1 if check and stale else 0


def wanted() -> Iterator[tuple[Path, str]]:
    """Each file that is written from the schemas, and what is to be in it.

    Raises: FileNotFoundError for a node without a help page, KeyError for one without a translation.
    """
    schemas = [node.define_schema() for node in nodes.NODES]
    english = {schema.node_id: english_texts(schema) for schema in schemas}
    yield definitions("en"), json.dumps(english, indent=2, ensure_ascii=False) + "\n"
    for language in WORDS:
        texts = english if language == "en" else json.loads(definitions(language).read_text("utf8"))
        for schema in schemas:
            page = help_page(schema.node_id, language)
            yield page, with_lists(page.read_text("utf8"), schema, texts[schema.node_id], language)


def definitions(language: str) -> Path:
    return _pack.ROOT / "locales" / language / "nodeDefs.json"


def help_page(node_id: str, language: str) -> Path:
    """Where ComfyUI looks for a node's help; English is what it falls back to."""
    docs = _pack.ROOT / "web" / "docs"
    return docs / f"{node_id}.md" if language == "en" else docs / node_id / f"{language}.md"


def english_texts(schema: Any) -> dict[str, Any]:
    """A node's texts in the form of ComfyUI's nodeDefs.json."""
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {
            socket.id: {"name": socket.display_name or socket.id, "tooltip": socket.tooltip}
            for socket in schema.inputs
        },
        "outputs": {
            str(i): {"name": socket.display_name, "tooltip": socket.tooltip}
            for i, socket in enumerate(schema.outputs)
        },
    }


def with_lists(page: str, schema: Any, texts: dict[str, Any], language: str) -> str:
    """A page with the lists below its two headings made anew. Raises ValueError if a heading is missing."""
    words = WORDS[language]
    inputs = [
        (label(text["name"], socket.id), values(socket, words), text["tooltip"])
        for socket in schema.inputs
        for text in [texts["inputs"][socket.id]]
    ]
    outputs = [
        (text["name"], f"`{socket.io_type}`", text["tooltip"])
        for socket, text in zip(schema.outputs, texts["outputs"].values(), strict=True)
    ]
    for heading, sockets in zip(words["headings"], (inputs, outputs), strict=True):
        head, found, rest = page.partition(f"\n## {heading}\n")
        if not found:
            raise ValueError(f"{schema.node_id} ({language}): no heading '## {heading}' in its help page.")
        _, _, later = rest.partition("\n## ")
        entries = [words["entry"].format(name=n, values=v, text=t) for n, v, t in sockets]
        page = f"{head}\n## {heading}\n\n" + "\n".join(entries) + f"\n\n## {later}"
    return page


def label(name: str, socket_id: str) -> str:
    """A translated name is followed by the id, which workflow files and error messages use."""
    return name if name == socket_id else f"{name} `{socket_id}`"


def values(socket: Any, words: dict[str, Any]) -> str:
    """What an input takes: its type, or the range and default of its widget."""
    parts = [taken(socket, words)]
    if socket.optional:
        parts.append(words["optional"])
    default = getattr(socket, "default", None)
    if socket.io_type == "BOOLEAN":
        parts.append(words["default"].format(value=words["switch"][default]))
    elif socket.io_type in {"COMBO", "INT", "FLOAT"} and default is not None:
        parts.append(words["default"].format(value=number(default)))
    return words["comma"].join(parts)


def taken(socket: Any, words: dict[str, Any]) -> str:
    if socket.io_type == "COMBO":  # which files there are differs from place to place
        options = words["comma"].join(f"`{option}`" for option in socket.options)
        return words["file"] if socket.id.endswith("_file") else options
    if socket.io_type in {"INT", "FLOAT"}:
        return words["range"].format(low=number(socket.min), high=number(socket.max))
    if socket.io_type == "BOOLEAN":
        return " / ".join(words["switch"])
    return words["text"] if socket.io_type == "STRING" else f"`{socket.io_type}`"


def number(value: Any) -> str:
    """A bound as people write it."""
    if value == LARGEST_SEED:
        return "2⁶⁴ - 1"
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
