"""Pickles of state dicts, read as data: nothing in a pickle is ever imported or called.

A pickle is a program for a small machine with a stack. This is that machine, without the means to
do harm: it knows the instructions from which torch makes a state dict, and a *global* is a name,
which a function of ours may stand for. ``pickletools`` decodes, and checks every length against the
file.
"""

import pickletools
from collections.abc import Callable, Mapping
from typing import IO, Any, cast

from resfuse.weights.errors import WeightsError
from resfuse.weights.mapped import MappedFile

__all__ = ["read_pickle"]

_MARK = object()  # where a list of items on the stack begins
_KEYS = (str, int, float, bytes, type(None))  # whose hash takes no time


class _Machine:
    """Runs one pickle. Methods that begin with ``do_`` are instructions."""

    def __init__(
        self, known: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any]
    ) -> None:
        self.known, self.persistent = known, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, file: MappedFile) -> Any:
        for opcode, argument, _ in pickletools.genops(cast(IO[bytes], file)):
            if opcode.name in _VALUES:
                self.stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name]())
            else:
                step = getattr(self, f"do_{opcode.name.lower()}", None)
                if step is None:
                    raise WeightsError(f"{opcode.name} has no place in a pickle of weights")
                step(argument)
        return self.stack.pop()

    def items(self) -> list[Any]:
        """What is above the last mark."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is _MARK:
                found = self.stack[index + 1 :]
                del self.stack[index:]
                return found
        raise WeightsError("a pickle takes more items than it has")

    def do_proto(self, _: Any) -> None: ...
    def do_frame(self, _: Any) -> None: ...
    def do_stop(self, _: Any) -> None: ...

    def do_mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def do_binput(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    do_long_binput = do_binput

    def do_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def do_binget(self, index: int) -> None:
        self.stack.append(self.memo[index])

    do_long_binget = do_binget

    def do_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.items()))

    def do_tuple1(self, _: Any) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def do_tuple2(self, _: Any) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def do_tuple3(self, _: Any) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def do_append(self, _: Any) -> None:
        self.extend([self.stack.pop()])

    def do_appends(self, _: Any) -> None:
        self.extend(self.items())

    def do_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.update([key, value])

    def do_setitems(self, _: Any) -> None:
        self.update(self.items())

    def do_global(self, name: str) -> None:
        self.stack.append(self.find(name.replace(" ", ".", 1)))

    def do_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(self.find(f"{module}.{name}"))

    def do_binpersid(self, _: Any) -> None:
        self.stack.append(self.persistent(self.stack.pop()))

    def do_reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Known) or not isinstance(arguments, tuple):
            raise WeightsError("a pickle calls what is no function of torch's")
        self.stack.append(function(*arguments))

    def do_build(self, _: Any) -> None:
        """Drops a dictionary's attributes: a state dict has a ``_metadata`` of versions."""
        self.stack.pop()
        if type(self.stack[-1]) is not dict:
            raise WeightsError("a pickle sets attributes of what is no dictionary")

    def find(self, name: str) -> "_Known":
        if name not in self.known:
            raise WeightsError(f"the pickle asks for {name}, which is neither data nor torch's")
        return _Known(self.known[name])

    def extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise WeightsError("a pickle appends to what is no list")
        self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        keys = values[::2]
        if type(self.stack[-1]) is not dict or not all(isinstance(key, _KEYS) for key in keys):
            raise WeightsError("a pickle sets items of what is no dictionary, or by strange keys")
        self.stack[-1].update(zip(keys, values[1::2], strict=True))


class _Known:
    """A global, which nothing but a call can use."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING"),
}
_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}


def read_pickle(
    file: MappedFile, known: Mapping[str, Callable[..., Any]], persistent: Callable[[Any], Any]
) -> Any:
    """What a pickle holds, from the file's position to the pickle's end.

    Args:
        file: In bytes.
        known: For each global that may occur, with its module, what stands for it.
        persistent: Gives the object of a persistent number.

    Raises:
        WeightsError: For anything else than data, and for a pickle that is broken or cut off.
    """
    try:
        return _Machine(known, persistent).run(file)
    except WeightsError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, UnicodeError) as error:
        raise WeightsError(f"the pickle is broken: {error}") from None
