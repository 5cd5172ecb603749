"""Delimited text (CSV, TSV, plain or gzip) to a table of strings: nothing is guessed about types, so ids survive."""

import csv
import gzip
import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from jaxrec.errors import DataError

DELIMITERS = (",", "\t", ";", "|")
SAMPLE_BYTES = 1 << 16


def read_delimited(
    path: str | Path, *, encoding: str = "utf-8", delimiter: str | None = None, quotes: bool = True
) -> pa.Table:
    """All columns as strings; an empty field is "". The first line is the header.

    delimiter None: the one of , tab ; | that splits the first lines evenly. quotes False: `"` is an ordinary
    character. Raises DataError for a missing or empty file, a wrong encoding, a doubled column name, and for a ragged
    row, naming file and line.
    """
    path = Path(path)
    sample = _sample(path)
    if not sample.strip():
        raise DataError(f"{path} is empty: expected a header line and rows")
    _refuse_utf16(path, sample, encoding)
    head = _decode_sample(path, sample, encoding)
    delimiter = delimiter or sniff_delimiter(head, quotes)
    names = next((row for row in _rows(io.StringIO(head, newline=""), delimiter, quotes) if row), [])
    names = [name.strip() for name in names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}, line 1: the column name {twice!r} stands more than once")
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            table = pacsv.read_csv(
                stream,
                pacsv.ReadOptions(
                    column_names=names,
                    skip_rows=_blank_lines(head),
                    skip_rows_after_names=1,  # the header
                    encoding="utf8" if is_utf8(encoding) else encoding,
                ),
                pacsv.ParseOptions(delimiter=delimiter, quote_char='"' if quotes else False, newlines_in_values=quotes),
                pacsv.ConvertOptions(
                    column_types={name: pa.string() for name in names},
                    strings_can_be_null=False,
                    quoted_strings_can_be_null=False,
                ),
            )
    except UnicodeError as error:
        raise wrong_encoding(path, encoding) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise wrong_encoding(path, encoding) from error
        raise _ragged(path, encoding, delimiter, quotes, len(names), error) from error
    if quotes:
        _refuse_swallowed_rows(table, path, encoding, delimiter)
    return table


def _refuse_swallowed_rows(table: pa.Table, path: Path, encoding: str, delimiter: str) -> None:
    """A quote that is never closed makes one value of all rows up to the next quote; nothing else would notice."""
    spread = any(pc.any(pc.match_substring(column, "\n")).as_py() for column in table.columns)
    if not spread:
        return
    with _open(path) as file:
        odd = sum(block.count(b'"') for block in iter(lambda: file.read(1 << 20), b"")) % 2 == 1
    with _open(path) as file:
        reader, start = _rows(_text(file, encoding), delimiter, True), 1
        for row in reader:
            long = [value for value in row if "\n" in value]
            # whole rows inside one value; commas and line ends also stand in prose, so there only the count can tell
            inside = any(value.count(delimiter) >= len(row) - 1 for value in long) and delimiter != ","
            last = odd and long and row[-1].endswith("\n")
            if inside or last:
                raise DataError(
                    f"{path}, line {start}: a quote opens here and is not closed in its row: {long[0][:40]!r}. Close "
                    "it, or if quotes are ordinary characters in this file, say --set source.quotes=false"
                )
            start = reader.line_num + 1


def sniff_delimiter(text: str, quotes: bool = True) -> str:
    """The delimiter that gives the most columns, the same number in every one of the first lines; "," if none does."""
    best, most = ",", 1
    for delimiter in DELIMITERS:
        rows = [row for row, _ in zip(_rows(io.StringIO(text, newline=""), delimiter, quotes), range(20), strict=False)]
        widths = [len(row) for row in rows if row]
        widths = widths[:-1] if len(widths) > 2 else widths  # the sample may end inside a row
        even = sum(width == widths[0] for width in widths) > 0.8 * len(widths)
        if widths and even and widths[0] > most:
            best, most = delimiter, widths[0]
    return best


def _rows(lines, delimiter: str, quotes: bool):
    csv.field_size_limit(1 << 30)
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)


def _blank_lines(text: str) -> int:
    """Empty lines before the header."""
    return next((n for n, line in enumerate(io.StringIO(text)) if line.strip("\r\n")), 0)


def _open(path: Path):
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")


def _text(file, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig" if is_utf8(encoding) else encoding, newline="")


def _sample(path: Path) -> bytes:
    try:
        with _open(path) as file:
            return file.read(SAMPLE_BYTES)
    except FileNotFoundError:
        raise DataError(f"{path} is not there") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "utf8-sig")


def _decode_sample(path: Path, sample: bytes, encoding: str) -> str:
    try:
        if not is_utf8(encoding):
            return sample.decode(encoding, errors="ignore")
        sample.decode("utf-8-sig")
    except LookupError:
        raise DataError(f"{path}: unknown encoding {encoding!r}; known are utf-8, utf-16, gbk, latin-1, ...") from None
    except UnicodeDecodeError as error:
        if error.end < len(sample) - 4:  # else only the sample's end cuts a character
            raise wrong_encoding(path, encoding) from None
    return sample.decode("utf-8-sig", errors="ignore")


def _refuse_utf16(path: Path, sample: bytes, encoding: str) -> None:
    marked = sample[:2] in (b"\xff\xfe", b"\xfe\xff")
    zeros = sample.count(b"\0")
    if "16" not in encoding and "32" not in encoding and (marked or zeros > len(sample) // 5):
        name = "utf-16" if marked else "utf-16-le" if b"\0" in sample[1:2] else "utf-16-be"
        raise DataError(f"{path} is written in UTF-16, not {encoding}: say --set source.encoding={name}")


def wrong_encoding(path: Path, encoding: str) -> DataError:
    """Names the encoding that reads the file, and where it stops being what it was said to be."""
    with _open(path) as file:
        data = file.read()
    begin, where = 0, ""
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        begin, where = data.rfind(b"\n", 0, error.start) + 1, f" (line {line}, byte {data[error.start]:#04x})"
    window = data[begin : begin + SAMPLE_BYTES]
    window = window[: window.rfind(b"\n") + 1] or window  # whole lines, so no character is cut
    name = guess_encoding(window)
    return DataError(
        f"{path} is not {encoding.upper()} text{where}; it reads as {name.upper()}: say --set source.encoding={name}"
    )


def guess_encoding(data: bytes) -> str:
    """utf-8, gbk, big5 or latin-1, by what decodes, and by the second bytes of wide characters."""
    decoded = {}
    for name in ("utf-8", "gbk", "big5"):
        try:
            decoded[name] = data.decode(name)
        except UnicodeDecodeError:
            continue
    if "utf-8" in decoded:
        return "utf-8"
    # common Chinese characters have a high second byte in GBK; an accented Latin letter is followed by a plain one
    seconds = [pair[1] for pair in re.findall(rb"[\x81-\xfe][\x40-\xfe]", data)]
    if "gbk" in decoded and sum(byte >= 0xA1 for byte in seconds) > 0.8 * len(seconds):
        return "gbk"
    wide = re.findall(r"[\u4e00-\u9fff]", decoded.get("big5", ""))
    runs = re.findall(r"[\u4e00-\u9fff]{2,}", decoded.get("big5", ""))
    return "big5" if wide and sum(map(len, runs)) > 0.5 * len(wide) else "latin-1"


def _ragged(path: Path, encoding: str, delimiter: str, quotes: bool, width: int, error: Exception) -> DataError:
    """The first row whose number of fields differs from the header's."""
    with _open(path) as file:
        reader, start = _rows(_text(file, encoding), delimiter, quotes), 1
        try:
            for row in reader:
                if row and len(row) != width:
                    shown = delimiter.join(row)[:80]
                    quoted = quotes and ('"' in shown or any("\n" in value for value in row))
                    hint = " If quotes are ordinary characters here, say --set source.quotes=false." if quoted else ""
                    return DataError(
                        f"{path}, line {start}: {len(row)} fields where the header has {width}: {shown!r}. "
                        f"Mend that line.{hint}"
                    )
                start = reader.line_num + 1
        except csv.Error as problem:
            return DataError(f"{path}, line {start}: {problem}")
    return DataError(f"{path} cannot be read as delimited text: {error}")
