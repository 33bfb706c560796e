"""Recognise files that are not images by their names: what NAS, sync and camera software leaves beside pictures.

None of these files is opened. If this module does not recognise a name, decoding decides.
"""

import itertools
import os.path
import re

__all__ = ["AN_ARCHIVE", "A_FILM", "NOT_BY_NAME", "is_raw", "no_image"]

A_FILM = "a video"
"""Reason why films are left out; sources that read films find them by it."""

AN_ARCHIVE = "an archive, which is not opened: extract it, or name it in ingest.source.path"
"""Reason why archives beside images are left out; sources that read shards find them by it."""

NOT_BY_NAME = "not an image, by its name"
"""Reason why texts, tables and similar files are left out; captions are found by it."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_REASONS_BY_FOLDER = {
    "__macosx": "macOS's notes in an archive",
    **dict.fromkeys(
        (
            "@eadir",
            "@tmp",
            "@__thumb",
            "#recycle",
            "#snapshot",
            "#snapshots",
            "@recycle",
            "@recently-snapshot",
            "@sharebin",
            "@trash",
        ),
        "in a folder created by NAS software: thumbnails, a recycle bin or snapshots",
    ),
    **dict.fromkeys(("$recycle.bin", "recycler", "recycled", "trashbox"), "in a recycle bin"),
    **dict.fromkeys(
        ("system volume information", "$extend", "$mft", "lost+found", "lost.dir"),
        "in a folder that belongs to the file system",
    ),
    **dict.fromkeys(
        ("network trash folder", "temporary items", "thevolumesettingsfolder", "thefindbycontentfolder"),
        "in a folder that macOS creates on servers",
    ),
    **dict.fromkeys(
        ("thmbnl", "avf_info", "canonmsc", "nksc_param", "captureone"),
        "in a folder that belongs to a camera or an editor",
    ),
}
"""Reason why nothing in a folder is one of the user's images, though it may look like one, by lower-case name."""

_RESCUE_FOLDER = re.compile(r"found\.\d{3}", re.IGNORECASE)
"""Name of a folder with the files that chkdsk recovered."""

_REASONS_BY_FILE = {
    **dict.fromkeys(
        (
            "icon\r",
            "thumbs.db:encryptable",
            "zbthumbnail.info",
            "pspbrwse.jbf",
            "autorun.inf",
            "synoindex_media_info",
            "hiberfil.sys",
            "pagefile.sys",
            "swapfile.sys",
            "ntuser.dat",
        ),
        "a system file",
    ),
    **dict.fromkeys(("readme", "license", "licence", "copying", "makefile"), NOT_BY_NAME),
}

_SUFFIXES_BY_REASON = {
    NOT_BY_NAME: _words(
        """.bat .bib .c .cfg .cpp .css .csv .db .dbf .desktop .dll .doc .docx .dvc .exe .geojson .h .htm .html .inf .ini
        .ipynb .java .js .json .jsonl .kml .lnk .log .md .md5 .nfo .odp .ods .odt .par2 .pdf .pickle .pkl .ppt .pptx
        .prj .py .pyc .rst .rtf .sfv .sh .sha1 .sha256 .shp .shx .sqlite .tex .toml .torrent .tsv .txt .url .webloc .xls
        .xlsx .xml .yaml .yml"""
    ),
    "a sidecar file of a picture": _words(
        """.aae .arp .comask .cop .cos .cot .ctg .dop .dr4 .exif .gpx .jgw .jpw .lrcat .lrcat-data .lrdata .lrprev .mie
        .nksc .nmea .on1 .onphoto .ovr .pgw .pp3 .pto .rrd .tfw .thm .vrd .wld .xmp"""
    ),
    A_FILM: _words(
        """.360 .3g2 .3gp .3gpp .asf .avi .braw .divx .dv .f4v .flv .insv .lrv .m2t .m2ts .m2v .m4v .mkv .mod .mov .mp4
        .mpe .mpeg .mpg .mts .mxf .ogv .qt .r3d .rm .rmvb .swf .tod .ts .vob .webm .wmv"""
    ),
    "audio": _words(".aac .aif .aiff .amr .caf .flac .m4a .mid .mp3 .oga .ogg .opus .wav .wma"),
    "an unfinished download, or a temporary file": _words(
        """.!qb .!sync .!ut .aria2 .bc! .bts .crdownload .download .dtapart .fdmdownload .ffs_tmp .filepart .icloud
        .opdownload .part .partial .rsls .rslsc .td .temp .tmp .unfinished .ytdl .~cr"""
    ),
    "a backup file of an editor": _words(".bak .swo .swp"),
    AN_ARCHIVE: _words(".7z .bz2 .gz .rar .tar .tbz .tgz .txz .xz .zip .zst"),
}
_REASONS_BY_SUFFIX = {suffix: reason for reason, suffixes in _SUFFIXES_BY_REASON.items() for suffix in suffixes}

_PHOTOS_ORIGINALS = ("originals", "masters")
"""Folders of an Apple Photos library that hold the user's images."""

_RAW_SUFFIXES = _words(
    """.3fr .arw .cap .cr2 .cr3 .crw .dcr .dcs .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .ori
    .pef .raf .raw .rw2 .rwl .rwz .sr2 .srf .srw .x3f"""
)


def no_image(name: str) -> str | None:
    """Return why a file is not taken for an image; None if only decoding can tell.

    Args:
        name: Path of the file in the source, with folders separated by "/".
    """
    parts = name.split("/")
    for part in parts:
        reason = _REASONS_BY_FOLDER.get(part.lower())
        if reason:
            return reason
        if _RESCUE_FOLDER.fullmatch(part):
            return _REASONS_BY_FOLDER["lost+found"]
    if any(part.startswith(".") and part != ".." for part in parts):
        return "hidden"
    last = parts[-1].lower()
    if last.endswith(("~", ":zone.identifier", "@synoeastream", "@synoresource")) or last.startswith("~$"):
        return "a backup, or a program's own metadata"
    return _REASONS_BY_FILE.get(last) or _REASONS_BY_SUFFIX.get(_suffix(last)) or _in_bundle(parts[:-1])


def is_raw(name: str) -> bool:
    """Return whether a file is a camera's raw file, of which Pillow reads no more than the thumbnail."""
    return _suffix(name.lower()) in _RAW_SUFFIXES


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1]


def _in_bundle(folders: list[str]) -> str | None:
    """Return why an image in a Lightroom or Photos catalogue, a folder with previews, is not the user's."""
    names = [folder.lower() for folder in folders]
    for name, inner in itertools.zip_longest(names, names[1:]):
        if name.endswith((".lrdata", ".lrcat-data")):
            return _REASONS_BY_SUFFIX[".lrdata"]
        if name.endswith(".photoslibrary") and inner not in _PHOTOS_ORIGINALS:
            return "a preview or derivative in a Photos library, which also keeps the originals"
    return None
