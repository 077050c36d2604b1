"""Launchpad: long-running Python functions with a page, an API, a terminal command and a monitor around them."""

from launchpad.extension import Launchpad
from launchpad.functions.catalog import job
from launchpad.functions.files import File, UploadedFile
from launchpad.functions.progress import progress
from launchpad.functions.results import Image, Table

__all__ = ["File", "Image", "Launchpad", "Table", "UploadedFile", "job", "progress"]
