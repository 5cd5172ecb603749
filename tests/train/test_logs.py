import io

from jaxrec.train.logs import METRICS_FILE, TENSORBOARD_FOLDER, RunLog, read_metrics


def test_lines_files_and_resume(tmp_path):
    stream = io.StringIO()
    log = RunLog(tmp_path, 10, speaks=True, stream=stream)
    log.start(0)
    for step in (2, 4, 6):
        log.write({"step": step, "split": "train", "loss": 1 / step})
    log.write({"step": 6, "split": "valid", "ndcg@10": 0.25, "empty": None})
    log.close()
    assert [e["step"] for e in read_metrics(tmp_path)] == [2, 4, 6, 6]
    assert "step 2/10  loss 0.5  " in stream.getvalue() and "step 6: ndcg@10 0.25  empty -" in stream.getvalue()
    assert list((tmp_path / TENSORBOARD_FOLDER).glob("events.out.tfevents*"))
    with open(tmp_path / METRICS_FILE, "a") as file:
        file.write('{"step": 8, "spl')  # killed while writing
    log = RunLog(tmp_path, 10, speaks=True, quiet=True, stream=stream)
    log.start(4)
    log.write({"step": 6, "split": "train", "loss": 1 / 6})
    log.close()
    assert [e["step"] for e in read_metrics(tmp_path)] == [2, 4, 6]


def test_other_processes_are_silent(tmp_path):
    stream = io.StringIO()
    log = RunLog(tmp_path / "run", 10, speaks=False, stream=stream)
    log.start(0)
    log.line("hello")
    log.write({"step": 2, "split": "train", "loss": 0.5})
    log.tick(2)
    log.close()
    assert stream.getvalue() == "" and not (tmp_path / "run").exists()


def test_a_terminal_gets_a_bar(tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    log = RunLog(tmp_path, 10, speaks=True, stream=stream)
    log.start(0)
    log.tick(1)
    log.write({"step": 5, "split": "train", "loss": 0.125})
    log.line("a plain [line]")
    log.close()
    assert "0.125" in stream.getvalue() and "5/10" in stream.getvalue() and "a plain [line]" in stream.getvalue()
