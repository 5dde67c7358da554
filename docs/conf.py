"""The site: ``pip install '.[docs]' && sphinx-build -W docs docs/_build``."""

import os
from collections.abc import Iterator
from importlib import import_module

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import resfuse

project = "resfuse"
author = "The resfuse authors"
version = release = resfuse.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
html_theme = "sphinx_book_theme"
html_title = "resfuse"
html_theme_options = {"show_toc_level": 2, "home_page_in_toc": True}

myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3

# Every cell runs, and an error ends the build. The cells have one CPU device, as on any machine.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
os.environ["JAX_PLATFORMS"] = "cpu"

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_rtype = False

MODULES = ("resfuse", "resfuse.ffi", "resfuse.linen", "resfuse.nnx", "resfuse.d2l")


def public_names() -> Iterator[str]:
    """Every name that users are told of."""
    for name in MODULES:
        module = resfuse.ffi if name == "resfuse.ffi" else import_module(name)
        yield from (f"{name}.{each}" for each in module.__all__)


def check_that_all_is_documented(app: Sphinx, exception: Exception | None) -> None:
    """Ends the build where a public name has no entry in the pages of the API."""
    if exception or app.builder.name != "html":
        return
    documented = app.env.get_domain("py").objects
    dunder = {"resfuse.__version__"}
    missing = sorted({*public_names()} - {*documented} - {*MODULES} - dunder)
    if missing:
        raise ExtensionError(f"not in the pages of the API: {', '.join(missing)}")


def setup(app: Sphinx) -> None:
    """Registers the check."""
    app.connect("build-finished", check_that_all_is_documented)
