"""Tokens a second of our decoder beside llama.cpp on the same cores.

pytest -m bench -s tests/bench/bench_language.py

LLAMA_PYTHON names a Python that has llama-cpp-python (an environment of its own); without it ours is timed alone.
llama.cpp runs the file as it is, in 4-bit blocks, and the same weights in float32, as ours are.
"""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from jaxrec.data.fetch import fetch
from jaxrec.models.language.decoding import Decoder
from jaxrec.models.language.llama_weights import load_language_model

pytestmark = pytest.mark.bench
PROMPT = "<|im_start|>user\nTell me a long story about a dog and a cat.<|im_end|>\n<|im_start|>assistant\n"
TOKENS = 128
THEIRS = """
import sys, time
from llama_cpp import Llama
llama = Llama(sys.argv[1], n_ctx=640, n_threads=2, verbose=False)
prompt = llama.tokenize(sys.argv[2].encode(), add_bos=False, special=True)
def write(count):
    llama.reset(); llama.eval(prompt)
    for _ in range(count):
        token = llama.sample(temp=0.0); llama.eval([token])
write(8)
rates = []
for _ in range(3):
    began = time.perf_counter(); write(0); read = time.perf_counter() - began
    began = time.perf_counter(); write(int(sys.argv[3])); whole = time.perf_counter() - began
    rates.append(int(sys.argv[3]) / (whole - read))
print(max(rates))
"""


def in_float32(source: Path, path: Path) -> Path:
    """The same GGUF file with its weights spelt out."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter, dequantize

    reader = GGUFReader(source)
    writer = GGUFWriter(path, "llama")
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(
            field.name, 0 if field.name == "general.file_type" else field.contents(), kind, sub_type=sub
        )
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_tokens_a_second(tmp_path):
    folder = fetch("smollm2")
    source = next(folder.glob("*.gguf"))
    decoder = Decoder(load_language_model(source))
    decoder.write(PROMPT, at_most=8)
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        decoder.read(decoder.encode(PROMPT))[0].block_until_ready()
        read = time.perf_counter() - began
        began = time.perf_counter()
        text = decoder.write(PROMPT, at_most=TOKENS)
        rates.append(len(decoder.encode(text)) / (time.perf_counter() - began - read))
    print(f"\nours, float32: {max(rates):.1f} tokens a second")
    other = os.environ.get("LLAMA_PYTHON")
    if other:
        for name, path in (("float32", in_float32(source, tmp_path / "whole.gguf")), ("4-bit", source)):
            done = subprocess.run(
                [other, "-c", THEIRS, str(path), PROMPT, str(TOKENS)], capture_output=True, text=True, check=True
            )
            rate = float(done.stdout.split()[-1])
            print(f"llama.cpp, {name}: {rate:.1f} tokens a second; ours is {max(rates) / rate:.2f} of it")
