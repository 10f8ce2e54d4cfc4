"""The pointers of an interface compiled into a decoder that reads what they name and only checks the rest."""

import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from rootsys_dagster.core.pointer import tokens

Tree = dict[str, "Tree"]
ABSENT = msgspec.Raw(b"")
REFUSALS = (msgspec.DecodeError, msgspec.ValidationError, RecursionError)
DECODER_DEPTH = 64
UNNAMEABLE = re.compile(r'["\\\x00-\x1f]')


class PointerDecoder:
    """Decodes only the required and record id pointers of JSON objects.

    Attributes:
        decode: raises one of REFUSALS for whatever is not plain; None when the pointers cannot be compiled.
    """

    def __init__(self, required: Sequence[str], id_paths: Sequence[str]) -> None:
        self.decode: Callable[[bytes], Any] | None = None
        self.id_getters: list[Callable[[Any], Any]] = []
        self.required_getters: list[Callable[[Any], Any]] = []
        paths = [tokens(pointer) for pointer in dict.fromkeys((*required, *id_paths))]
        # The decoder cannot be told of other names, or be built as deep as a pointer may be long.
        if any(len(path) > DECODER_DEPTH or UNNAMEABLE.search("".join(path)) for path in paths):
            return
        # Nor can it decode twice what is asked for whole and in part: the exact path does that.
        whole = set(paths)
        if any(path[:length] in whole for path in paths for length in range(1, len(path))):
            return
        tree: Tree = {}
        for path in paths:
            node = tree
            for token in path:
                node = node.setdefault(token, {})
        needed = {path[:length] for path in map(tokens, required) for length in range(1, len(path) + 1)}
        self.decode = (
            msgspec.json.Decoder(_struct(tree, (), needed)).decode
            if paths
            else msgspec.json.Decoder(msgspec.Raw).decode
        )
        self.id_getters = [attrgetter(_attribute(tree, tokens(pointer))) for pointer in id_paths]
        self.required_getters = [
            attrgetter(_attribute(tree, tokens(pointer))) for pointer in required if pointer not in id_paths
        ]


def _struct(tree: Tree, path: tuple[str, ...], needed: set[tuple[str, ...]]) -> type[msgspec.Struct]:
    required: list[tuple[str, Any]] = []
    optional: list[tuple[str, Any, Any]] = []
    rename: dict[str, str] = {}
    for number, (token, below) in enumerate(tree.items()):
        here = (*path, token)
        name = f"f{number}"
        rename[name] = token
        kind: Any = _struct(below, here, needed) if below else msgspec.Raw
        if here in needed:
            required.append((name, kind))
        else:
            optional.append((name, kind | None, None) if below else (name, kind, ABSENT))
    return msgspec.defstruct(f"Pointers{len(path)}", [*required, *optional], rename=rename, gc=False)


def _attribute(tree: Tree, path: Sequence[str]) -> str:
    names: list[str] = []
    for token in path:
        names.append(f"f{list(tree).index(token)}")
        tree = tree[token]
    return ".".join(names)
