"""The executed notebook as one HTML page that asks nothing of the network."""

from pathlib import Path

# Lab's page without the four places where it loads scripts from elsewhere; and whatever a cell displays, the browser loads nothing.
TEMPLATE = """\
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; script-src 'unsafe-inline'">
{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
FORMS = ["image/svg+xml", "text/html", "text/markdown", "image/png", "image/jpeg", "text/latex", "text/plain"]


def write_report(notebook: Path, report: Path) -> None:
    """Convert a notebook. Where a cell offers its output in several forms, the first of ``FORMS`` is shown."""
    from nbconvert.exporters import HTMLExporter
    from traitlets.config import Config

    config = Config({"NbConvertBase": {"display_data_priority": FORMS}})
    exporter = HTMLExporter(raw_template=TEMPLATE, config=config)  # type: ignore[no-untyped-call]
    body, _ = exporter.from_filename(str(notebook))
    report.write_text(body)
