"""The templates of the pages."""

from pathlib import Path

from fastapi.templating import Jinja2Templates

from voxdex.search.formats import SUMMARY_ATTRIBUTES, short_name, span

TEMPLATES = Jinja2Templates(directory=Path(__file__).parent / "templates")
TEMPLATES.env.filters |= {"span": lambda clip: span(clip.start, clip.end), "short": short_name}
TEMPLATES.env.globals["summary_attributes"] = SUMMARY_ATTRIBUTES
