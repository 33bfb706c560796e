"""A directory or a .zip of images; `ssl_pipeline.data.layout` describes how folders and labels.csv are read."""

from pathlib import Path
from typing import TYPE_CHECKING

from ssl_pipeline import hookimpl
from ssl_pipeline.data.caption_files import add_captions, find_texts, read_texts
from ssl_pipeline.data.label_tables import digest_of, find_table
from ssl_pipeline.data.layout import TABLE, read_layout
from ssl_pipeline.data.listing import Listing, list_images
from ssl_pipeline.data.litter import A_FILM, AN_ARCHIVE
from ssl_pipeline.data.source import PATH, Images, Pile, Source, find_source
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import counted, shown

if TYPE_CHECKING:
    from ssl_pipeline.types import Register  # imports torch


_SHARDS = " To read the .tar shards of a WebDataset, use the source {name: webdataset}."


class Folder(Source):
    """Images in the folders of a directory or a .zip, which may be classes or splits.

    Args:
        path: Path of the directory or the .zip, relative to the folder of params.yaml.
        labels: Path of a table of labels that is not stored beside the images: a CSV in the format of labels.csv, with
            paths relative to the folder of the images. None: labels.csv beside the images, if there is one.
        captions: Whether to read captions, from the column `caption` of the table or, if it has none, from a .txt
            beside each image.
    """

    reads_paths = True

    def __init__(self, *, path: str, labels: str | None = None, captions: bool = True):
        self.path = path
        self.labels = labels
        self.captions = captions

    def open(self) -> Images:
        """List the images, and read the table of labels and captions."""
        listing, tables = _list_pile(find_source(self.path))
        root, table, name = find_table(listing.names, tables, listing.read, self.path, self.labels)
        records = read_layout(
            listing.names, root, table, lambda name: name in listing.rejects or name in listing.ignored
        )
        texts, ignored = find_texts(listing), listing.ignored | ({name: "the table of labels"} if name else {})
        if not self.captions:
            records = [record._replace(captions=()) for record in records]
        elif table is not None and "caption" in table.columns:
            ignored |= dict.fromkeys(texts, "a text beside an image, but captions come from the table of labels")
        else:
            told = read_texts(texts, listing.read, self.path)
            records = add_captions(records, told.captions)
            ignored = {name: reason for name, reason in (ignored | told.others).items() if name not in told.used}
        return Images(records, listing.read, ignored, listing.rejects, warnings=listing.warnings)

    def files(self) -> Pile:
        """Return the images, tables of labels and captions in a directory, or the .zip itself."""
        place = find_source(self.path)
        listing, tables = (None, []) if place.is_file() else _list_pile(place)
        elsewhere = digest_of(self.labels)
        if listing is None:
            return Pile(place.parent, [place.name], elsewhere)
        rejects = {name: str(reason) for name, reason in listing.rejects.items()}
        texts = find_texts(listing) if self.captions else ()
        return Pile(place, [*listing.names, *tables, *texts], rejects | elsewhere)


def _list_pile(place: Path) -> tuple[Listing, list[str]]:
    """Return the listing of a directory or a .zip, and the names of its tables of labels.

    Raises:
        MissingSourceError: The directory or .zip does not exist.
        PipelineError: It has no images, or is neither a directory nor a .zip.
    """
    if place.is_file() and place.suffix == ".tar":
        raise PipelineError(f"{PATH}: {shown(str(place), 200)} is not a .zip.{_SHARDS}")
    listing = list_images(place)
    if not listing.names:
        left_out = {name: str(reason) for name, reason in listing.rejects.items()} | listing.ignored
        such = "".join(f", such as {shown(name, 100)} ({reason})" for name, reason in list(left_out.items())[:1])
        found = f"{counted(len(listing.rejects), 'unreadable file')}, {counted(len(listing.ignored), 'non-image file')}"
        reasons = set(listing.ignored.values())
        films = " To read films, use the source {name: clips}." if A_FILM in reasons else ""
        shards = _SHARDS if AN_ARCHIVE in reasons else ""
        raise PipelineError(
            f"{PATH}: no images found in {shown(str(place), 200)} ({found + such if left_out else 'it is empty'}). "
            f"Put images there, or name another path.{films}{shards}"
        )
    return listing, [name for name in listing.ignored if name.rpartition("/")[2] == TABLE]


@hookimpl
def register_sources(register: "Register") -> None:
    """Add `folder`."""
    register("folder", Folder)
