"""Configuration of the documentation; `make docs` builds it into docs/_build/html, pages that need no network."""

import sys
from pathlib import Path

from nbclient import NotebookClient

import softgrad as sg

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "softgrad"
author = "the softgrad maintainers"
version = release = sg.__version__
html_title = f"softgrad {version}"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "offline",
]
exclude_patterns = ["_build", "jupyter_execute"]
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore_regex = [
    # An inventory of other projects would need a network.
    ("py:.*", r"(catboost|functools|lightgbm|numpy|scipy|sklearn|xgboost)\..*"),
    ("py:obj", "p"),  # the operator's own attribute
]
default_role = "autolink"  # a link where `name` can be imported, else emphasis

# Pages and notebooks
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
NotebookClient._static_immutable_initial_values["coalesce_streams"] = True  # one output per cell; MyST-NB has no option
suppress_warnings = ["myst.header"]  # tables of results are headings of the third level

# Reference
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

# Mathematics: MathJax, one file of the package sphinx-mathjax-offline (see _extensions/offline.py), no network
mathjax_path = "tex-svg-full.js"
mathjax3_config = {
    "options": {"enableMenu": False},
    "tex": {"inlineMath": [["\\(", "\\)"]], "displayMath": [["\\[", "\\]"]]},
    "svg": {"fontCache": "global"},
}
myst_update_mathjax = False

html_context = {"default_mode": "auto"}
html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": "softgrad"},
    "show_prev_next": True,
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navbar_persistent": ["search-button"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_sidebars = {
    page: []
    for page in (
        "explorer",
        "edges",
        "accuracy",
        "speed",
        "gallery",
        "architecture",
        "contributing",
        "changelog",
        "results/*",
    )
}
html_static_path = ["_static"]
html_css_files = ["softgrad.css", "explorer.css"]
html_domain_indices = False
html_show_sourcelink = False
html_show_search_summary = False  # it would read pages by fetch(), which browsers refuse for files
html_copy_source = False
copyright = "the softgrad maintainers, BSD-3-Clause"  # noqa: A001  Sphinx's name
