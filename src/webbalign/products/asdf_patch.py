"""Changing a few nodes of an ASDF tree without building, validating and writing its objects.

The YAML part is taken to nodes and back; what is not changed keeps its tags, and arrays that lie
elsewhere (in FITS extensions, in binary blocks) are not touched.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import asdf
import yaml

__all__ = ["patched_asdf"]

_END = re.compile(rb"\r?\n\.\.\.[ \t]*\r?\n")
_STANDARD = re.compile(rb"^#ASDF_STANDARD\s+(\S+)", re.MULTILINE)
_BLOCK_INDEX = b"#ASDF BLOCK INDEX"
_TAG = "tag:stsci.edu:asdf/"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def patched_asdf(
    content: bytes,
    changes: Mapping[tuple[str, ...], Any],
    removed: Iterable[tuple[str, ...]] = (),
) -> bytes:
    """Replace parts of an ASDF file.

    Parameters
    ----------
    content : bytes
        The whole file.
    changes : mapping
        Paths of keys, such as ``("meta", "wcs")``, and what shall stand there: anything that ASDF
        can hold. Arrays in it are written into the YAML part.
    removed : iterable of tuple of str
        Paths whose entries are taken out, where they exist.

    Returns
    -------
    bytes
        The changed file.

    Raises
    ------
    ValueError
        If the content is no ASDF file with a tree.
    """
    end = _END.search(content)
    standard = _STANDARD.search(content[:4096])
    if end is None or standard is None:
        raise ValueError("no ASDF tree")
    head = content[: end.start()]
    tree = yaml.compose(head, Loader=_LOADER)
    if not isinstance(tree, yaml.MappingNode):
        raise ValueError("the ASDF tree is no mapping")
    fresh = _serialised(changes, standard.group(1).decode())
    for number, path in enumerate(changes):
        _put(tree, path, _get(fresh, "changes").value[number])
    for path in removed:
        _drop(tree, path)
    _merge_extensions(tree, fresh)
    comments = [line for line in head.split(b"\n")[:8] if line.startswith(b"#")]
    text = yaml.serialize(
        tree,
        Dumper=_DUMPER,
        encoding="utf-8",
        explicit_start=True,
        explicit_end=True,
        version=(1, 1),
        tags={"!": _TAG},
        width=100,
        allow_unicode=True,
    )
    return b"\n".join(comments) + b"\n" + text + _blocks(content[end.end() :], tree)


def _serialised(changes: Mapping[tuple[str, ...], Any], standard: str) -> yaml.MappingNode:
    buffer = io.BytesIO()
    tree = {"changes": list(changes.values())}
    asdf.AsdfFile(tree, version=standard).write_to(buffer, all_array_storage="inline")
    content = buffer.getvalue()
    end = _END.search(content)
    assert end is not None  # asdf has just written it
    node = yaml.compose(content[: end.start()], Loader=_LOADER)
    assert isinstance(node, yaml.MappingNode)
    return node


def _blocks(tail: bytes, tree: yaml.Node) -> bytes:
    """Return the binary blocks, without an index, which would be wrong now; none if none is used.

    The blocks are numbered: a single one cannot be left out.
    """
    if not any(_refers_to_block(node) for node in _all_nodes(tree)):
        return b""
    blocks, _, _ = tail.partition(_BLOCK_INDEX)
    return blocks


def _refers_to_block(node: yaml.Node) -> bool:
    if not isinstance(node, yaml.MappingNode) or "/ndarray-" not in node.tag:
        return False
    source = _get(node, "source")
    return isinstance(source, yaml.ScalarNode) and source.tag.endswith(":int")


def _all_nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    pending, seen = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            pending += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pending += node.value


def _get(node: yaml.Node, key: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return value
    return None


def _put(root: yaml.MappingNode, path: tuple[str, ...], new: yaml.Node) -> None:
    node = root
    for key in path[:-1]:
        inner = _get(node, key)
        if not isinstance(inner, yaml.MappingNode):
            _drop(node, (key,))
            inner = yaml.MappingNode("tag:yaml.org,2002:map", [])
            node.value.append((_word(key), inner))
        # a mapping in one line (flow style) cannot hold one in several lines
        node, inner.flow_style = inner, False
    for position, (name, _) in enumerate(node.value):
        if name.value == path[-1]:
            node.value[position] = (name, new)
            return
    node.value.append((_word(path[-1]), new))


def _drop(root: yaml.MappingNode, path: tuple[str, ...]) -> None:
    node: Any = root
    for key in path[:-1]:
        node = _get(node, key)
    if isinstance(node, yaml.MappingNode):
        node.value = [(name, value) for name, value in node.value if name.value != path[-1]]


def _word(text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text)


def _merge_extensions(tree: yaml.MappingNode, fresh: yaml.MappingNode) -> None:
    """Name in the tree's history the extensions that wrote the new parts."""
    new = _get(_get(fresh, "history"), "extensions")
    if new is None:
        return
    history = _get(tree, "history")
    old = _get(history, "extensions")
    if old is None:
        if history is None or isinstance(history, yaml.MappingNode):
            _put(tree, ("history", "extensions"), new)
        return
    known = {_uri(node) for node in old.value}
    old.value += [node for node in new.value if _uri(node) not in known]


def _uri(node: yaml.Node) -> str:
    return str(getattr(_get(node, "extension_uri"), "value", ""))
