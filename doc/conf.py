"""Configuration of the documentation: sphinx-build -W --keep-going doc doc/_build/html."""

import os
import warnings

# One thread per process, and no window: the gallery runs on build machines.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"

import skal  # noqa: E402

warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

project = "skal"
author = "the skal developers"
copyright = f"2026, {author}"
version = release = skal.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
# No remote inventory is read: the site builds without a network. References to other projects
# are plain code.
exclude_patterns = ["_build"]
templates_path = ["_templates"]
# sphinx_gallery_conf holds what cannot be pickled; the cache of the configuration is not needed.
suppress_warnings = ["config.cache"]

autosummary_generate = True
autodoc_typehints = "none"

numpydoc_show_class_members = False
numpydoc_show_inherited_class_members = False
numpydoc_class_members_toctree = False
numpydoc_validation_checks = {
    "GL01", "GL02", "GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10",
    "SS01", "SS02", "SS03", "SS04", "SS05",
    "PR01", "PR02", "PR03", "PR04", "PR06", "PR07", "PR08", "PR09", "PR10",
    "RT01", "RT03", "YD01",
}  # fmt: skip
numpydoc_validation_exclude = {
    # Fields of named tuples, described with them.
    r"\.(RatioToBaseline|AUCARatio|PermutationTestResult|PairedTest|LabelsSaved|CriticalDifference"
    r"|Recommendation)\.",
    # Options that are handed on, described where they are used.
    r"\.\w+Display\.from_\w+$",
    # Interfaces of torch and skorch.
    r"\.forward$",
    r"\.NeuralNet\w+\.(check_data|fit_loop|run_single_epoch)$",
    r"\.\w+Callback\.on_\w+$",
}

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"/plot_",
    "doc_module": ("skal",),
    "backreferences_dir": "generated/backreferences",
    "reference_url": {"skal": None},
    "remove_config_comments": True,
    "show_memory": False,
    "download_all_examples": False,
    "plot_gallery": True,
}

html_theme = "pydata_sphinx_theme"
html_title = f"skal {release}"
html_show_sphinx = False
html_theme_options = {
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_prev_next": False,
    # Pages of the gallery have none: code needs the width.
    "secondary_sidebar_items": {
        pattern: ["page-toc"]
        for pattern in ("user_guide/*", "generated/*", "api", "benchmarks", "whats_new")
    },
}


def skip_request_methods(app, what, name, obj, skip, options):
    """Leave out methods that scikit-learn makes: their text refers to its own documentation."""
    return skip or (name.startswith("set_") and name.endswith("_request"))


def setup(app):
    """Connect to Sphinx."""
    app.connect("autodoc-skip-member", skip_request_methods)


# Pages without a section of their own; their tables need the room.
html_sidebars = {"benchmarks": [], "whats_new": []}
html_static_path = ["_static"]
html_css_files = ["tables.css"]
