"""The command line's parser, made for the commands that were named: it must cost little.

typer makes all commands to run one, and checks every argument with pydantic, whose import takes
longer than most commands do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption
from typer.main import get_command


def parser(app: typer.Typer, arguments: Sequence[str]) -> Callable[..., Any]:
    """What parses these arguments and runs their command, as ``app`` itself would.

    Args:
        app: with a callback, so that it is a group however few commands it has.
        arguments: those it will be called with.
    """
    _keep_named(app, set(arguments))
    command = get_command(app)
    _trust_what_fits(command)
    return command


def _keep_named(app: typer.Typer, words: set[str]) -> None:
    """Leave out commands whose name is not among the words; none, if that would leave nothing.

    A word may be an option's value as well: then a command too many is made.
    """
    commands = [one for one in app.registered_commands if one.name in words]
    groups = [one for one in app.registered_groups if one.name in words]
    if commands or groups:
        app.registered_commands, app.registered_groups = commands, groups
    for group in groups:
        if group.typer_instance is not None:
            _keep_named(group.typer_instance, words)


def _trust_what_fits(command: Any) -> None:
    command.get_params = partial(_trusting, command.get_params)
    if isinstance(command, TyperGroup):
        for inner in command.commands.values():
            _trust_what_fits(inner)


def _trusting(get_params: Callable[[Any], list[Any]], context: Any) -> list[Any]:
    """A command's parameters, its ``--help`` among them."""
    parameters = get_params(context)
    for one in parameters:
        # They are asked for several times.
        if "process_value" not in vars(one):
            one.process_value = partial(_processed, one, one.process_value)
    return parameters


def _processed(
    parameter: TyperArgument | TyperOption,
    check: Callable[[Any, Any], Any],
    context: Any,
    value: Any,
) -> Any:
    """The value as the command gets it: texts, what was left out, and defaults need no check."""
    wanted = parameter.type_descriptor.annotation
    is_list = parameter.multiple or parameter.nargs == -1
    texts = is_list and wanted == list[str] and isinstance(value, list | tuple)
    if parameter.required and parameter.value_is_missing(value):
        return check(context, value)
    if value is None:
        value = () if is_list else None
    elif texts:
        value = list(value)
    elif not (isinstance(wanted, type) and type(value) is wanted):
        return check(context, value)
    return value if parameter.callback is None else parameter.callback(context, parameter, value)
