"""The settings of Sphinx: ``make docs`` builds this folder as a site in ``build/docs``."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]
# For the kernels of the notebooks: this checkout, and the one core that their times are for.
os.environ['PYTHONPATH'] = os.pathsep.join([str(DOCS.parent), *filter(None, [os.environ.get('PYTHONPATH')])])
os.environ.setdefault('OMP_NUM_THREADS', '1')

import mmcnv2  # noqa: E402  (from the folder above)

project = 'mmcnv2'
copyright = 'mmcnv2 contributors'
version = release = mmcnv2.__version__

extensions = ['myst_nb', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'generated']
exclude_patterns = ['README.md']  # the index of the repository; index.md includes its tables

smartquotes = False  # they make a dash of --option

# Anchors as GitHub gives them, for links that work in both places.
myst_heading_anchors = 4

add_module_names = False
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

nb_execution_mode = 'force'
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_merge_streams = True
nb_output_stderr = 'remove'  # progress bars, warnings of the libraries

html_theme = 'furo'
html_title = f'mmcnv2 {release}'
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
