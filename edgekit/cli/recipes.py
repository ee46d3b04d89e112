"""`edgekit recipes`: how model families are preprocessed, decoded and calibrated."""

from __future__ import annotations

import click

from edgekit.cli.common import talk, terminal
from edgekit.cli.terminal import Terminal, outline, table


@click.group()
def recipes() -> None:
    """List the calibration recipes, or show one."""


@recipes.command("list")
@talk
@terminal
def list_(terminal: Terminal, /) -> None:
    """List the recipes that EdgeKit ships."""
    from edgekit.recipes import load_recipe
    from edgekit.resources import shipped_names

    found = [load_recipe(name) for name in shipped_names("calib")]
    terminal.show(table([(recipe.name, recipe.title) for recipe in found]))
    terminal.result({"recipes": [{"name": each.name, "title": each.title, "models": each.models} for each in found]})


@recipes.command()
@click.argument("recipe")
@talk
@terminal
def show(terminal: Terminal, /, recipe: str) -> None:
    """Show a recipe: preprocessing, heads, decoder, gates and steps."""
    from edgekit.recipes import load_recipe

    shown = load_recipe(recipe).model_dump(mode="json", exclude_none=True)
    terminal.show(outline(shown))
    terminal.result({"recipe": shown})
