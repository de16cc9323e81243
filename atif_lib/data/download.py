"""A large file from the network: a broken download goes on where it stopped, and nothing unverified is put in place."""

import os
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from atif_lib.data.storage import file_sha256

SOCKET_SECONDS, CHUNK = 15, 1 << 18


def download(url: str, path: Path, sha256: str, progress: bool = True) -> Path:
    """Bring `url` to `path`; what came before a break stays in `path`.part, for the next try to go on from there.

    A server that starts anew, and may send a login page, writes beside what is there.

    Raises OSError or HTTPException where a try brings nothing more, ValueError where the file has another sha256.
    """
    part = path.with_name(f"{path.name}.part")
    while True:
        before = _size(part)
        try:
            came, kind = _go_on(url, part, progress)
            break
        except (OSError, HTTPException):
            if _size(part) <= before:
                raise
    found, size = file_sha256(came), _size(came)
    if found != sha256:
        came.unlink()
        raise ValueError(f"{url}: what came, {size} bytes of {kind}, has sha256 {found}; allowed: {sha256}")
    os.replace(came, path)
    part.unlink(missing_ok=True)
    return path


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _go_on(url: str, part: Path, progress: bool) -> tuple[Path, str]:
    """Append what `part` lacks of `url`; return the whole file and the type that the server says.

    Where the server starts anew, as one that knows no byte ranges does (RFC 9110, section 14), it is a file beside.
    """
    have = _size(part)
    try:
        reply = urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=SOCKET_SECONDS)
    except HTTPError as error:
        if error.code == 416 and have:  # no byte from here on: all of it is there, which the sha256 will tell
            return part, "unknown type"
        raise
    if have and reply.status != 206:
        part, have = part.with_suffix(".new"), 0
    length = reply.headers.get("Content-Length")
    total = have + int(length) if length else None
    bar = tqdm(desc=part.stem, total=total, initial=have, unit="B", unit_scale=True, leave=False, disable=not progress)
    with reply, part.open("ab" if have else "wb") as file, bar:
        for chunk in iter(partial(reply.read, CHUNK), b""):
            file.write(chunk)
            bar.update(len(chunk))
        if total is not None and file.tell() < total:  # http.client ends such a reading without a word
            raise ConnectionError(f"{url}: the connection ended after {file.tell()} of {total} bytes")
    return part, reply.headers.get_content_type()
