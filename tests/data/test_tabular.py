"""Files as people have them: ids survive, and what cannot be read is named with file, line and option."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxrec.data.sources.delimited import guess_encoding
from jaxrec.data.sources.tabular import Tabular, read_table
from jaxrec.errors import DataError, UserError

LOG = "user_id,item_id,rating,timestamp\n007,00,5,880000000\n8,é1,3,880000001\n"


def load(path, **options):
    return Tabular(str(path), **options).load()


def write(folder, text, name="log.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def ids(table, name="user_id"):
    assert pa.types.is_string(table[name].type)
    return table[name].to_pylist()


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_line_ends_and_byte_order_marks(tmp_path, delimiter, newline, mark):
    text = mark + LOG.replace(",", delimiter).replace("\n", newline)
    log = load(write(tmp_path, text)).interactions
    assert log.column_names == ["user_id", "item_id", "rating", "timestamp"]
    assert ids(log) == ["007", "8"]
    assert ids(log, "item_id") == ["00", "é1"]
    assert log["timestamp"].to_pylist() == ["880000000", "880000001"]


def test_blank_lines_are_skipped_also_before_the_header(tmp_path):
    log = load(write(tmp_path, "\n\r\n" + LOG.replace("8,", "\n8,"))).interactions
    assert ids(log) == ["007", "8"]


@pytest.mark.parametrize(
    "text, encoding",
    [
        ("张,1\n", "gbk"),
        ("流浪地球,霸王别姬", "gbk"),
        ("流浪地球,霸王別姬", "big5"),
        ("café été", "latin-1"),
        ("ête", "latin-1"),
    ],
)
def test_encodings_are_guessed_from_a_few_letters(text, encoding):
    assert guess_encoding(text.encode(encoding)) == encoding
    assert guess_encoding(text.encode()) == "utf-8"


def test_a_stated_delimiter_wins(tmp_path):
    log = load(write(tmp_path, LOG.replace(",", ":")), delimiter=":").interactions
    assert ids(log) == ["007", "8"]


def test_gzip(tmp_path):
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(LOG.encode()))
    assert ids(load(path).interactions) == ["007", "8"]
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"user_id": 1, "item_id": "a"}\n'))
    assert ids(load(path).interactions) == ["1"]


def test_quoted_newlines_and_chinese_and_emoji(tmp_path):
    catalog = 'item_id,title,description\n1,"流浪地球 🌍","first line\nsecond, line"\n2,"say ""hi""",x\n'
    tables = load(write(tmp_path, LOG), catalog=str(write(tmp_path, catalog, "items.csv")))
    assert tables.catalog["title"].to_pylist() == ["流浪地球 🌍", 'say "hi"']
    assert tables.catalog["description"].to_pylist() == ["first line\nsecond, line", "x"]


@pytest.mark.parametrize("encoding, said", [("gbk", "gbk"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le")])
def test_other_encodings_are_named_with_the_option_that_mends_them(tmp_path, encoding, said):
    text = "user_id,item_id,rating\n" + "张三,流浪地球,5\n李四,霸王别姬,4\n" * 3
    path = write(tmp_path, text, encoding=encoding)
    with pytest.raises(DataError, match=f"--set source.encoding={said}") as error:
        load(path)
    assert str(path) in str(error.value)
    assert said.upper().split("-LE")[0] in str(error.value)
    assert ids(load(path, encoding=encoding).interactions)[:2] == ["张三", "李四"]


def test_a_late_byte_of_another_encoding_is_found_with_its_line(tmp_path):
    path = tmp_path / "log.csv"
    path.write_bytes(LOG.encode() + b"9,x,1,880000002\n" * 9000 + "9,caf\u00e9,1,880000003\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"line 9004, byte 0xe9.*--set source.encoding=latin-1"):
        load(path)


def test_a_missing_column_names_those_that_are_there_and_the_option(tmp_path):
    path = write(tmp_path, "userId,movieId,rating\n1,2,3\n")
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value) == (
        f"{path} has no column 'user_id'; its columns are 'userId', 'movieId', 'rating'. Did you mean 'userId'? "
        "Say which one it is with --map user_id=THEIR_NAME"
    )
    with pytest.raises(DataError, match=r"no column 'item_id'.*Did you mean 'movieId'\? .*--map item_id="):
        load(path, columns=(("user_id", "userId"),))
    log = load(path, columns=(("user_id", "userId"), ("item_id", "movieId"))).interactions
    assert log.column_names == ["user_id", "item_id", "rating"]


def test_a_mapping_to_a_column_that_is_nowhere(tmp_path):
    with pytest.raises(DataError, match=r"--map rating=ratng: no column 'ratng'.*Did you mean 'rating'\?"):
        load(write(tmp_path, LOG), columns=(("rating", "ratng"),))


def test_empty_files(tmp_path):
    with pytest.raises(DataError, match=r"log.csv is empty: expected a header line and rows"):
        load(write(tmp_path, " \n"))
    with pytest.raises(DataError, match=r"has a header but no rows"):
        load(write(tmp_path, LOG.splitlines()[0] + "\n"))
    with pytest.raises(DataError, match=r"is empty: expected one JSON object a line"):
        load(write(tmp_path, "\n", "log.jsonl"))
    with pytest.raises(DataError, match=r"none.csv is not there"):
        load(tmp_path / "none.csv")
    with pytest.raises(UserError, match="--set source.interactions=log.csv"):
        Tabular().load()


def test_a_ragged_row_is_named_by_file_and_line(tmp_path):
    text = 'user_id,item_id,rating,note\n1,a,3,"two\nlines"\n2,b,4,x\n3,c,5\n4,d,1,y\n'
    path = write(tmp_path, text)
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value) == f"{path}, line 5: 3 fields where the header has 4: '3,c,5'. Mend that line."


def test_a_lone_quote_gets_the_option_for_it(tmp_path):
    path = write(tmp_path, 'user_id\titem_id\ttitle\n1\ta\t"Heat\n2\tb\tRonin\n', "log.tsv")
    with pytest.raises(DataError, match=r"line 2: .*--set source.quotes=false"):
        load(path)
    text = 'user_id,item_id,title\n1,a,Alien\n2,b,"Heat\n3,c,Ronin\n'
    with pytest.raises(DataError, match=r"line 3: a quote opens here and is not closed.*--set source.quotes=false"):
        load(write(tmp_path, text))
    assert load(path, quotes=False).interactions["title"].to_pylist() == ['"Heat', "Ronin"]


def test_a_column_name_twice(tmp_path):
    with pytest.raises(DataError, match=r"line 1: the column name 'rating' stands more than once"):
        load(write(tmp_path, "user_id,item_id,rating,rating\n1,2,3,4\n"))


def test_parquet_ids_keep_every_digit(tmp_path):
    path = tmp_path / "log.parquet"
    big = [2**64 - 1, 2**63 + 11]
    pq.write_table(
        pa.table({"user_id": pa.array(big, pa.uint64()), "item_id": pa.array(["007", "8"]).dictionary_encode()}), path
    )
    log = load(path).interactions
    assert ids(log) == ["18446744073709551615", "9223372036854775819"]
    assert ids(log, "item_id") == ["007", "8"]


def test_parquet_float_ids_are_whole_or_refused(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user_id": [1.0, None], "item_id": ["a", "b"]}), path)
    assert ids(load(path).interactions) == ["1", None]
    pq.write_table(pa.table({"user_id": [1.0, 2.0**60], "item_id": ["a", "b"]}), path)
    with pytest.raises(DataError, match="user_id is stored as floats, .* cannot hold an id exactly"):
        load(path)


@pytest.mark.parametrize("big", [2**53 + 1, 2**64 - 1])
def test_json_numbers_keep_every_digit(tmp_path, big):
    rows = [{"user_id": big, "item_id": "2024-01-01", "rating": 4.5}, {"user_id": 7, "item_id": "007", "rating": 3}]
    path = write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "log.jsonl")
    log = load(path).interactions
    assert ids(log) == [str(big), "7"]
    assert ids(log, "item_id") == ["2024-01-01", "007"]
    assert log["rating"].to_pylist() == [4.5, 3]


def test_json_text_that_looks_like_a_date_stays_as_written(tmp_path):
    films = [
        {"item_id": "1", "title": "2012-12-21", "tags": ["1984-01-01"], "of": {"day": "2000-01-01"}, "year": 2012},
        {"item_id": "2", "title": "2012-12-22T10:00:00Z", "tags": [], "of": {"day": None}, "year": 2013},
    ]
    catalog = write(tmp_path, "".join(json.dumps(film) + "\n" for film in films), "items.jsonl")
    seen = [{"user_id": "a", "item_id": str(n), "timestamp": "2024-01-01T00:00:00Z"} for n in (1, 2)]
    log = write(tmp_path, "".join(json.dumps(row) + "\n" for row in seen), "log.jsonl")
    tables = load(log, catalog=str(catalog))
    assert tables.catalog.to_pylist() == films
    assert tables.catalog.column_names == list(films[0])
    assert pa.types.is_timestamp(tables.interactions["timestamp"].type)


def test_json_ids_of_both_kinds_and_mapped_names(tmp_path):
    path = write(tmp_path, '{"who": "x", "what": 1}\n{"who": 12345678901234567890, "what": 2}\n', "log.jsonl")
    log = load(path, columns=(("user_id", "who"), ("item_id", "what"))).interactions
    assert ids(log) == ["x", "12345678901234567890"]


@pytest.mark.parametrize("value", ['{"$oid": "abc"}', "1.5", "1e20", "true", "NaN"])
def test_what_is_no_id_in_json_is_refused(tmp_path, value):
    path = write(tmp_path, f'{{"user_id": "a", "item_id": 1}}\n{{"user_id": {value}, "item_id": "x"}}\n', "log.jsonl")
    with pytest.raises(DataError, match=r"log.jsonl: user_id is .* which is no id; write strings or integers"):
        load(path)


def test_lists_of_ids_stay_lists(tmp_path):
    path = write(tmp_path, '{"user_id": "a", "item_id": ["001", 2]}\n{"user_id": 7, "item_id": null}\n', "many.jsonl")
    table = read_table(path)
    assert table["item_id"].to_pylist() == [["001", "2"], []] and table["user_id"].to_pylist() == ["a", "7"]


def test_a_broken_json_line_is_named(tmp_path):
    path = write(tmp_path, '{"user_id": 1, "item_id": 2}\n{"user_id": 1,\n', "log.jsonl")
    with pytest.raises(DataError, match=r"log.jsonl, line 2: no JSON object"):
        load(path)


def test_no_parquet(tmp_path):
    with pytest.raises(DataError, match="is no Parquet file"):
        load(write(tmp_path, LOG, "log.parquet"))
