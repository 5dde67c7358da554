"""The site: ``pip install '.[docs]' && sphinx-build -W docs docs/_build``."""

import os
import sys
from pathlib import Path

import resfuse

sys.path.append(str(Path(__file__).parent))

project = "resfuse"
author = "The resfuse authors"
version = release = resfuse.__version__

extensions = [
    "myst_nb",
    "public_api",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "jupyter_execute"]  # what the build itself writes
html_theme = "sphinx_book_theme"
html_title = "resfuse"
html_theme_options = {
    "show_toc_level": 2,
    "home_page_in_toc": True,
    "navbar_persistent": [],  # or the theme below this one adds a second search field
}
html_static_path = ["_static"]
html_css_files = ["resfuse.css"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Every cell runs, and an error ends the build. The cells have CPUs alone, as on any machine.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 240
nb_merge_streams = True
os.environ["JAX_PLATFORMS"] = "cpu"

autodoc_typehints = "none"  # ArrayLike alone is eight types; the text says what each argument takes
autodoc_preserve_defaults = True
napoleon_use_rtype = False
napoleon_use_ivar = True
