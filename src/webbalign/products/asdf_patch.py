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

__all__ = ["TreePath", "patched_asdf"]

# keys of mappings and numbers of items of sequences, from the root
TreePath = tuple[str | int, ...]

_END = re.compile(rb"\r?\n\.\.\.[ \t]*\r?\n")
_STANDARD = re.compile(rb"^#ASDF_STANDARD\s+(\S+)", re.MULTILINE)
_BLOCK_INDEX = b"#ASDF BLOCK INDEX"
_TAG = "tag:stsci.edu:asdf/"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def patched_asdf(
    content: bytes,
    changes: Mapping[TreePath, Any],
    removed: Iterable[TreePath] = (),
    inserted: Mapping[TreePath, Any] | None = None,
) -> bytes:
    """Replace parts of an ASDF file.

    Parameters
    ----------
    content : bytes
        The whole file.
    changes : mapping
        Paths, such as ``("meta", "wcs", "steps", 2, "frame")``, and what shall stand there:
        anything that ASDF can hold. Arrays in it are written into the YAML part.
    removed : iterable of tuple
        Paths whose entries are taken out, where they exist.
    inserted : mapping, optional
        Paths of items of sequences, and what shall be inserted before them, once the changes are
        made.

    Returns
    -------
    bytes
        The changed file.

    Raises
    ------
    ValueError
        If the content is no ASDF file with a tree, or the tree has no place for a change.
    """
    end = _END.search(content)
    standard = _STANDARD.search(content[:4096])
    if end is None or standard is None:
        raise ValueError("no ASDF tree")
    head = content[: end.start()]
    tree = yaml.compose(head, Loader=_LOADER)
    if not isinstance(tree, yaml.MappingNode):
        raise ValueError("the ASDF tree is no mapping")
    inserted = inserted or {}
    fresh = _serialised([*changes.values(), *inserted.values()], standard.group(1).decode())
    nodes = iter(_get(fresh, "changes").value)
    for path in changes:
        _put(tree, path, next(nodes))
    for path in inserted:
        sequence = _at(tree, path[:-1])
        if not isinstance(sequence, yaml.SequenceNode):
            raise ValueError(f"no sequence at {path[:-1]}")
        sequence.value.insert(int(path[-1]), next(nodes))
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


def _serialised(values: list[Any], standard: str) -> yaml.MappingNode:
    buffer = io.BytesIO()
    tree = {"changes": values}
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


def _get(node: yaml.Node | None, key: str | int) -> Any:
    """Return the value of a key, or an item; None if there is none."""
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
        return node.value[key] if key < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return value
    return None


def _at(root: yaml.MappingNode, path: TreePath) -> Any:
    node: Any = root
    for key in path:
        node = _get(node, key)
    return node


def _put(root: yaml.MappingNode, path: TreePath, new: yaml.Node) -> None:
    """Let something stand at a path; mappings on the way are made."""
    node: Any = root
    for key in path[:-1]:
        inner = _get(node, key)
        if inner is None or (isinstance(inner, yaml.ScalarNode) and inner.tag.endswith(":null")):
            inner = yaml.MappingNode("tag:yaml.org,2002:map", [])
            _set(node, key, inner)
        # a mapping in one line (flow style) cannot hold one in several lines
        node, inner.flow_style = inner, False
    _set(node, path[-1], new)


def _set(node: yaml.Node, key: str | int, new: yaml.Node) -> None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        node.value[key] = new
    elif isinstance(node, yaml.MappingNode) and isinstance(key, str):
        for position, (name, _) in enumerate(node.value):
            if name.value == key:
                node.value[position] = (name, new)
                return
        node.value.append((_word(key), new))
    else:
        raise ValueError(f"no place for {key!r}")


def _drop(root: yaml.MappingNode, path: TreePath) -> None:
    node = _at(root, path[:-1])
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
