"""`jaxrec compare`, and the configs of comparisons."""

from pathlib import Path

import pytest

from jaxrec.cli import main
from jaxrec.config import from_json, load_config, to_json
from jaxrec.study.stored import Folder
from jaxrec.study.study import Study, Suite

CONFIGS = Path(__file__).parents[2] / "configs"
STUDIES = sorted([*CONFIGS.glob("compare_*.py"), *CONFIGS.glob("suite_*.py")])


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_configs_of_comparisons(path):
    for debug in (False, True):
        config = load_config(path, debug=debug)
        config.check()
        assert from_json(to_json(config)) == config
    assert isinstance(config, Suite if path.stem.startswith("suite_") else Study)


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, words)])
    said = capsys.readouterr()
    return ended.value.code or 0, said.out + said.err


def test_a_comparison_of_own_data(tmp_path, capsys):
    rows = [f"u{u},{'ab'[u % 2]}{(u * 5 + n * 7) % 15},{10**9 + u + 100 * n}" for u in range(30) for n in range(8)]
    log = tmp_path / "log.csv"
    log.write_text("user,item_id,timestamp\n" + "\n".join(rows) + "\n")
    words = ("--config", CONFIGS / "compare_your_data.py", "--workdir", tmp_path / "out", "--debug", "--trials", 1)
    words += ("--set", f"source.interactions={log}", "--map", "user_id=user", "--set", "metric=recall@5")
    words += ("--set", "ks=5", "--set", "holdout=LeaveLastOut")
    code, said = run(capsys, *words, "--methods", "Ease,popular,ContentNeighbours")
    assert code == 0, said
    assert "ContentNeighbours: left out: Content neighbours need item text vectors" in said
    assert "protocol L" in said and "--methods" in (tmp_path / "out/your-data/table.json").read_text()
    assert len(Folder(tmp_path / "out/your-data/ease").trials()) == 1
    assert "RecentPopular: left out: not worked on yet" in said and (tmp_path / "out/your-data/report.html").is_file()
    code, said = run(capsys, *words, "--methods", "popular")
    assert code == 0 and "ContentNeighbours: left out: Content neighbours need item text vectors" in said
    code, said = run(capsys, *words[:-2], "--methods", "Ease")
    assert code == 2 and "holds another study: holdout" in said


def test_a_suite_and_what_it_is_asked(tmp_path, capsys):
    words = ("--suite", "movielens", "--debug", "--methods", "Popular", "--workdir", tmp_path)
    code, said = run(capsys, *words, "--set", "ks=5,10")
    assert code == 0 and "ml-100k-C-all" in said
    lines = (tmp_path / "suite.md").read_text().splitlines()
    assert lines[-1].startswith("| Popular | **0.") and lines[-1].count("**0.") == 6
    one = ("--set", "ks=5,10", "--studies", "ml-100k-R")
    code, said = run(capsys, *words[:3], "--methods", "Ease", *words[-2:], *one)
    assert code == 0 and "ml-100k-C-all" not in said
    table = (tmp_path / "suite.md").read_text()
    assert "| Ease | – | – | – | **0." in table and table.count("ml-100k") == 6, "the others stand there still"
    code, said = run(capsys, *words, "--studies", "ml-100k-r")
    assert code == 2 and "--studies: no study 'ml-100k-r'; did you mean 'ml-100k-R'?" in said
    code, said = run(capsys, "--suite", "movielens", "--methods", "Nobody", "--workdir", tmp_path)
    assert code == 2 and "--methods: no method 'Nobody'" in said
    code, said = run(capsys, "--config", CONFIGS / "generated.py", "--workdir", tmp_path)
    assert code == 2 and "compare needs a Study or a Suite" in said
