"""The decoder against its formulas, written once more with numpy; its files, in both kinds."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quantize
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from jaxrec.errors import DataError, UserError
from jaxrec.models.language.decoding import Decoder, Sampling
from jaxrec.models.language.llama_weights import load_language_model

DIM, LAYERS, HEADS, KV, HIDDEN = 64, 2, 4, 2, 96
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
MERGES = [("a", "b"), ("ab", "c")]
TOKENS = ["<end>", "<turn>", *LETTERS, "ab", "abc"]
BASE, EPS = 10_000.0, 1e-5


@pytest.fixture(scope="module")
def tensors():
    """Of a tiny Llama by Hugging Face's names, float32."""
    draw = np.random.default_rng(0)

    def some(*shape, scale=0.3):
        return (draw.normal(size=shape) * scale).astype(np.float32)

    found = {"model.embed_tokens.weight": some(len(TOKENS), DIM), "model.norm.weight": 1 + some(DIM)}
    width = DIM // HEADS
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        found |= {at + "input_layernorm.weight": 1 + some(DIM), at + "post_attention_layernorm.weight": 1 + some(DIM)}
        found |= {at + f"self_attn.{n}_proj.weight": some(r, DIM) for n, r in (("q", DIM), ("k", KV * width))}
        found |= {at + "self_attn.v_proj.weight": some(KV * width, DIM), at + "self_attn.o_proj.weight": some(DIM, DIM)}
        found |= {at + f"mlp.{n}_proj.weight": some(HIDDEN, DIM) for n in ("gate", "up")}
        found |= {at + "mlp.down_proj.weight": some(DIM, HIDDEN)}
    return found


@pytest.fixture(scope="module")
def directory(tensors, tmp_path_factory):
    path = tmp_path_factory.mktemp("llama")
    config = dict(model_type="llama", vocab_size=len(TOKENS), hidden_size=DIM, num_hidden_layers=LAYERS)
    config |= dict(num_attention_heads=HEADS, num_key_value_heads=KV, intermediate_size=HIDDEN, rope_theta=BASE)
    config |= dict(rms_norm_eps=EPS, tie_word_embeddings=True, eos_token_id=0)
    (path / "config.json").write_text(json.dumps(config))
    save_file(tensors, path / "model.safetensors")
    tokenizer = Tokenizer(models.BPE({token: place for place, token in enumerate(TOKENS)}, MERGES))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>", "<turn>"])
    tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def model(directory):
    return load_language_model(directory)


def logits_of(model, tokens):
    module = model.module
    cache = module.empty_cache(1, 32)
    found, _ = module.apply({"params": model.params}, jnp.asarray([tokens]), cache, jnp.int32(0))
    return np.asarray(found)[0]


def by_hand(tensors, tokens):
    """Logits float64 [tokens, vocab]: rotation as multiplication of complex numbers, one head at a time."""
    t = {name: value.astype(np.float64) for name, value in tensors.items()}
    width = DIM // HEADS

    def norm(x, scale):
        return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + EPS) * scale

    def turned(x):
        half = width // 2
        angle = np.arange(len(x))[:, None] * BASE ** (-np.arange(half) / half)
        both = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angle)
        return np.concatenate([both.real, both.imag], axis=1)

    x = t["model.embed_tokens.weight"][tokens]
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        h = norm(x, t[at + "input_layernorm.weight"])
        q, k, v = (h @ t[at + f"self_attn.{n}_proj.weight"].T for n in "qkv")
        heads = []
        for head in range(HEADS):
            own = slice(head * width, (head + 1) * width)
            shared = slice(head // (HEADS // KV) * width, (head // (HEADS // KV) + 1) * width)
            score = turned(q[:, own]) @ turned(k[:, shared]).T / np.sqrt(width)
            score[np.triu_indices(len(x), 1)] = -np.inf
            share = np.exp(score - score.max(axis=1, keepdims=True))
            heads.append(share / share.sum(axis=1, keepdims=True) @ v[:, shared])
        x = x + np.concatenate(heads, axis=1) @ t[at + "self_attn.o_proj.weight"].T
        h = norm(x, t[at + "post_attention_layernorm.weight"])
        gate = h @ t[at + "mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ t[at + "mlp.up_proj.weight"].T)) @ t[at + "mlp.down_proj.weight"].T
    return norm(x, t["model.norm.weight"]) @ t["model.embed_tokens.weight"].T


def test_the_logits_are_those_of_the_formulas(model, tensors):
    tokens = [5, 9, 200, 5, 31, 77]
    np.testing.assert_allclose(logits_of(model, tokens), by_hand(tensors, tokens), atol=2e-4)


def test_reading_token_by_token_is_reading_at_once(model):
    tokens, module = [5, 9, 200, 5, 31], model.module
    cache, rows = module.empty_cache(1, 32), []
    step = jax.jit(module.apply)
    for place, token in enumerate(tokens):
        row, cache = step({"params": model.params}, jnp.asarray([[token]]), cache, jnp.int32(place))
        rows.append(np.asarray(row)[0, 0])
    np.testing.assert_allclose(np.stack(rows), logits_of(model, tokens), atol=1e-4)


def write_gguf(path, tensors, kind):
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(DIM)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_rope_freq_base(BASE)
    writer.add_layer_norm_rms_eps(EPS)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, *[1] * (len(TOKENS) - 2)])
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_eos_token_id(0)
    own = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v"}
    own |= {"self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    own |= {f"mlp.{n}_proj": f"ffn_{n}" for n in ("gate", "up", "down")}
    for name, value in tensors.items():
        name = name.replace("model.embed_tokens", "token_embd").replace("model.norm", "output_norm")
        for theirs, ours in own.items():
            name = name.replace(theirs, ours)
        heads = HEADS if "attn_q" in name else KV if "attn_k" in name else 0
        if heads:  # pairs stand together there
            value = value.reshape(heads, 2, len(value) // heads // 2, -1).swapaxes(1, 2).reshape(value.shape)
        name = name.replace("model.layers.", "blk.")
        quantised = kind != GGMLQuantizationType.F32 and value.ndim == 2
        writer.add_tensor(name, quantize(value, kind) if quantised else value, raw_dtype=kind if quantised else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_the_same_model(model, tensors, tmp_path):
    tokens = [5, 9, 200, 5, 31]
    write_gguf(tmp_path / "whole.gguf", tensors, GGMLQuantizationType.F32)
    whole = load_language_model(tmp_path / "whole.gguf")
    np.testing.assert_allclose(logits_of(whole, tokens), logits_of(model, tokens), atol=1e-5)
    text = "abc cab <turn>9a"
    assert whole.tokenizer.encode(text).ids == model.tokenizer.encode(text).ids
    assert whole.tokenizer.decode(whole.tokenizer.encode("abc cab").ids) == "abc cab" and whole.end == {0}
    write_gguf(tmp_path / "small.gguf", tensors, GGMLQuantizationType.Q8_0)
    small = logits_of(load_language_model(tmp_path / "small.gguf"), tokens)
    assert 1e-4 < np.abs(small - logits_of(model, tokens)).max() < 0.5


def test_greedy_writing_follows_the_logits_and_constraints(model):
    decoder = Decoder(model)
    prompt = "abcab"
    tokens = decoder.encode(prompt)
    expected = []
    for _ in range(4):
        best = int(logits_of(model, tokens + expected)[-1].argmax())
        if best in model.end:
            break
        expected.append(best)
    assert decoder.write(prompt, at_most=4) == model.tokenizer.decode(expected)
    only = [decoder.encode("c")[0], decoder.encode("a")[0]]
    said = decoder.write(prompt, at_most=6, allowed=lambda written: only if len(written) < 3 else [])
    assert len(said) == 3 and set(said) <= {"c", "a"}
    drawn = {decoder.write(prompt, at_most=3, sampling=Sampling(2.0, 0.95, seed)) for seed in range(4)}
    assert len(drawn) > 1
    assert decoder.write(prompt, at_most=3, sampling=Sampling(2.0, 0.95, 1)) in drawn


def test_likelihoods_are_mean_log_shares(model):
    decoder, prompt, texts = Decoder(model), "ab", ["c", "abc a", "zz", *["abcabc"] * 9]
    found = decoder.likelihoods(prompt, texts)
    for text, value in zip(texts, found, strict=True):
        own, start = decoder.encode(text), decoder.encode(prompt)
        shares = np.asarray(jax.nn.log_softmax(jnp.asarray(logits_of(model, start + own)), axis=-1))
        by_token = [shares[len(start) - 1 + place, token] for place, token in enumerate(own)]
        assert value == pytest.approx(np.mean(by_token), abs=1e-4)


def test_what_is_no_llama_is_refused(directory, tmp_path):
    with pytest.raises(UserError, match="smollm2"):
        load_language_model(tmp_path)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing more")
    with pytest.raises(DataError, match="no GGUF file"):
        load_language_model(tmp_path / "broken.gguf")
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "mistral"}')
    with pytest.raises(UserError, match="mistral"):
        load_language_model(tmp_path)


@pytest.mark.oracle
def test_smollm2_is_what_transformers_makes_of_the_same_weights():
    """All logits of three prompts within 1e-3 of LlamaForCausalLM in float32, and the same greedy answer."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    from jaxrec.data.fetch import fetch

    ours = load_language_model(fetch("smollm2"))
    s = ours.module.sizes
    config = LlamaConfig(
        vocab_size=s.vocab_size,
        hidden_size=s.dim,
        intermediate_size=s.hidden_dim,
        num_hidden_layers=s.num_layers,
        num_attention_heads=s.num_heads,
        num_key_value_heads=s.num_kv_heads,
        rms_norm_eps=s.norm_eps,
        rope_theta=s.rope_base,
        tie_word_embeddings=True,
        max_position_embeddings=s.max_positions,
    )
    theirs, state = LlamaForCausalLM(config).eval(), {}
    width = s.head_dim
    for layer in range(s.num_layers):
        own, at = ours.params[f"layer_{layer}"], f"model.layers.{layer}."
        ends = np.cumsum([s.num_heads * width, s.num_kv_heads * width])
        for name, part in zip("qkv", np.split(own["qkv"]["kernel"].T, ends), strict=True):
            state[at + f"self_attn.{name}_proj.weight"] = part
        gate, up = np.split(own["gate_up"]["kernel"].T, 2)
        state |= {at + "mlp.gate_proj.weight": gate, at + "mlp.up_proj.weight": up}
        state |= {at + "mlp.down_proj.weight": own["down"]["kernel"].T}
        state |= {at + "self_attn.o_proj.weight": own["out"]["kernel"].T}
        state |= {at + "input_layernorm.weight": own["attention_norm"]}
        state |= {at + "post_attention_layernorm.weight": own["mlp_norm"]}
    state |= {"model.embed_tokens.weight": ours.params["embedding"], "model.norm.weight": ours.params["norm"]}
    loaded = theirs.load_state_dict({n: torch.tensor(np.array(v)) for n, v in state.items()}, strict=False)
    assert not loaded.unexpected_keys and set(loaded.missing_keys) <= {"lm_head.weight"}
    theirs.tie_weights()
    for prompt in ("The capital of France is", "<|im_start|>user\nName 3 films of 1994.<|im_end|>\n", "a b c d e f g"):
        tokens = ours.tokenizer.encode(prompt, add_special_tokens=False).ids
        with torch.no_grad():
            expected = theirs(torch.tensor([tokens])).logits[0].numpy()
        assert np.abs(logits_of(ours, tokens) - expected).max() < 1e-3
