"""Sphinx' settings. Reads benchmark.json, which `make bench` writes, for the tables of the page on performance."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ConfigError
from sphinx.util.docutils import SphinxDirective

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import servers  # noqa: E402
import tables  # noqa: E402

import napixclient  # noqa: E402
from napixclient.cli.options import FLAGS  # noqa: E402

project = 'napixclient'
author = 'the napixclient authors'
copyright = author
release = version = napixclient.__version__

extensions = ['sphinx.ext.autodoc', 'sphinx_copybutton']
exclude_patterns = ['_build']
templates_path: list[str] = []
default_role = 'code'
# Every block of code names its language: the tests run them all.
highlight_language = 'none'

# The button copies what is typed: without prompts, and without output where there are prompts.
copybutton_prompt_text = r'>>> |\.\.\. |\$ '
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = '\\'
# A block of text is what a program prints.
copybutton_selector = 'div:not(.highlight-text) > div.highlight > pre'

html_theme = 'furo'
html_title = f'napixclient {release}'
html_static_path = ['_static']
html_css_files = ['pages.css']
html_copy_source = html_show_sphinx = False

autoclass_content = 'class'
autodoc_member_order = 'bysource'
autodoc_typehints_format = 'short'
python_use_unqualified_type_names = True
add_module_names = False
python_maximum_signature_line_length = 88

# A name that leads nowhere is an error, unless it is somebody else's: their documentation is not at hand.
nitpicky = True
nitpick_ignore_regex = [
    (r'py:.*', r'(_asyncio|asyncio|collections|concurrent|contextvars|datetime|gevent|http|os|ssl|typing|urllib3)\..*'),
    # Types that only say what a signature takes; what they hold is listed where it is taken.
    (r'py:class', r'napixclient\.[\w.]+\.(\w+Options|Readable|RequestParts|Stats)'),
    (r'py:class', r'(Authenticator|Batch|Body|Credentials|Event|Fields|Iterable|Iterator|Link|Literal|Mapping)'),
    (r'py:class', r'(Outcome|Params|PathLike|Retry|Timeouts)'),
    (r'py:class', r'napixclient\.[\w.]+\._[A-Z]\w*'),
    (r'py:class', r'napixclient\.marconi\.models\.MessageStats'),
    (r'py:class', r'napixclient\.[\w.]+\.(AnyServer|StartResponse|Zone)'),
]

CHART = DOCS / '_static' / 'benchmark.svg'


class BenchmarkTable(SphinxDirective):
    """`.. benchmark:: CASE`: the table that was measured for a case of the benchmark."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table anew from the figures."""
        self.env.note_dependency(str(tables.BENCHMARK))
        return self.parse_text_to_nodes(tables.as_rst(tables.CASES[self.arguments[0]](tables.figures())))


class ServersTable(SphinxDirective):
    """`.. servers:: TABLE`: a table of what was counted on real servers."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table anew from what was counted."""
        self.env.note_dependency(str(servers.SERVERS))
        return self.parse_text_to_nodes(tables.as_rst(servers.TABLES[self.arguments[0]](servers.figures())))


class NapixFlags(SphinxDirective):
    """`.. napix-flags:: TOPIC`: the flags of the command that belong to a topic of its help."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table of what the help is made of."""
        rows = [
            line
            for flag in FLAGS
            if flag.topic == self.arguments[0]
            for line in (f'   * - `{flag.written}`', f'     - {(flag.help or "").replace("@name", "`@name`")}')
        ]
        return self.parse_text_to_nodes(
            '\n'.join(['.. list-table::', '   :header-rows: 1', '', '   * - flag', '     - what it does', *rows])
        )


def need_the_benchmark(app: Sphinx) -> None:
    """Say clearly what is missing, and how to get it."""
    for file in tables.BENCHMARK, CHART:
        if not file.exists():
            raise ConfigError(
                f'{file.relative_to(DOCS.parent)} is missing. It comes from the benchmark: '
                "make bench ARGS='--json docs/benchmark.json --chart docs/_static/benchmark.svg'"
            )


def find_public_name(app: Sphinx, env: Any, node: Any, contnode: nodes.Node) -> nodes.Node | None:
    """A class is documented under its public name, wherever it is defined."""
    name = node.get('reftarget', '').rpartition('.')[2]
    if node.get('refdomain') == 'py' and name in napixclient.__all__:
        found: nodes.Node | None = env.get_domain('py').resolve_xref(
            env, node['refdoc'], app.builder, 'class', f'napixclient.{name}', node, contnode
        )
        return found
    return None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_directive('benchmark', BenchmarkTable)
    app.add_directive('servers', ServersTable)
    app.add_directive('napix-flags', NapixFlags)
    app.connect('builder-inited', need_the_benchmark)
    app.connect('missing-reference', find_public_name)
