"""Several files as one to take away."""

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.responses import FileResponse


def packed(files: Sequence[tuple[str, Path]]) -> FileResponse:
    """A .zip of files under new names, their suffixes kept; sound does not shrink, so it is stored as it is."""
    with tempfile.NamedTemporaryFile(suffix=".zip", delete=False) as made, zipfile.ZipFile(made, "w") as archive:
        for name, file in files:
            archive.write(file, f"{name}{file.suffix}")
    remove = BackgroundTask(Path(made.name).unlink, missing_ok=True)
    return FileResponse(made.name, media_type="application/zip", filename="voxdex.zip", background=remove)
