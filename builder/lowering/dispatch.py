"""
The function `lower`: one instruction and the state before it give the state after it.

Implementations register themselves by instruction class, in one module per family; `lower` loads them. There
is no default that ignores: an instruction without an implementation is an error.
"""

from __future__ import annotations

from functools import singledispatch

from dockerfile_grammar.instructions import InstructionBase

from .state import Scope, StageState


@singledispatch
def lower(instruction: InstructionBase, state: StageState, scope: Scope) -> StageState:
    """
    What the instruction makes of the state.

    Raises:
        DockerfileError: a variable cannot be expanded, or a value is wrong.
        BuildError: the instruction asks for something that is not there or not supported.
    """
    del state, scope
    raise TypeError(f"no lowering for {type(instruction).__name__}")
