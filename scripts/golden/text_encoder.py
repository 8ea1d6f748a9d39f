"""CLIP text towers: the penultimate hidden state and the pooled projection are all that SDXL reads of them."""

from pathlib import Path

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import tokenizer
from fixture import write_case
from weights import fill, parameter_count

LEGACY_EOS = 2

# Two activations, two classes, two ways to find the pooled token: with the legacy id 2 it is the highest id of the row,
# with any other id the first place where that id stands. `eos_word` picks an id from the middle of the vocabulary, so
# that the two ways give different rows.
CASES = {
    "quick_gelu": {"class": CLIPTextModel, "config": {
        "hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4, "num_hidden_layers": 5,
        "hidden_act": "quick_gelu", "projection_dim": 32, "eos_token_id": LEGACY_EOS}},
    "gelu": {"class": CLIPTextModel, "config": {
        "hidden_size": 24, "intermediate_size": 64, "num_attention_heads": 3, "num_hidden_layers": 3,
        "hidden_act": "gelu", "projection_dim": 16, "layer_norm_eps": 1e-3, "eos_token_id": LEGACY_EOS}},
    "projection_legacy_eos": {"class": CLIPTextModelWithProjection, "config": {
        "hidden_size": 40, "intermediate_size": 48, "num_attention_heads": 5, "num_hidden_layers": 4,
        "hidden_act": "gelu", "projection_dim": 24, "eos_token_id": LEGACY_EOS}},
    "projection_real_eos": {"class": CLIPTextModelWithProjection, "eos": "end", "config": {
        "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2,
        "hidden_act": "gelu", "projection_dim": 56}},
    "projection_eos_word": {"class": CLIPTextModelWithProjection, "eos": "word", "config": {
        "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2,
        "hidden_act": "quick_gelu", "projection_dim": 24}},
}
PROMPTS = [
    "a cat sits on a red mat, oil painting",
    "wow! a dog <|endoftext|> after the end",
]
EOS_WORD = "cat"


def text_config(settings: dict, vocab_size: int) -> CLIPTextConfig:
    """The legacy bos, eos and pad ids are those of SDXL's published configs."""
    legacy = {"bos_token_id": 0, "pad_token_id": 1, "max_position_embeddings": tokenizer.MAX_LENGTH, "layer_norm_eps": 1e-5}
    return CLIPTextConfig(**{**legacy, **settings}, vocab_size=vocab_size, attn_implementation="eager")


def config_json(config: CLIPTextConfig) -> dict:
    """The keys of the published configs; what the library adds of its own says nothing about the network."""
    keys = ["bos_token_id", "eos_token_id", "pad_token_id", "hidden_act", "hidden_size", "intermediate_size", "layer_norm_eps",
            "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "projection_dim", "vocab_size"]
    return {"model_type": "clip_text_model", **{key: getattr(config, key) for key in keys}}


@torch.no_grad()
def generate(root: Path) -> None:
    words = tokenizer.load(root, tokenizer.PAD_WITH_MARK)
    ids = [tokenizer.padded_ids(words, prompt) for prompt in PROMPTS]
    eos = {"end": words.eos_token_id, "word": words.convert_tokens_to_ids(EOS_WORD + tokenizer.SUFFIX)}
    for name, case in CASES.items():
        settings = dict(case["config"])
        if "eos" in case:
            settings["eos_token_id"] = eos[case["eos"]]
        config = text_config(settings, len(words))
        model = fill(case["class"](config))
        out = model(torch.tensor(ids), output_hidden_states=True)
        pooled = out.text_embeds if "Projection" in case["class"].__name__ else out.pooler_output
        arrays = {"penultimate": out.hidden_states[-2], "last": out.last_hidden_state[:, :16], "pooled": pooled}
        write_case(root / "text_encoder", name, {
            "class": case["class"].__name__, "config": config_json(config), "salt": "",
            "parameters": parameter_count(model), "prompts": PROMPTS, "input_ids": ids,
            "outputs": {
                "penultimate": "hidden_states[-2]: before the last layer, no final norm",
                "last": "last_hidden_state, after the final norm, first 16 positions",
                "pooled": "text_embeds" if "Projection" in case["class"].__name__ else "pooler_output, not projected",
            },
        }, arrays)
